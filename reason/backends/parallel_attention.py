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
    fused: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of query [n, groups, heads, dim] to key and value [n, groups, keys, dim], and the
    log-sum-exp [n, groups, heads] of its logits, in fp32.

    A group is the query heads that share a head of keys. Keys and values [1, groups, keys, dim] are
    those of all rows, and are gone through once, in one product: then the bits of a row may depend
    on how many there are. `mask` [n, keys] is added; each row of it leaves a key. A soft-cap comes
    before the temperature, so that T = 1 is the model's own. Without `fused`, the kernel that never
    holds the scores is not used.
    """
    n, groups, heads, dim = query.shape
    added = None if mask is None else mask[:, None, None]
    folded = len(key) == 1 and n > 1
    if folded:  # the rows as heads
        query = query.transpose(0, 1).reshape(1, groups, n * heads, dim)
        added = None if mask is None else mask.repeat_interleave(heads, 0)[None, None]
    if fused and softcap is None and query.device.type == "cpu" and value.shape[-1] == dim:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=added, scale=scale / temperature
        )
    else:
        out, lse = _plainly(query, key, value, added, scale, softcap, temperature)
    if folded:
        out = out.view(groups, n, heads, -1).transpose(0, 1)
        lse = lse.view(groups, n, heads).transpose(0, 1)
    return out, lse


def _plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, score by score. The product of a row and a group is one matrix product, whatever is
    beside it, so that its bits do not depend on that; and keys of all rows are read where they are.
    """
    if len(query) == 1:
        out, lse = _scores(query[0], key[0], value[0], mask, scale, softcap, temperature)
        return out[None], lse[None]
    flat = None if mask is None else mask[:, 0]
    parts = [
        _scores(query[:, g], key[:, g], value[:, g], flat, scale, softcap, temperature)
        for g in range(query.shape[1])
    ]
    return torch.stack([out for out, _ in parts], 1), torch.stack([lse for _, lse in parts], 1)


def _scores(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of query [n, heads, dim], key and value [n, keys, dim]; of many, some heads at a time."""
    keys, values = key.float().transpose(-1, -2), value.float()
    each = max(1, _MOST // (len(query) * key.shape[1]))
    outs, lses = [], []
    for start in range(0, query.shape[1], each):
        logits = torch.bmm(query[:, start : start + each].float(), keys) * scale
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        logits = logits / temperature
        if mask is not None:
            shown = mask[..., start : start + each, :] if mask.shape[-2] > 1 else mask
            logits = logits + shown.reshape(-1, *shown.shape[-2:]).float()
        lse = logits.logsumexp(-1)
        outs.append(torch.bmm((logits - lse[..., None]).exp(), values).to(query.dtype))
        lses.append(lse)
    return torch.cat(outs, 1), torch.cat(lses, 1)


def merged(
    contexts: tuple[torch.Tensor, torch.Tensor],
    rest: tuple[torch.Tensor, torch.Tensor],
    factor: float,
) -> torch.Tensor:
    """The two groups' attention as one; `factor`, S*T, is that of the contexts' log-sum-exp."""
    (one, lse), (other, plain) = contexts, rest
    share = torch.sigmoid(factor * lse - plain)[..., None]
    return (share * one.float() + (1 - share) * other.float()).to(one.dtype)
