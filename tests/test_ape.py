"""The method ape: what it asks, what it reads, what is kept on disk, and how T and S are found."""

import asyncio
import json
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.ape import ParallelEncoding
from controllers.context_texts import read_contexts
from controllers.pdr import ParallelDistillRefine
from controllers.self_consistency import SelfConsistency
from controllers.syntax import syntax_of
from controllers.tuned import Tuned
from eval.lookup import COLOURS, KINDS, LOOKUPS, SHOWN, most, sheet
from eval.tuning import tune
from reason.backends.connect import connect
from reason.backends.context_store import ContextStore
from reason.backends.hf import HFBackend
from reason.backends.hf_contexts import Layers
from reason.engine import Engine
from reason.errors import Unsupported, UsageError
from reason.events import Opened, from_json, to_json
from reason.run import solve
from reason.tree import ThreadTree
from reason.types import Contexts, Prompt, Result, SamplingParams
from rl.model import export, new_model
from rl.recipe import Shape
from rl.requests import requests_of
from tests import tiny
from tests.console import reason
from tests.driving import run
from tests.runs import Run

FACTS = ("Ana Oslo Bo Lima", "Ida Rome", "Max Paris Leo Bern")
SHORT = SamplingParams(temperature=0, max_tokens=4)
_FOLDER = tempfile.TemporaryDirectory(prefix="reason-")


@cache
def lookup() -> str:
    """A model with random weights that reads the language of looking things up."""
    shape = Shape(hidden=64, layers=2, intermediate=64, head=32, context=256)
    export(new_model(shape, 3, "lookup"), Path(_FOLDER.name))
    return _FOLDER.name


def method(**knobs: Any) -> ParallelEncoding:
    return ParallelEncoding(**{"contexts": FACTS, "syntax": "lookup", "sampling": SHORT, **knobs})


def asked(which: Any, prompt: Prompt = "Ana", **options: Any) -> Any:
    async def go() -> Any:
        model = HFBackend.load(lookup(), **options)
        try:
            return await solve(which, prompt, {"policy": model}, seed=0)
        finally:
            await model.close()

    return run(go())


def text_of(done: Any) -> str:
    return str(done.tree.root.segments[0].text)


# What is asked


def test_contexts_prefix_and_query_stand_one_after_another() -> None:
    done = asked(method())
    shown = "<bos> people: | Ana Oslo Bo Lima | Ida Rome | Max Paris Leo Bern ? Ana"
    assert (text_of(done), done.error) == (shown, None)
    layout = done.tree.root.layout
    assert layout is not None
    assert (layout.prefix, layout.contexts) == (2, (5, 3, 5))
    assert (layout.temperature, layout.scale) == (0.9, 0.9)
    assert done.ledger.total_tokens == len(done.tree.root.segments[1].ids)


def test_in_one_sequence_the_tokens_are_the_same() -> None:
    beside, after = asked(method()), asked(method(parallel=False))
    assert after.tree.root.layout is None
    assert [s.ids for s in after.tree.root.segments[:1]] == [
        s.ids for s in beside.tree.root.segments[:1]
    ]
    assert after.tree.root.segments[1].logprobs != beside.tree.root.segments[1].logprobs


def test_a_prefix_of_every_context() -> None:
    done = asked(method(shared_prefix=False))
    assert done.tree.root.layout.prefix == 0
    assert done.tree.root.layout.contexts == (7, 5, 7)
    assert text_of(done).count("<bos> people:") == 3


def test_a_context_that_is_there_twice_is_read_once_and_said() -> None:
    done = asked(method(contexts=(*FACTS, FACTS[1])))
    assert text_of(done) == text_of(asked(method()))
    assert done.warnings == ("1 of 4 contexts are there twice, and were read once",)


def test_a_question_with_contexts_of_its_own() -> None:
    item = next(LOOKUPS["people2"].items(1, 0, "lookup"))
    done = asked(method(contexts=()), item.prompt)
    assert len(done.tree.root.layout.contexts) == 2
    both = asked(method(contexts=("Ida Rome",)), item.prompt)
    assert len(both.tree.root.layout.contexts) == 3
    assert asked(method(contexts=())).error == (
        "UsageError: ape needs contexts: 'contexts=@docs/*.md', or a task whose questions have some"
    )


