"""The attention of APE: two groups of keys, weighed by their log-sum-exps."""

import torch

MOST = 2**26
"""Logits at once; more queries than that are taken in turns."""


def two_groups(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    prefix: int,
    end: int,
    temperature: float,
    scale: float,
    scaling: float,
    cap: float = 0.0,
) -> torch.Tensor:
    """What the last n tokens of a sequence of L tokens read; (n, heads, width of v) in fp32.

    `q` is (n, heads, width), `k` and `v` are (L, KV heads, width). Keys `prefix` to `end` are the
    contexts, one group; the others, causal, are the second. With z = `scaling` * q.k, softly capped
    at `cap` before anything else if that is not 0, and T and S `temperature` and `scale`:

        L_C = logsumexp z_C / T,   L_O = logsumexp z_O,   (w_C, w_O) = softmax(S T L_C, L_O)
        out = w_C softmax(z_C / T) v_C + w_O softmax(z_O) v_O

    APE (Yang et al., ICLR 2025), equation 5 and appendix; S T is the factor of the paper's code.
    All in fp32: a log-sum-exp in bf16 is wrong by up to 13 % in the weights of 128K tokens.
    """
    length, groups = k.shape[0], k.shape[1]
    step = max(MOST // (length * q.shape[1]), 1)
    keys, values = k.float().permute(1, 2, 0), v.float().transpose(0, 1)
    contexts = slice(prefix, end)
    # Where in the sequence the keys of the second group stand.
    rest = torch.cat([torch.arange(prefix), torch.arange(end, length)]).to(k.device)
    out = []
    for start in range(0, q.shape[0], step):
        some = q[start : start + step].float()
        n = some.shape[0]
        # (n, heads, width) -> (KV heads, queries of each, width)
        grouped = some.reshape(n, groups, -1, some.shape[-1]).permute(1, 2, 0, 3).flatten(1, 2)
        z = torch.matmul(grouped, keys) * scaling
        if cap:
            z = cap * torch.tanh(z / cap)
        at = torch.arange(n, device=k.device) + (length - q.shape[0] + start)
        hidden = rest[None, :] > at[:, None]
        z_c, z_o = z[..., contexts] / temperature, z[..., rest]
        z_o = z_o.masked_fill(hidden.repeat(z_o.shape[1] // n, 1), float("-inf"))
        l_c, l_o = z_c.logsumexp(-1), z_o.logsumexp(-1)
        w_c, w_o = torch.stack([l_c * (scale * temperature), l_o]).softmax(0)[..., None]
        o_c = torch.matmul((z_c - l_c[..., None]).exp(), values[:, contexts])
        o_o = torch.matmul((z_o - l_o[..., None]).exp(), values[:, rest])
        merged = w_c * o_c + w_o * o_o
        out.append(merged.reshape(q.shape[1], n, -1).transpose(0, 1))
    return torch.cat(out)
