"""Beam search, driven whole on a model whose every step is laid down."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from math import fsum
from typing import Any

import pytest

from controllers.beam import Beam
from eval.countdown import Problem
from eval.scorers import likelihood, scorers_of
from eval.tasks import countdown_item
from reason.backends.connect import connect
from reason.backends.scripted import Script
from reason.errors import BackendError
from reason.ledger import Budget
from reason.run import Trajectory, solve
from reason.types import Result, SamplingParams, Thread
from tests.runs import run

END = "\n\n"


def tree(steps: Mapping[str, Sequence[str]]) -> Script:
    """After the words of a key, the model says the first text, then the next, and so on."""
    left: dict[str, Iterator[str]] = {key: iter(texts) for key, texts in steps.items()}

    def script(context: str, params: SamplingParams) -> str:
        text = next(left[context.rpartition("</user>")[2].replace(END, " ").strip()])
        if text == "dead":
            raise BackendError("connection refused")
        return text

    return script


def digit(thread: Thread, answer: str | None) -> float:
    """The last digit that a step says is its score."""
    return float(next(char for char in reversed(thread.text) if char.isdigit()))


def search(said: Mapping[str, Sequence[str]], budget: Budget | None = None, **knobs: Any) -> Any:
    method = Beam(scorer="digit", **knobs)
    return run(method, tree(said), scorers={"digit": digit}, budget=budget)


STEPS = {
    "": [f"a1{END}", f"bb9{END}", f"c8{END}", f"d2{END}"],
    "bb9": [f"e3{END}", f"f4{END}"],
    "c8": [f"g7{END}", "h \\boxed{5}"],
    "a1": [f"i1{END}", f"j6{END}"],
    "c8 g7": ["k \\boxed{6}", "l \\boxed{2}"],
    "bb9 f4": ["m \\boxed{9}", "n \\boxed{1}"],
}


def scores(done: Trajectory) -> dict[str, float]:
    return {note.thread: note.value for note in done.tree.notes if note.name == "score"}


def test_the_best_of_all_candidates_are_gone_on_with() -> None:
    done = search(STEPS, beams=2, width=2)
    # b and c are kept; then g (7), and h (5), which has ended and takes the other place.
    assert done.result == Result("6", "0.2.0.0", {"score": 6.0})
    assert [t.text.strip()[:1] for t in done.tree] == ["", *"abcd", *"efgh", *"kl"]
    assert [t.finish for t in done.tree] == ["eos"] + ["stop"] * 7 + ["eos"] * 3
    assert scores(done) == {
        **{"0.0": 1.0, "0.1": 9.0, "0.2": 8.0, "0.3": 2.0},
        **{"0.1.0": 3.0, "0.1.1": 4.0, "0.2.0": 7.0, "0.2.1": 5.0},
        **{"0.2.0.0": 6.0, "0.2.0.1": 2.0},
    }


def test_a_step_waits_for_all_candidates_of_the_one_before() -> None:
    done = search(STEPS, beams=2, width=2)
    slowest = len(f"bb9{END}") + len("h \\boxed{5}") + len("k \\boxed{6}")
    assert done.tree.critical_path == slowest
    assert done.tree["0.2.0.0"].clock == slowest
    assert done.ledger.total_tokens == sum(len(t.text) for t in done.tree)


def test_diverse_chains_keep_the_best_of_their_own() -> None:
    steps = {**STEPS, "a1": STEPS["bb9"], "": [f"a1{END}", f"b0{END}", f"c8{END}", f"d2{END}"]}
    steps["a1 f4"] = STEPS["bb9 f4"]
    done = search(steps, beams=2, width=2, diverse=True)
    # a (1) is worse than d (2), and kept: it is the best of its own subtree.
    assert done.result == Result("9", "0.0.0.1.0", {"score": 9.0})
    assert scores(done)["0.0.0"] == 1.0 and scores(done)["0.1.1"] == 2.0
    # Subtrees do not wait for each other.
    assert done.tree["0.0.0.1.0"].clock == 4 + 4 + len("m \\boxed{9}")
    assert done.tree.critical_path == 4 + len("h \\boxed{5}") + len("k \\boxed{6}")


def test_the_last_step_is_written_to_its_end() -> None:
    script = {"": [f"a1{END}", f"b0{END}"], "a1": [f"c{END}d{END}\\boxed{{7}}", "e \\boxed{3}"]}
    done = search(script, beams=1, width=2, steps=2)
    assert done.result == Result("7", "0.0.0", {"score": 7.0})
    done = search({"": [f"a{END}b{END}\\boxed{{1}}"]}, beams=1, width=1, steps=1)
    assert done.result == Result("1", "0.0", {"score": 1.0})


def test_an_answer_may_stand_in_an_earlier_step_and_blanks_come_last() -> None:
    steps = {"": [f"\\boxed{{4}}{END}", "no answer 9"], "\\boxed{4}": ["so 0", "so 0"]}
    done = search(steps, beams=2, width=1, steps=5)
    assert done.result == Result("4", "0.0.0", {"score": 0.0})
    done = search({"": ["x8", "y9"]}, beams=1, width=2)
    assert done.result == Result(None, "0.1", {"score": 9.0})


def test_equal_scores_go_to_the_earliest() -> None:
    steps = {"": ["long way \\boxed{2}", "\\boxed{2}", "\\boxed{02}"]}
    assert search(steps, beams=1, width=3).result == Result("2", "0.0", {"score": 2.0})
    twelve = {"": ["\\boxed{1}"] * 2 + ["\\boxed{2}"] * 10}
    done = search(twelve, beams=12, width=1, diverse=True)
    assert done.result == Result("2", "0.2.0", {"score": 2.0})


def test_candidates_that_fail_are_left_out() -> None:
    steps = {"": ["dead", f"a3{END}"], "a3": ["dead", "\\boxed{1}"]}
    assert search(steps, beams=1, width=2).result == Result("1", "0.1.1", {"score": 1.0})
    for diverse in (False, True):
        done = search({"": ["dead"] * 4}, beams=2, width=2, diverse=diverse)
        assert (done.result, done.error) == (Result(None, "0"), None)
    done = search(STEPS, beams=2, width=2, budget=Budget(critical_path=10))
    assert (done.result, done.limit) == (Result(None, "0"), "critical_path")
    assert done.tree.critical_path == 10


@pytest.mark.parametrize("name", ["beams", "width", "steps"])
def test_knobs_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0"):
        Beam(**{name: 0})


def test_on_the_shipped_model() -> None:
    item = countdown_item(Problem((3, 5, 7, 8), 24), "countdown")
    sampling = SamplingParams(temperature=1.0, max_tokens=40)
    method = Beam(beams=2, width=2, steps=4, syntax="countdown", sampling=sampling)

    async def main() -> Trajectory:
        model = connect("")
        scorers = scorers_of(item)
        done = await solve(method, item.prompt, {"policy": model}, scorers=scorers, seed=1)
        await model.close()
        return done

    done = asyncio.run(main())
    assert done.error is None and done.result is not None
    found = scores(done)
    for thread in list(done.tree)[1:]:
        (segment,) = thread.segments
        assert found[thread.id] == likelihood(thread, None)
        assert found[thread.id] == pytest.approx(fsum(segment.logprobs) / len(segment.ids))
    assert len(done.tree) == 1 + 4 * 4
    assert {t.segments[0].stopped_at for t in list(done.tree)[1:13]} <= {"no", "hit"}