def test_chains_of_it_share_their_contexts() -> None:
    voting = SelfConsistency(n=3, syntax="lookup", chain=method(sampling=SHORT.but(temperature=1)))
    done = asked(voting, Contexts(FACTS, "? Ana", "<bos> people: "))
    assert done.error is None
    chains = [t for t in done.tree if t.layout]
    assert len(chains) == 3 and len({t.layout for t in chains}) == 1


def test_a_fork_sees_the_contexts_too_and_cannot_cut_them() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(Contexts(FACTS, "? Ana", "<bos> people: ", parallel=True))
        layout = root.layout
        assert layout is not None
        child = engine.fork(root)
        assert child.layout == layout
        assert engine.spawn(root, "? Bo").layout is None
        with pytest.raises(ValueError, match=f"kept must be in {layout.end}..{root.length}, got 3"):
            engine.fork(root, 3)
        await engine.generate(child, SHORT)
        assert len(await engine.score(child)) == len(child.segments[-1].ids)
        return Result(None, "0", {})

    model = HFBackend.load(lookup())
    observed = Run(body, model)
    done = run(observed.go())
    run(model.close())
    assert done.error is None
    events = [from_json(to_json(event)) for event in observed.events]
    assert next(e.layout for e in events if isinstance(e, Opened)) == done.tree.root.layout
    again = ThreadTree.replay(events)
    assert [t.layout for t in again] == [t.layout for t in done.tree]


def test_a_model_that_cannot_is_told_before_anything_is_paid() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        engine.open(Contexts(FACTS, "? Ana", parallel=True))
        raise AssertionError("this should not be reached")

    done = run(Run(body, lambda context, params: "").go())
    assert done.error is not None
    assert (
        done.error.startswith("Unsupported: ") and "side by side over this interface" in done.error
    )


def test_a_warning_is_said_wherever_the_answer_is() -> None:
    words = ["ask", "Ana", "-c", "ape", "-b", f"hf:{lookup()}", "contexts=Ana Oslo,Ana Oslo"]
    said = "1 of 2 contexts are there twice, and were read once"
    shown = reason(*words, "sampling.max_tokens=2")
    assert shown.stderr == f"{said}\n"
    assert json.loads(reason(*words, "sampling.max_tokens=2", "--json").stdout)["warnings"] == [
        said
    ]


def test_contexts_of_a_chat_begin_its_last_question() -> None:
    made = tiny.words()
    made.chat_template = (
        tiny.CHAT.replace("\n", " ")
        .replace("assistant: ", "w9 ")
        .replace("{{ m['role'] }}: ", "w7 ")
    )
    backend = HFBackend(tiny.model("llama"), made)
    chat: Any = [
        {"role": "user", "content": "w1"},
        {"role": "assistant", "content": "w2"},
        {"role": "user", "content": "w3 w4"},
    ]
    ids, layout = backend.encode_contexts(Contexts(("w20 w21 ", "w22 "), chat, "w30 "))
    assert ids == [7, 1, 7, 2, 7, 30, 20, 21, 22, 3, 4, 9]
    assert (layout.prefix, layout.contexts) == (6, (2, 1))
    assert backend.encode(Contexts(("w20 w21 ", "w22 "), chat, "w30 ")) == ids
    with pytest.raises(UsageError, match=r"context 2 of 2 is empty"):
        backend.encode_contexts(Contexts(("w20", " "), "w1"))
    with pytest.raises(UsageError, match="the query behind the contexts is empty"):
        backend.encode_contexts(Contexts(("w20",), ""))
    made.chat_template = None
    run(backend.close())


def test_attempts_may_be_read_side_by_side() -> None:
    pdr = ParallelDistillRefine(
        rounds=(4,), parallel=True, syntax="countdown", sampling=SamplingParams(max_tokens=300)
    )

    async def go() -> Any:
        model = connect("")
        try:
            return await solve(pdr, "24 3 5 7 8", {"policy": model}, seed=1)
        finally:
            await model.close()

    done = run(go())
    assert done.error is None
    read = [t for t in done.tree if t.layout]
    assert [t.id for t in read] == ["0.4"]
    assert 1 <= len(read[0].layout.contexts) <= 4
    assert read[0].segments[0].text.startswith("<bos> <try> 24 3 5 7 8 ; 4 <att>")
    with pytest.raises(ValueError, match="parallel=true is for attempts of one thread"):
        ParallelDistillRefine(parallel=True, chain=method())


