"""Attention to two groups of keys: contexts that were encoded in parallel, and all the rest.

Adaptive parallel encoding (APE; Yang et al., ICLR 2025, section 4, equation 5). Per query and head,
with z = q.k / sqrt(d):

    L_C = logsumexp over contexts of z / T,  o_C = softmax(z / T) V_C
    L_O = logsumexp over the rest of z,      o_O = softmax(z) V_O
    out = w_C o_C + w_O o_O,  (w_C, w_O) = softmax(S T L_C, L_O)

Log-sum-exps and weights are fp32: rounded to bf16 at 32, a log-sum-exp puts the odds wrong by 6 %.
"""

import torch

_MOST = 2**27
"""Scores held at once where they are computed one by one."""


def with_lse(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of query [n, groups, heads, dim] to key and value [n, groups, keys, dim], and the
    log-sum-exp [n, groups, heads] of its logits, in fp32.

    A group is the query heads that share a head of keys. `mask` [n, keys] is added; each row of it
    leaves a key. A soft-cap comes before the temperature, so that T = 1 is the model's own.
    """
    if softcap is None and query.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query,
            key,
            value,
            0.0,
            False,
            attn_mask=None if mask is None else mask[:, None, None],
            scale=scale / temperature,
        )
        return out, lse
    each = max(1, _MOST // (query.shape[1] * query.shape[2] * key.shape[2]))
    parts = [
        _plainly(
            query[i : i + each],
            key[i : i + each],
            value[i : i + each],
            None if mask is None else mask[i : i + each],
            scale,
            softcap,
            temperature,
        )
        for i in range(0, len(query), each)
    ]
    return torch.cat([out for out, _ in parts]), torch.cat([lse for _, lse in parts])


def _plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = query.float() @ key.float().transpose(-1, -2) * scale
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    logits = logits / temperature
    if mask is not None:
        logits = logits + mask[:, None, None].float()
    lse = logits.logsumexp(-1)
    return ((logits - lse[..., None]).exp() @ value.float()).to(query.dtype), lse


def merged(
    contexts: tuple[torch.Tensor, torch.Tensor],
    rest: tuple[torch.Tensor, torch.Tensor],
    factor: float,
) -> torch.Tensor:
    """The two groups' attention as one; `factor`, S*T, is that of the contexts' log-sum-exp."""
    (one, lse), (other, plain) = contexts, rest
    share = torch.sigmoid(factor * lse - plain)[..., None]
    return (share * one.float() + (1 - share) * other.float()).to(one.dtype)
