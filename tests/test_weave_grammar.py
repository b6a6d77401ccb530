"""ThreadWeaver's blocks as a grammar: a real server lets even a random model write no others."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controllers.grammar import ThreadFormat
from controllers.syntax import syntax_of
from controllers.threadweaver import ThreadWeaver
from controllers.weave_grammar import outlining
from eval.tasks import Countdown
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.backends.sglang import SGLangBackend
from reason.run import Trajectory, solve
from reason.types import Grammar, Prompt, SamplingParams
from tests import tiny
from tests.driving import gather, run
from tests.serving import serving

TAG = re.compile(r"</?(?:Parallel|Outlines?|Thread)>")
ANY = SamplingParams(temperature=20.0, max_tokens=400)
"""So hot that one token is as likely as another."""
WEAVE = ThreadWeaver(
    blocks=2, most=3, enforce=True, sampling=ANY, thread_sampling=ANY.but(max_tokens=150)
)
RUNS = 24
"""Of which some end before they come to a block: the end of the text is as likely as a letter."""


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SGLangBackend]:
    folder: Path = tmp_path_factory.mktemp("weaver")
    tiny.weaver(folder)
    with serving(str(folder)) as server:
        backend = SGLangBackend(server.url)
        yield backend
        run(backend.close())


async def woven(
    method: ThreadWeaver, model: Backend, prompts: Sequence[Prompt]
) -> list[Trajectory]:
    runs = (solve(method, prompt, {"policy": model}, seed=i) for i, prompt in enumerate(prompts))
    return await asyncio.gather(*runs)


def faults(done: Trajectory, form: ThreadFormat) -> list[str]:
    """What is not well-formed in what the model wrote, apart from where it was cut."""
    found = []
    sampled = [s for s in done.tree.root.segments if s.origin == "sampled"]
    for number, turn in enumerate(sampled):
        text = turn.text
        if number and not text.startswith(form.block_end):
            found.append(f"no end of the block before: {text!r}")
        text = text.removeprefix(form.block_end) if number else text
        head, begun, block = text.partition(form.block)
        found += [f"{tag} in text" for tag in TAG.findall(head)]
        if turn.stopped_at != form.outlines_end:
            continue
        numbers = [number for number, _ in form.read(text)]
        if not numbers or numbers != [str(n) for n in range(1, len(numbers) + 1)]:
            found.append(f"outlines {numbers} in {text!r}")
        if not begun or len(TAG.findall(block)) != 2 * len(numbers) + 1:
            found.append(f"a block of other tags: {text!r}")
    for child in (thread for thread in done.tree if thread.parent):
        (turn,) = (s for s in child.segments if s.origin == "sampled")
        found += [f"{tag} in a thread" for tag in TAG.findall(turn.text)[: -1 if
                  turn.stopped_at == form.thread_end else None]]  # fmt: skip
    return found


def blocks(done: Trajectory, form: ThreadFormat) -> int:
    return sum(s.stopped_at == form.outlines_end for s in done.tree.root.segments)


def test_a_random_model_can_write_well_formed_blocks_only(random_model: SGLangBackend) -> None:
    form = syntax_of("tags").threads
    done = run(woven(WEAVE, random_model, ["Q?"] * RUNS))
    assert [each.error for each in done] == [None] * RUNS
    assert [faults(each, form) for each in done] == [[]] * RUNS
    assert sum(blocks(each, form) for each in done) >= RUNS // 8, "or nothing was shown"
    threads = [t for each in done for t in each.tree if t.parent]
    assert sum(t.segments[-1].stopped_at == form.thread_end for t in threads) > 0
    after = [s for each in done for s in each.tree.root.segments if s.text.startswith("</Par")]
    assert after, "turns behind a block begin with its end"


def test_a_stop_string_may_be_written_in_any_tokens(random_model: SGLangBackend) -> None:
    """The server looks for it in as many tokens as its tokenizer would write it in."""
    end = "</Thread>"
    params = ANY.but(stop=(end,), grammar=Grammar("ebnf", f'root ::= [a-c]* "{end}" [a-c]*'))
    ids = random_model.encode("Q?")
    found = gather(random_model, [(ids, params)] * 64)
    assert [each.text.count(end) for each in found] == [1] * 64
    assert all(each.text.endswith(end) and each.last.stopped_at == end for each in found)
    assert {each.last.finish for each in found} == {"stop"}
    assert [random_model.decode(each.ids) for each in found] == [each.text for each in found]
    assert [len(each.logprobs) for each in found] == [len(each.ids) for each in found]
    assert all(each.last.usage for each in found)
    width = len(random_model.encode(end)) + 1
    assert any(end not in random_model.decode(each.ids[-width:]) for each in found)


def test_without_the_grammar_the_same_model_writes_others(random_model: SGLangBackend) -> None:
    form = syntax_of("tags").threads
    done = run(woven(replace(WEAVE, enforce=False), random_model, ["Q?"] * RUNS))
    assert sum(bool(faults(each, form)) for each in done) >= RUNS // 2


def test_the_runtime_may_end_blocks_under_the_grammar(random_model: SGLangBackend) -> None:
    done = run(woven(replace(WEAVE, end="runtime"), random_model, ["Q?"] * 4))
    sampled = [s.text for d in done for t in d.tree for s in t.segments if s.origin == "sampled"]
    assert [each.error for each in done] == [None] * 4
    assert not any("</Parallel>" in text for text in sampled)


def test_the_countdown_model_solves_problems_under_the_grammar(countdown_server: str) -> None:
    """Its grammar has no spaces between words, as the server reads its vocabulary."""
    method = ThreadWeaver(
        width=4, blocks=16, syntax="countdown", sampling=SamplingParams(0.0, max_tokens=1200)
    )
    form = syntax_of("countdown").threads
    items = list(Countdown(3).items(8, 3, "countdown"))
    model = SGLangBackend(countdown_server)
    prompts = [item.prompt for item in items]
    free = run(woven(method, model, prompts))
    bound = run(woven(replace(method, enforce=True), model, prompts))
    run(model.close())
    assert [each.error for each in bound] == [None] * 8
    right = [
        bool(d.result and item.verify(d.result.answer))
        for d, item in zip(bound, items, strict=True)
    ]
    assert sum(right) >= 6
    assert [d.tree.root.text for d in bound] == [d.tree.root.text for d in free]
    for each in bound:
        outlined = [s for s in each.tree.root.segments if s.stopped_at == form.outlines_end]
        assert outlined
        for turn in outlined:
            numbers = [number for number, _ in form.read(turn.text)]
            assert numbers == [str(n) for n in range(1, len(numbers) + 1)]


def test_a_model_in_process_says_that_it_has_no_grammars() -> None:
    async def go() -> Trajectory:
        model = connect("")
        try:
            method = ThreadWeaver(syntax="countdown", enforce=True)
            return await solve(method, "24 3 5 7 8", {"policy": model})
        finally:
            await model.close()

    done = run(go())
    assert done.result is None and done.ledger.total_tokens == 0
    assert done.error == (
        "Unsupported: the hf backend cannot enforce a grammar; the sglang backend can"
    )


def test_no_block_is_allowed_where_nobody_would_write_its_threads() -> None:
    form = syntax_of("tags").threads
    assert "block" not in outlining(form, 0, False).text
    assert outlining(form, 0, True).text.startswith('root ::= "</Parallel>" text\n')