@pytest.mark.parametrize("name", ["tags", "countdown"])
def test_attempts_say_the_same_in_either_way(name: str) -> None:
    syntax = syntax_of(name)
    beside = syntax.beside("24 3 5 7 8", ["FIRST", "SECOND"], 4)
    assert len(beside.contexts) == 2
    said = beside.spoken
    joined = said if isinstance(said, str) else said[-1]["content"]
    for part in ("24 3 5 7 8", "FIRST", "SECOND"):
        assert joined.count(part) == 1
    if name == "countdown":
        assert joined == syntax.attempt("24 3 5 7 8", ["FIRST", "SECOND"], 4)


# Files of contexts


def test_files_are_contexts_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "c.jsonl").write_text('{"text": "third", "id": 3}\n{"text": "fourth"}\n')
    (tmp_path / "d.txt").mkdir()
    assert read_contexts([f"@{tmp_path}/*.txt", "plain", f"@{tmp_path}/c.jsonl"]) == (
        "first",
        "second",
        "plain",
        "third",
        "fourth",
    )


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("none", None, "no file is called"),
        ("a.txt", b"  \n", "is empty; leave it out"),
        ("a.txt", b"\xff\xfe", "cannot read .* as text"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": 1}\n', r"line 2: expected .* got '{\"txt\": 1}'"),
        ("a.jsonl", b"no json", "line 1: expected"),
    ],
)
def test_what_is_no_context(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_contexts([f"@{tmp_path / name}"])


# On disk

TIMES = {"seconds": 0, "ttft": 0}


def build(folder: Path, *words: str) -> Any:
    facts = folder.parent / "facts"
    facts.mkdir(exist_ok=True)
    for number, text in enumerate(FACTS):
        (facts / f"{number}.txt").write_text(text)
    given = ("cache", "build", f"contexts=@{facts}/*.txt", "-b", f"hf:{lookup()}")
    return reason(*given, "--out", str(folder), "--json", *words)


def ask(folder: Path) -> dict[str, Any]:
    facts = folder.parent / "facts"
    spec = f"hf:{lookup()}?contexts={folder}"
    words = ["-c", "ape", f"contexts=@{facts}/*.txt", "sampling.max_tokens=4", "--json"]
    result = reason("ask", "Ana", "-b", spec, *words)
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_what_was_built_is_found_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = json.loads(build(folder).stdout)
    assert (first["contexts"], first["encoded"], first["tokens"], first["prefix"]) == (3, 3, 13, 2)
    assert first["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    again = json.loads(build(folder).stdout)
    assert (again["encoded"], again["bytes"]) == (0, first["bytes"])
    with_it, without = ask(folder), ask(tmp_path / "nothing")
    assert with_it["cached_tokens"] == 13
    assert without["cached_tokens"] == 2, "the prefix, of the contexts themselves"
    assert with_it | TIMES | {"cached_tokens": 2} == without | TIMES
    other = json.loads(build(folder, "prefix=Max ").stdout)
    assert (other["encoded"], other["prefix"]) == (3, 3), "behind another prefix it is another one"


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda data: data[:-3], "damaged"),
        (lambda data: data[:-3] + b"\0\1\2", "damaged: its bytes are not those"),
        (lambda data: b"", "damaged"),
        (lambda data: b"no tensors at all" * 9, "damaged"),
    ],
)
def test_a_damaged_file_is_made_again(
    tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    folder = tmp_path / "cache"
    build(folder)
    whole = ask(folder)
    victim = sorted(folder.iterdir())[0]
    good = victim.read_bytes()
    victim.write_bytes(spoil(good))
    rows = json.loads(reason("cache", "list", "--out", str(folder), "--json").stdout)
    assert [said in row["fault"] for row in rows] == [True, False, False]
    with pytest.warns(UserWarning, match="is not used: .* `reason cache build` makes it again"):
        less = ask(folder)
    assert less["cached_tokens"] < whole["cached_tokens"]
    assert less["total_tokens"] == whole["total_tokens"]
    with pytest.warns(UserWarning, match="is not used"):
        assert json.loads(build(folder).stdout)["encoded"] == 1
    rows = json.loads(reason("cache", "list", "--out", str(folder), "--json").stdout)
    assert [row["fault"] for row in rows] == [""] * 3
    assert ask(folder) | TIMES == whole | TIMES


def test_a_foreign_file_is_not_taken(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    build(folder)
    first, second, _ = sorted(folder.iterdir())
    second.write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match="is not used: holds another context"):
        assert ContextStore(folder).load(second.stem) is None
    assert ContextStore(folder).load(first.stem) is not None
    rows = json.loads(reason("cache", "list", "--out", str(folder), "--json").stdout)
    assert rows[1]["fault"] == f"holds another context: {first.stem}"


def test_listing_and_deleting(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    build(folder)
    shown = reason("cache", "list", "--out", str(folder)).stdout
    assert all(text in shown for text in ("| Ana Oslo Bo Lima", "3 contexts"))
    names = [row["name"] for row in json.loads(
        reason("cache", "list", "--out", str(folder), "--json").stdout)]  # fmt: skip
    wrong = reason("cache", "rm", "zzz", "--out", str(folder))
    assert (wrong.exit_code, "begins with 'zzz'" in wrong.stderr) == (2, True)
    assert reason("cache", "rm", "../x", "--out", str(folder)).exit_code == 2
    assert reason("cache", "rm", "--out", str(folder)).exit_code == 2
    assert reason("cache", "rm", names[0][:8], "--out", str(folder)).stdout == "1 context deleted\n"
    assert reason("cache", "rm", "--all", "--out", str(folder)).stdout == "2 contexts deleted\n"
    assert "no context is kept in" in reason("cache", "list", "--out", str(folder)).stdout


def test_tensors_come_back_to_the_last_bit(tmp_path: Path) -> None:
    import torch

    store = ContextStore(tmp_path / "new")
    layers: Layers = [(torch.randn(2, 5, 8), torch.randn(2, 5, 8).bfloat16()) for _ in range(3)]
    store.save("abc", layers, "m", 1, "title")
    found = store.load("abc")
    assert found is not None
    for (k, v), (key, value) in zip(layers, found, strict=True):
        assert torch.equal(k, key) and torch.equal(v, value) and v.dtype == value.dtype


# T and S


def prompts(contexts: int, count: int) -> list[Prompt]:
    rng = random.Random(5)
    return [sheet("people", contexts, 3, 1, rng).prompt(0) for _ in range(count)]


def tuned(model: Any, asked_of: list[Prompt], **knobs: Any) -> Tuned:
    numbers = {"temperatures": (0.5, 1.0), "scales": (0.5, 1.0), **knobs}
    return run(
        tune(
            method(contexts=()),
            asked_of,
            model,
            tokens=6,
            seed=1,
            told=lambda done, total: None,
            **numbers,
        )
    )


def test_one_context_is_best_read_plainly() -> None:
    model = HFBackend.load(lookup())
    found = tuned(model, prompts(1, 4))
    assert (found.temperature, found.scale) == (1.0, 1.0)
    assert found.divergence == pytest.approx(0, abs=1e-6) == found.plain
    assert found.agreement == 1.0
    assert len(found.grid) == 4 and min(value for _, _, value in found.grid) == found.divergence
    assert all(value > 1e-3 for t, s, value in found.grid if (t, s) != (1.0, 1.0))
    run(model.close())


class Plain:
    """The same model, of which only the log-probabilities of given tokens are known."""

    def __init__(self, model: HFBackend) -> None:
        self.info = model.info
        self.encode, self.decode, self.generate = model.encode, model.decode, model.generate
        self.encode_contexts, self.score = model.encode_contexts, model.score
        self.generate_parallel, self.score_parallel = model.generate_parallel, model.score_parallel
        self.close = model.close


def test_the_estimate_from_sampled_tokens_is_that_of_the_whole_vocabulary() -> None:
    model = HFBackend.load(lookup())
    many = prompts(4, 150)
    exact = tuned(model, many, temperatures=(0.5,), scales=(0.5,))
    found = tuned(Plain(model), many, temperatures=(0.5,), scales=(0.5,))
    assert found.agreement is None and exact.agreement is not None
    assert found.tokens == exact.tokens
    low, high = found.interval
    # Twice the interval: it is one sample, and another one on another machine.
    assert low - (high - low) / 2 < exact.divergence < high + (high - low) / 2
    assert high < 2 * exact.divergence
    run(model.close())


def test_tuning_by_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "tuned.json"
    words = ["-b", f"hf:{lookup()}", "--limit", "3", "--tokens", "4", "--out", str(out)]
    grid = ["temperatures=0.8,1", "scales=0.9,1"]
    result = reason("tune", "ape", "people4", *words, *grid)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "nats for a token from one sequence" in result.stdout
    found = Tuned.read(out)
    assert len(found.grid) == 4 and found.prompts == 3
    low, high = found.interval
    assert ("no better than T=S=1" in result.stdout) == (low <= found.plain <= high)
    alone = reason("tune", "ape", "people4", *words, "temperatures=1", "scales=1")
    assert "no better than T=S=1 as far as can be told" in alone.stdout
    reason("tune", "ape", "people4", *words, *grid)
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    given = ["-c", "ape", "-b", f"hf:{lookup()}", f"tuned={out}", "most_divergence=1000", "--json"]
    done = reason("eval", "people4", "--limit", "2", *given, "--out", str(tmp_path / "e"))
    assert (done.exit_code, done.stderr) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "e" / "samples.jsonl").open()]
    assert [row["warnings"] for row in rows] == [[], []]


