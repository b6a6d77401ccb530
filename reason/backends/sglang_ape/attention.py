"""The attention of APE: two groups of keys, weighed by their log-sum-exps."""

import torch

from reason.backends.parallel_attention import merged, with_lse


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
    length, groups, rows = k.shape[0], k.shape[1], q.shape[0]
    # (n, heads, width) -> (n, KV heads, heads of each, width), and keys of all rows
    queries = q.float().reshape(rows, groups, -1, q.shape[-1])
    keys, values = (x.float().transpose(0, 1)[None] for x in (k, v))
    contexts = slice(prefix, end)
    # Where in the sequence the keys of the second group stand, and which of them come later.
    rest = torch.cat([torch.arange(prefix), torch.arange(end, length)]).to(k.device)
    at = torch.arange(length - rows, length, device=k.device)
    later = torch.zeros(rows, len(rest), device=k.device)
    later.masked_fill_(rest[None, :] > at[:, None], float("-inf"))
    k_c, v_c = keys[:, :, contexts], values[:, :, contexts]
    one = with_lse(queries, k_c, v_c, None, scaling, cap or None, temperature)
    other = with_lse(queries, keys[:, :, rest], values[:, :, rest], later, scaling, cap or None)
    return merged(one, other, scale * temperature).flatten(1, 2)
