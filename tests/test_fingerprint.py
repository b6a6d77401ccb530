"""Which weights a model has, told apart cheaply."""

import re
from pathlib import Path

import pytest
import torch

from reason.backends.fingerprint import SAMPLE, fingerprint
from reason.backends.hf import HFBackend
from tests import tiny
from tests.driving import run


def test_the_same_weights_have_the_same_fingerprint_and_others_another() -> None:
    model = tiny.model("llama")
    first = fingerprint(model)
    assert re.fullmatch(r"float32 [0-9a-f]{16}", first)
    assert fingerprint(tiny.model("llama")) == first
    assert fingerprint(tiny.model("llama", seed=1)) != first
    for name, weight in model.named_parameters():
        last = weight.data.view(-1)[-1:]
        before = last.clone()
        last += 1
        assert fingerprint(model) != first, name
        last.copy_(before)
    assert fingerprint(model) == first


def test_the_type_is_told_and_counts() -> None:
    model = tiny.model("llama")
    first, half = fingerprint(model), fingerprint(model.to(torch.bfloat16))
    assert half.startswith("bfloat16 ")
    again = fingerprint(model.to(torch.float32))  # the same type, rounded
    assert again.startswith("float32 ") and again != first


def test_of_large_weights_a_part_is_read() -> None:
    def layer(fill: float) -> torch.nn.Module:
        found = torch.nn.Linear(1, 4 * SAMPLE, bias=False)
        torch.nn.init.constant_(found.weight, fill)
        return found

    first, other = layer(0.0), layer(0.0)
    assert fingerprint(first) == fingerprint(other) != fingerprint(layer(1.0))
    other.weight.data[0] = 1.0
    assert fingerprint(other) != fingerprint(first)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_checkpoint_has_the_fingerprint_of_its_weights_wherever_it_lies(
    tmp_path: Path, seed: int
) -> None:
    model = tiny.model("llama", seed=seed)
    for place in ("a", "b"):
        model.save_pretrained(tmp_path / place)
        tiny.words().save_pretrained(tmp_path / place)
        backend = HFBackend.load(str(tmp_path / place))
        assert backend.info.fingerprint == fingerprint(model)
        run(backend.close())