def test_above_the_limit_contexts_are_read_in_sequence_with_a_warning(tmp_path: Path) -> None:
    model = HFBackend.load(lookup())
    file = tmp_path / "tuned.json"
    tuned(model, prompts(4, 4)).write(file)
    run(model.close())
    divergence = Tuned.read(file).divergence
    below = asked(method(tuned=str(file), most_divergence=divergence * 2))
    above = asked(method(tuned=str(file), most_divergence=divergence / 2))
    assert below.warnings == () and below.tree.root.layout is not None
    assert (below.tree.root.layout.temperature, below.tree.root.layout.scale) == (
        Tuned.read(file).temperature,
        Tuned.read(file).scale,
    )
    assert above.tree.root.layout is None
    assert len(above.warnings) == 1 and "they were read one after another" in above.warnings[0]
    assert (
        above.tree.root.segments[1].ids == asked(method(parallel=False)).tree.root.segments[1].ids
    )


def test_a_file_of_another_model_or_of_none_is_refused(tmp_path: Path) -> None:
    model = HFBackend(tiny.model("llama"), tiny.words())
    file = tmp_path / "tuned.json"
    found = tuned(HFBackend.load(lookup()), prompts(2, 2))
    found.write(file)
    with pytest.raises(UsageError, match=r"T and S were tuned with .*; tune again"):
        Tuned.read(file).check(model.info)
    assert asked(method(tuned=str(tmp_path / "none.json"))).error.startswith(
        "UsageError: cannot read"
    )
    file.write_text('{"model": 3}')
    with pytest.raises(UsageError, match="is no file of `reason tune ape`"):
        Tuned.read(file)
    run(model.close())


