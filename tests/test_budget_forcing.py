"""Budget forcing, driven whole: chains that are sent on, made to answer, or left alone."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from controllers.budget_forcing import BudgetForcing
from eval.countdown import Problem
from eval.tasks import countdown_item
from reason.backends.connect import connect
from reason.backends.scripted import Script, ScriptedBackend
from reason.run import Trajectory, solve
from reason.types import Result, SamplingParams
from tests.runs import run

GREEDY = SamplingParams(temperature=0.0)
ENDED = "$"


def chain(*turns: str) -> tuple[Script, list[tuple[str, SamplingParams]]]:
    """A model that says one turn after the other, and what it was asked."""
    asked: list[tuple[str, SamplingParams]] = []
    left = iter(turns)

    def script(context: str, params: SamplingParams) -> str:
        asked.append((context, params))
        return next(left)

    return script, asked


def ending(script: Script) -> ScriptedBackend:
    """A backend whose every text ends with a token of its own, as real ones do."""
    backend = ScriptedBackend(script)
    backend.info = replace(backend.info, ends=(ord(ENDED),))
    return backend


def notes(done: Trajectory) -> list[tuple[str, str, Any]]:
    return [(note.thread, note.name, note.value) for note in done.tree.notes]


def test_a_chain_that_thinks_long_enough_is_left_alone() -> None:
    script, asked = chain("<think>7 + 7</think>", "\\boxed{14}")
    done = run(BudgetForcing(at_least=10, at_most=50, answer_tokens=30), script)
    assert done.result == Result("14", "0")
    assert [(p.max_tokens, p.stop) for _, p in asked] == [(50, ("</think>",)), (30, ())]
    assert asked[1][0].endswith("<think>7 + 7</think>")
    assert (notes(done), len(done.tree)) == ([], 1)
    assert done.tree.critical_path == done.ledger.total_tokens == len("<think>7 + 7</think>") + 10


def test_an_answer_before_the_chain_was_sent_on_counts_where_there_are_no_marks() -> None:
    script, _ = chain("so \\boxed{7}", " that seems right.")
    done = run(BudgetForcing(at_least=40, waits=1), script)
    assert done.result == Result("7", "0.0")
    script, _ = chain("so \\boxed{7}", " no: \\boxed{8}")
    assert run(BudgetForcing(at_least=40, waits=1), script).result == Result("8", "0.0")


def test_a_chain_that_ends_too_early_is_sent_on_without_its_end() -> None:
    script, asked = chain(
        "<think>It is 13.</think>", ", 7 + 6 is 13, 7 + 7 is 14.</think>", "\\boxed{14}"
    )
    done = run(BudgetForcing(at_least=30, at_most=100), script)
    assert done.result == Result("14", "0.0")
    prompt = asked[0][0]
    assert [context.removeprefix(prompt) for context, _ in asked] == [
        "",
        "<think>It is 13.Wait",
        "<think>It is 13.Wait, 7 + 6 is 13, 7 + 7 is 14.</think>",
    ]
    first = len("<think>It is 13.")
    assert [p.max_tokens for _, p in asked] == [100, 100 - first, 512]
    assert notes(done) == [("0", "sent on", {"thinking": first})]
    assert done.tree["0.0"].continues and done.ledger.threads == 1


def test_the_critical_path_counts_what_was_cut_off() -> None:
    texts = ["<think>a</think>", "bc</think>", "def</think>", "\\boxed{1}"]
    done = run(BudgetForcing(at_least=1000, waits=2), chain(*texts)[0])
    assert done.tree.critical_path == done.ledger.total_tokens == sum(map(len, texts))
    last = done.tree["0.0.0"]
    assert done.result == Result("1", "0.0.0")
    kept = "<think>aWaitbcWaitdef</think>\\boxed{1}"
    assert "".join(map(chr, last.ids)).endswith(kept)
    assert last.length - len(done.tree["0"].segments[0].ids) == len(kept)


def test_a_chain_without_marks_is_cut_before_the_token_that_ends_it() -> None:
    script, asked = chain(f"So \\boxed{{13}}{ENDED}", f" no, \\boxed{{14}}{ENDED}")
    done = run(BudgetForcing(at_least=25, waits=3), ending(script))
    assert done.result == Result("14", "0.0")
    assert asked[1][0].endswith("So \\boxed{13}\n\nWait")
    # Without what ended them, the turns are 13 and 15 tokens: enough.
    assert notes(done) == [("0", "sent on", {"thinking": 13})]
    assert done.tree.critical_path == 14 + 16


@pytest.mark.parametrize(
    ("thought", "conclusion", "said", "answer"),
    [
        ("<think>" + "hm " * 40, "\n</think>\n\n", "so \\boxed{3}", "3"),
        ("hm " * 40 + "\\boxed{9}", "\n\nFinal answer: \\boxed{", "3}.", "3"),
        ("\\boxed{9}" + "hm " * 40, "\n\nFinal answer: \\boxed{", "I do not know", None),
    ],
)
def test_a_chain_that_thinks_too_long_is_made_to_answer(
    thought: str, conclusion: str, said: str, answer: str | None
) -> None:
    script, asked = chain(thought, said)
    done = run(BudgetForcing(at_most=60, answer_tokens=20), script)
    assert done.result == Result(answer, "0")
    assert asked[1][0] == asked[0][0] + thought[:60] + conclusion
    assert [p.max_tokens for _, p in asked] == [60, 20]
    assert notes(done) == [("0", "made to answer", {"thinking": 60})]
    assert done.tree.critical_path == 60 + len(said)


def test_the_limit_holds_over_all_that_was_sent_on() -> None:
    script, asked = chain("<think>abc</think>", "d" * 99, "\\boxed{1}")
    done = run(BudgetForcing(at_least=20, at_most=30, waits=9), script)
    assert [p.max_tokens for _, p in asked] == [30, 20, 512]
    assert [(name, value) for _, name, value in notes(done)] == [
        ("sent on", {"thinking": 10}),
        ("made to answer", {"thinking": 30}),
    ]
    assert done.tree.critical_path == len("<think>abc</think>") + 20 + 9
    assert done.result == Result("1", "0.0")


def test_max_tokens_of_the_sampling_is_a_limit_too() -> None:
    script, asked = chain("x" * 99, "1}")
    done = run(BudgetForcing(at_least=50, sampling=GREEDY.but(max_tokens=12)), script)
    assert [p.max_tokens for _, p in asked] == [12, 512]
    assert done.result == Result("1", "0")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"at_least": -1}, "at_least must be 0 or more, got -1"),
        ({"at_most": 0}, "at_most must be 1 or more, got 0"),
        ({"waits": -1}, "waits must be 0 or more, got -1"),
        ({"answer_tokens": 0}, "answer_tokens must be 1 or more, got 0"),
        ({"at_least": 9, "at_most": 8}, "at_least must be at_most=8 or less, got 9"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BudgetForcing(**knobs)


def test_on_the_shipped_model() -> None:
    item = countdown_item(Problem((3, 5, 7), 15), "countdown")
    method = BudgetForcing(syntax="countdown", answer_tokens=40)

    async def main() -> list[Trajectory]:
        model = connect("")
        methods = method, replace(method, at_most=9)
        found = [await solve(m, item.prompt, {"policy": model}) for m in methods]
        await model.close()
        return found

    free, forced = asyncio.run(main())
    assert free.result is not None and item.verify(free.result.answer)
    assert notes(free) == []
    assert notes(forced) == [("0", "made to answer", {"thinking": 9})]
    root = forced.tree.root
    assert [s.text for s in root.segments if s.origin == "injected"] == ["<ans>"]
    assert root.segments[1].ids == free.tree.root.segments[1].ids[:9]
    assert forced.tree.critical_path == forced.ledger.total_tokens == 9 + len(root.segments[3].ids)
