"""Which weights a model has, in a word: for telling two of one name apart."""

import hashlib

import torch

SAMPLE = 1 << 16
"""Values that are read of a tensor, evenly spaced; all of them of a smaller one."""


def fingerprint(model: torch.nn.Module) -> str:
    """The type of the weights and a hash of their values: "bfloat16 1f0c…".

    Training changes it, and so does another type; a change that spares what is read of each tensor
    does not. Takes milliseconds for a small model, a second for a large one.
    """
    digest = hashlib.blake2b(digest_size=8)
    kinds = set()
    for name, tensor in model.state_dict().items():
        values = tensor.detach().reshape(-1)
        some = values[:: max(-(-values.numel() // SAMPLE), 1)].contiguous().cpu()
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {kind} {tuple(tensor.shape)}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
        kinds.add(kind)
    return f"{'+'.join(sorted(kinds))} {digest.hexdigest()}"