def test_a_prompt_without_a_sequence_to_compare_with_is_said() -> None:
    model = HFBackend.load(lookup(), context=20)
    with pytest.raises(UsageError, match="there is no sequence to compare with"):
        tuned(model, prompts(8, 1))
    with pytest.raises(UsageError, match="nothing to tune on"):
        tuned(model, [])
    run(model.close())


MISTAKES = [
    (["tune", "ape", "-b", "LOOKUP"], "on which questions?"),
    (["tune", "ape", "people2", "-b", "LOOKUP", "temperatures=0"], "T must be in (0, 2], got 0"),
    (["tune", "ape", "people2", "-b", "LOOKUP", "scales=-1"], "S must be in [0, 10], got -1"),
    (["tune", "ape", "countdown4", "-b", "LOOKUP"], "ape needs contexts"),
    (["cache", "build", "-b", "LOOKUP"], "which contexts?"),
    (["cache", "build", "notes.md", "-b", "LOOKUP"], "what is 'notes.md'? contexts are given as"),
    (["ask", "Ana", "-c", "ape", "-b", "LOOKUP"], "ape needs contexts"),
    (["ask", "Ana", "-c", "ape", "contexts=@nowhere/*", "-b", "LOOKUP"], "no file is called"),
    (["ask", "Ana", "-c", "ape", "attention_temperature=3"], "T must be in (0, 2], got 3"),
    (["ask", "Ana", "-c", "single", "-b", "LOOKUP"], "the model lookup reads contexts"),
    (["ask", "Ana", "-c", "ape", "tuned=t.json", "scaling_factor=1"], "leave these out, or tuned"),
    (["ask", "Napoleon", "-c", "ape", "contexts=Ana Oslo", "-b", "LOOKUP"], "know 'Napoleon'"),
    (["ask", "3 5 7 8 = 24", "-c", "ape", "contexts=x"], "not a chat or contexts"),
]


@pytest.mark.parametrize("words, said", MISTAKES)
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    result = reason(*(f"hf:{lookup()}" if word == "LOOKUP" else word for word in words))
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert result.exit_code == 2


