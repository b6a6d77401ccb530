"""From checkpoints and prompts to a backend and ids, and what is said when that fails."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from reason.backends.hf import HFBackend
from reason.errors import BackendError, Unsupported, UsageError
from tests import tiny
from tests.driving import GREEDY, collect, gather, reference, run


def test_unknown_words_are_named() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words())
    with pytest.raises(UsageError, match="'seven', 'nine'"):
        backend.encode("w1 seven w2 nine seven")
    assert backend.encode("w1 <unk>") == [1, tiny.WORDS]
    run(backend.close())


def test_chats_go_through_the_template() -> None:
    tokenizer = tiny.letters()
    backend = HFBackend(tiny.model("llama", vocabulary=300), tokenizer)
    chat = [{"role": "user", "content": "fox?"}]
    with pytest.raises(Unsupported, match="no chat template"):
        backend.encode(chat)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert backend.decode(backend.encode(chat)) == "[user]fox?[end][assistant]"
    chat.append({"role": "assistant", "content": "the quick"})
    assert backend.decode(backend.encode(chat)) == "[user]fox?[end][assistant]the quick"
    tokenizer.chat_template = None
    run(backend.close())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tiny.model("llama").save_pretrained(tmp_path)
    tiny.words().save_pretrained(tmp_path)
    return tmp_path


def test_a_checkpoint_is_loaded(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"reason_grammar": "braces"}))
    backend = HFBackend.load(str(checkpoint))
    assert backend.info.model == str(checkpoint)
    assert (backend.info.context, backend.info.vocabulary) == (512, tiny.WORDS + 2)
    assert backend.info.grammar == "braces"
    expected = reference(tiny.model("llama"), [1, 2, 3], 40)
    assert run(collect(backend, [1, 2, 3], GREEDY)).ids == expected
    run(backend.close())


def test_what_cannot_be_loaded_is_said_in_a_line(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackendError, match="cannot load a model"):
        HFBackend.load(str(checkpoint))
    weights.write_bytes(b"not a checkpoint at all")
    with pytest.raises(BackendError, match="cannot load a model"):
        HFBackend.load(str(checkpoint))
    weights.unlink()
    with pytest.raises(BackendError, match="cannot load a model") as caught:
        HFBackend.load(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_some_weights_is_refused(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(BackendError, match="lacks the weight"):
        HFBackend.load(str(checkpoint))


def test_wrong_arguments_are_named(checkpoint: Path) -> None:
    for arguments, message in (
        ({"name": "/no/such/place"}, "no checkpoint directory at /no/such/place"),
        ({"name": str(checkpoint), "dtype": "float99"}, "float99"),
        ({"name": str(checkpoint), "threads": 0}, "threads is 0"),
        ({"name": str(checkpoint), "max_batch": 0}, "max_batch is 0; expected at least 1"),
        ({"name": str(checkpoint), "context": 0}, "context is 0; expected at least 1"),
        ({"name": str(checkpoint), "context": -5}, "context is -5; expected at least 1"),
        ({"name": str(checkpoint), "cache_gib": -1.0}, "cache_gib is -1; expected .* 0 or more"),
        ({"name": str(checkpoint), "cache_gib": float("nan")}, "cache_gib is nan; expected"),
        ({"name": str(checkpoint), "cache_gib": float("inf")}, "cache_gib is inf; expected"),
    ):
        with pytest.raises(UsageError, match=message):
            HFBackend.load(**arguments)
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="tokenizer"):
        HFBackend.load(str(checkpoint))


@pytest.mark.parametrize("device", ["quantum", "mps", "meta", "xpu:0", "cuda:", "cuda:-1", ""])
def test_a_device_that_cannot_be_used_is_named_with_those_that_can(
    checkpoint: Path, device: str
) -> None:
    with pytest.raises(UsageError) as caught:
        HFBackend.load(str(checkpoint), device=device)
    assert str(caught.value) == f"device is {device!r}; expected cpu, cuda, cuda:NUMBER or auto"


def test_a_gpu_that_is_not_there_is_named(checkpoint: Path) -> None:
    count = torch.cuda.device_count()
    seen = {0: "no GPU; use cpu or auto", 1: "only cuda:0"}.get(
        count, f"only cuda:0 to {count - 1}"
    )
    for device in [f"cuda:{count + 6}", *([] if count else ["cuda"])]:
        with pytest.raises(UsageError) as caught:
            HFBackend.load(str(checkpoint), device=device)
        assert str(caught.value) == f"device is {device!r}, but torch sees {seen}"


def test_a_cache_of_nothing_still_runs() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words(), cache_gib=0)
    asks = [([n, 2, 3], GREEDY) for n in range(4)]
    assert gather(backend, asks)[1].ids == reference(tiny.model("llama"), [1, 2, 3], 40)
    run(backend.close())


def test_models_that_cannot_be_run_are_refused() -> None:
    bloom = BloomForCausalLM(BloomConfig(vocab_size=62, hidden_size=32, n_layer=1, n_head=2))
    with pytest.raises(Unsupported, match="Bloom"):
        HFBackend(bloom, tiny.words())
    mamba = MambaForCausalLM(MambaConfig(vocab_size=62, hidden_size=32, num_hidden_layers=1))
    with pytest.raises(Unsupported, match="Mamba"):
        HFBackend(mamba, tiny.words())
    config = Qwen3NextConfig(
        vocab_size=62,
        hidden_size=32,
        num_hidden_layers=2,
        num_experts=0,
        intermediate_size=32,
        layer_types=["linear_attention", "full_attention"],
    )
    with pytest.raises(Unsupported, match="linear_attention"):
        HFBackend(Qwen3NextForCausalLM(config), tiny.words())


def test_within_its_window_sliding_attention_is_full_attention() -> None:
    model = tiny.model("mistral", sliding_window=32)
    backend = HFBackend(model, tiny.words())
    assert backend.info.context == 32
    assert run(collect(backend, [1, 2], GREEDY)).ids == reference(model, [1, 2], 30)
    run(backend.close())
