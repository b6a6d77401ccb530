"""Which folder an evaluation may go on in: one of the same weights, named the same anywhere."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from controllers.single import Single
from eval.command import resolve
from reason.backends.connect import connect
from reason.errors import UsageError
from reason.ledger import Budget
from rl.model import export, new_model
from rl.recipe import Shape
from tests.console import SHORT, reason
from tests.evaluation import evaluate_oracle, problems
from tests.oracle import oracle

SHAPE = Shape(hidden=64, layers=1, intermediate=64, head=32, context=256)


def test_the_model_that_ships_is_known_by_its_name_and_weights() -> None:
    model = connect("")
    config = resolve("countdown3", 1, Single(), "single", {"policy": model}, Budget(), 1, 0)
    asyncio.run(model.close())
    assert config["backends"]["policy"] == {
        "model": "countdown-apr",
        "tokenizer": "countdown-apr",
        "fingerprint": model.info.fingerprint,
        "grammar": "countdown",
        "context": 2048,
    }
    assert model.info.fingerprint.startswith("float32 ")


async def test_other_weights_of_the_same_name_are_refused(tmp_path: Path) -> None:
    first, other = oracle(), oracle()
    first.info = replace(first.info, fingerprint="float32 a")
    other.info = replace(other.info, fingerprint="float32 b")
    few = problems(2)
    await evaluate_oracle(tmp_path, backend=first, items=few)
    with pytest.raises(UsageError) as error:
        await evaluate_oracle(tmp_path, backend=other, items=few)
    assert str(error.value) == (
        f"{tmp_path} holds another evaluation; what differs: backends.policy.fingerprint "
        '("float32 a" there, "float32 b" now). Give the same options to resume it, or another '
        "folder."
    )


def test_weights_that_were_replaced_in_their_folder_are_other_weights(tmp_path: Path) -> None:
    place, out = tmp_path / "model", tmp_path / "out"

    def evaluated(options: str = "", limit: int = 1) -> tuple[int, str]:
        spec = ["-b", f"hf:{place}{options}", "-c", "single", SHORT, f"limit={limit}"]
        result = reason("eval", "countdown3", *spec, "--out", str(out), "--json")
        return result.exit_code, result.stderr

    export(new_model(SHAPE, 0), place)
    assert evaluated()[0] == evaluated(limit=2)[0] == 0
    there = json.loads((out / "config.json").read_text())["backends"]["policy"]["fingerprint"]
    code, said = evaluated("?dtype=bfloat16", limit=3)
    assert code == 2 and f'backends.policy.fingerprint ("{there}" there, "bfloat16 ' in said
    export(new_model(SHAPE, 1), place)
    code, said = evaluated(limit=3)
    assert code == 2 and f'backends.policy.fingerprint ("{there}" there, "float32 ' in said
    export(new_model(SHAPE, 0), place)
    assert evaluated(limit=3)[0] == 0