# What is left of a run


def test_an_evaluation_of_it_can_be_replayed(tmp_path: Path) -> None:
    words = ["people4", "--limit", "3", "-c", "ape", "--json", "sampling.max_tokens=4"]
    first = reason("eval", *words, "-b", f"hf:{lookup()}", "--trees", "--out", str(tmp_path / "a"))
    again = reason("eval", *words, "--replay", str(tmp_path / "a"), "--out", str(tmp_path / "b"))
    assert (first.stderr, again.stderr) == ("", "")

    def answers(name: str) -> list[tuple[Any, ...]]:
        rows = [json.loads(line) for line in (tmp_path / name / "samples.jsonl").open()]
        return sorted((row["id"], row["answer"], row["error"]) for row in rows)

    assert answers("a") == answers("b")
    other = ["parallel=false", "--replay", str(tmp_path / "a"), "--out", str(tmp_path / "c")]
    reason("eval", *words, *other)
    assert all("none of them to this" in str(error) for _, _, error in answers("c"))


def test_what_read_contexts_side_by_side_is_no_training_row() -> None:
    with pytest.raises(Unsupported, match=r"\(ape\) cannot be trained on; .* parallel=false"):
        list(requests_of(asked(method()).tree))
    (row,) = requests_of(asked(method(parallel=False)).tree)
    assert len(row.sampled) == 4 or row.sampled[-1] == 2


# Looking things up


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**32))
def test_a_sheet_says_what_answers_its_questions(
    kind: Any, contexts: int, facts: int, seed: int
) -> None:
    contexts = min(contexts, most(kind, facts))
    drawn = sheet(kind, contexts, facts, 6, random.Random(seed))
    assert [len(each) for each in drawn.contexts] == [facts] * contexts
    said = [fact.split() for each in drawn.contexts for fact in each]
    assert {word for words in said for word in words} <= set(SHOWN)
    places = {words[0]: words[-1] for words in said}
    for name, answer in drawn.questions:
        if kind == "people":
            assert places[name] == answer
        elif kind == "homes":
            assert answer in (places[name], places.get(places[name]))
        else:
            assert name in places and answer in COLOURS
    english = drawn.prompt(0, "") if drawn.questions else None
    assert english is None or len(english.contexts) == contexts


def test_a_task_is_graded_by_its_word() -> None:
    item = next(LOOKUPS["people4"].items(1, 0, "lookup"))
    answer = str(item.fault(None)).removeprefix("it is ")
    assert item.verify(answer) and item.verify(f"{answer}.".lower())
    assert not item.verify("Nowhere") and not item.verify(None)
    with pytest.raises(UsageError, match="a model of the grammar countdown cannot read people4"):
        next(LOOKUPS["people4"].items(1, 0, "countdown"))


# The model that ships


def test_the_example_of_the_readme() -> None:
    place = Path(__file__).parent.parent / "docs" / "people"
    words = ["-c", "ape", "-b", "lookup", f"contexts=@{place}/*.txt", "--json"]
    facts = dict(line.split() for file in place.glob("*.txt") for line in file.open())
    assert len(facts) == 48
    for name in ("Hugo", "Kai", "Ada"):
        done = reason("ask", name, *words)
        assert (done.exit_code, json.loads(done.stdout)["answer"]) == (0, facts[name])


@pytest.mark.parametrize("task, least", [("people16", 38), ("shots30", 36)])
def test_what_was_learnt_in_one_sequence_is_done_side_by_side(
    task: str, least: int, tmp_path: Path
) -> None:
    words = ["--limit", "40", "-c", "ape", "-b", "lookup", "--json"]
    plain = ["attention_temperature=1", "scaling_factor=1"]
    done = reason("eval", task, *words, *plain, "--out", str(tmp_path / "a"))
    assert json.loads(done.stdout)["accuracy"]["value"] * 40 >= least


def test_nothing_waits_for_ever_when_all_ask_at_once() -> None:
    async def go() -> list[Any]:
        model = HFBackend.load(lookup(), max_batch=4)
        try:
            runs = [
                solve(method(), name, {"policy": model}, seed=0) for name in ("Ana", "Ida") * 20
            ]
            return await asyncio.wait_for(asyncio.gather(*runs), 60)
        finally:
            await model.close()

    done = run(go())
    assert all(each.error is None for each in done)
    assert len({tuple(each.tree.root.segments[1].logprobs) for each in done}) == 2
