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
from tests.driving import GREEDY, collect, reference, run


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
        ({"name": str(checkpoint), "device": "cuda"}, "no GPU"),
        ({"name": str(checkpoint), "device": "quantum"}, "quantum"),
        ({"name": str(checkpoint), "threads": 0}, "threads is 0"),
    ):
        if arguments.get("device") == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(UsageError, match=message):
            HFBackend.load(**arguments)
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="tokenizer"):
        HFBackend.load(str(checkpoint))


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
