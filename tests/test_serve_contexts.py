"""Contexts that a client sends along: which of them does not fit, and that many do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reason.backends.hf import HFBackend
from tests import tiny
from tests.served import hosting, service
from tests.test_serve_refusals import posted


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFBackend]:
    """A model of words, with room for 512 of them."""
    folder: Path = tmp_path_factory.mktemp("words")
    tokenizer = tiny.words(eos=True)
    tiny.model("qwen3", eos_token_id=tokenizer.eos_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    yield HFBackend.load(str(folder))


async def asked(words: HFBackend, **own: Any) -> tuple[int, dict[str, Any]]:
    body = {
        "model": "ape",
        "prompt": "w1 w2",
        "max_tokens": 4,
        "reason": {"syntax": "plain", **own},
    }
    async with hosting(service(words)) as url:
        status, said, _ = await posted(url, body, "/v1/completions")
    return status, said


async def test_contexts_that_fit_side_by_side_are_taken(words: HFBackend) -> None:
    contexts = ["w3 " * 300, "w4 " * 300]
    status, said = await asked(words, contexts=contexts)
    assert (status, said.get("error")) == (200, None)
    assert said["usage"]["prompt_tokens"] > 600


@pytest.mark.parametrize("parallel", [True, False])
async def test_the_context_that_is_too_long_is_named(words: HFBackend, parallel: bool) -> None:
    contexts = ["w3 " * 30, "w4 " * 600]
    status, said = await asked(words, contexts=contexts, parallel=parallel)
    error = said["error"]
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert error["param"] == "reason.contexts[1]"
    assert "the longest of its contexts is reason.contexts[1]" in error["message"]
