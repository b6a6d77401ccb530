"""Several models in one run, each by its role."""

import io

import pytest
from rich.console import Console

from reason.errors import UsageError
from reason.session import close, connected
from tests.console import reason, tiny


def test_every_role_has_its_own_model() -> None:
    console = Console(file=io.StringIO())
    models = connected(tiny(), {"backends": {"draft": tiny() + "?max_batch=3"}}, console)
    assert list(models) == ["policy", "draft"]
    assert models["policy"] is not models["draft"]
    close(models)


@pytest.mark.parametrize(
    "words, expected",
    [
        (["backends.draft=slang:x"], "no backend is called"),
        (["backends=hf:x"], "backends.ROLE=SPEC"),
        (["--backend", "hf:x", "backends.policy=hf:y"], "given twice"),
    ],
)
def test_mistakes_in_roles(words: list[str], expected: str) -> None:
    result = reason("ask", "3 5 7 8 = 24", *words)
    assert result.exit_code == 2
    assert expected in " ".join(result.output.split())


def test_a_mistake_in_one_role_closes_the_others() -> None:
    with pytest.raises(UsageError, match="no checkpoint directory"):
        connected(tiny(), {"backends": {"draft": "hf:/nowhere"}}, Console(file=io.StringIO()))


def test_a_role_that_is_given_is_used() -> None:
    result = reason("ask", "3 5 7 8 = 24", f"backends.draft={tiny()}", "sampling.max_tokens=4")
    assert result.exit_code in (0, 1) and "Traceback" not in result.output
