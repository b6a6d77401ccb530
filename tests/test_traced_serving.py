"""Training matches serving: what examples hold is what the method asks, id by id."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.threadweaver import ThreadWeaver
from reason.backends.pieces import Pieces
from reason.backends.replay import Codec
from reason.backends.scripted import Script, ScriptedBackend
from reason.backends.tokenizer import Tokenizer, load_tokenizer
from reason.errors import UsageError
from reason.run import Trajectory, solve
from reason.types import Prompt, SamplingParams
from rl.layouts import pack
from rl.requests import requests_of
from rl.traced import serving
from rl.traced.example import Example, Ids, encoded, example_of, requests_in
from rl.traced.serving import Student, recorded, served
from rl.traced.trace import Trace
from rl.traced.unusable import Unusable
from rl.traced.wellformed import Block
from tests import tiny
from tests.traced import Spelled

TRACE = Trace(
    ("<think>\nFirst.\n\n", "Then é.\n\n", "</think>\n\nSo \\boxed{7}."),
    (
        Block(("try a", "try b"), ("a is\n\n1 < 2", "b is <b>2</b>")),
        Block(("c", "d", "e"), ("1", "1", "the same")),
    ),
)
PROMPT = "What is it?"
PLAIN = Student.of("teacher", ScriptedBackend(lambda context, params: ""))
SAMPLING = SamplingParams(max_tokens=100_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer of pairs, in which tags are sometimes one token and sometimes several."""
    found = tmp_path_factory.mktemp("tokenizer")
    tiny.general(found)
    return str(found)


def serve(backend: ScriptedBackend, end: str = "model") -> Trajectory:
    method = ThreadWeaver(end=end, sampling=SAMPLING)  # type: ignore[arg-type]
    return asyncio.run(solve(method, PROMPT, {"policy": backend}))


def script(example: Example, codec: Codec) -> Script:
    """A model that writes the example, and nothing else."""
    prompt = codec.decode(codec.encode(example.prompt))
    known = {prompt + "".join(context): sampled for context, sampled in example.texts()}
    return lambda context, params: known[context]


def asked(run: Trajectory) -> list[tuple[list[int], list[int]]]:
    assert run.error is None
    return [(list(r.context), list(r.sampled)) for r in requests_of(run.tree)]


def held(example: Example) -> list[tuple[list[int], list[int]]]:
    assert example.requests is not None
    return [(list(ids.context), list(ids.sampled)) for ids in example.requests]


def made(trace: Trace, student: Student, end: str = "model") -> Example:
    tree = asyncio.run(served(trace, PROMPT, student, end))  # type: ignore[arg-type]
    return example_of("x", serving.asked(PROMPT), tree, student.name)


@pytest.mark.parametrize("end", ["model", "runtime"])
def test_a_model_that_writes_the_example_is_asked_the_same_ids(end: str) -> None:
    example = made(TRACE, PLAIN, end)
    run = serve(ScriptedBackend(script(example, PLAIN.codec), chunk=64), end)
    assert asked(run) == held(example)
    assert len(held(example)) == 3 + 5
    assert run.result is not None and run.result.answer == "7"


@pytest.mark.parametrize("end", ["model", "runtime"])
def test_the_same_in_the_tokens_of_a_tokenizer(folder: str, end: str) -> None:
    student = Student.of(folder)
    codec = student.codec
    assert isinstance(codec, Tokenizer)
    example = made(TRACE, student, end)
    run = serve(Spelled(script(example, codec), codec), end)
    assert asked(run) == held(example)
    assert held(example)[2][1][-1] == codec.eos  # the root's last turn, and no other request
    assert sum(codec.eos in ids.sampled for ids in example.requests or ()) == 1
    assert "\u00e9" in run.tree.root.text


WORD = st.text(st.sampled_from("ab1 \n<>/:\\é"), max_size=12)
SAID = WORD.map(lambda text: f"w{text}".strip())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_written(folder: str, data: st.DataObject) -> None:
    blocks = []
    for _ in range(data.draw(st.integers(0, 3))):
        k = data.draw(st.integers(2, 3))
        outlines, threads = (tuple(data.draw(SAID) for _ in range(k)) for _ in range(2))
        blocks.append(Block(outlines, threads))
    texts = [data.draw(WORD) for _ in blocks]
    trace = Trace((*texts, data.draw(SAID)), tuple(blocks))
    for student in (Student.of(folder), PLAIN):
        example = made(trace, student)
        write, codec = script(example, student.codec), student.codec
        tokens = isinstance(codec, Tokenizer)
        backend = Spelled(write, codec) if tokens else ScriptedBackend(write)
        assert asked(serve(backend)) == held(example)


def test_a_chain_without_a_block_is_one_request() -> None:
    example = made(Trace(("a chain",)), PLAIN)
    assert example.kind == "sequential" and example.ended
    assert list(example.texts()) == [([], "a chain")]
    assert PROMPT in str(example.prompt)
    assert example.figures.acceleration == 0.0


def test_words_where_no_tokenizer_is_known(folder: str) -> None:
    example = made(TRACE, Student.of(""))
    assert example.requests is None and example.tokenizer == ""
    assert requests_in(example) == ()
    assert list(example.texts()) == list(made(TRACE, PLAIN).texts())
    student = Student.of(folder)  # text is enough for any tokenizer that comes later
    for one in (example, made(TRACE, student)):
        ids = [(list(r.context), list(r.sampled)) for r in encoded(one, student.codec, student.end)]
        assert ids == held(made(TRACE, student))


def test_figures_of_an_example() -> None:
    block = Block(("p", "q"), ("x" * 10, "y" * 30))
    example = made(Trace(("a" * 5, "z" * 7), (block,)), PLAIN)
    found = example.figures
    turns = len(
        "a" * 5 + "<Parallel>\n<Outlines>\n<Outline>1: p</Outline>\n<Outline>2: q</Outline>\n"
    )
    turns += len("</Outlines>") + len("</Parallel>\n" + "z" * 7)
    close = len(" \n</Thread>")
    assert found.tokens == turns + 40 + 2 * close
    assert found.critical_path == turns + 30 + close
    assert found.parallel == 40 + 2 * close
    assert (found.blocks, found.threads) == (1, 2)
    assert found.acceleration == pytest.approx((10 + close) / found.tokens)


def test_the_rows_are_what_a_trainer_packs() -> None:
    example = made(TRACE, PLAIN)
    requests = requests_in(example)
    [row] = pack(requests)
    assert len(row.targets) == sum(len(request.sampled) for request in requests)
    assert len(row) < sum(len(r.context) + len(r.sampled) for r in requests) / 2


@pytest.mark.parametrize(
    "wrong",
    [
        Trace(("a", "b"), (Block(("p", "q"), ("x</Thread>y", "z")),)),
        Trace(("a", "b"), (Block(("p</Outlines>", "q"), ("x", "z")),)),
        Trace(("a</Outlines>", "b"), (Block(("p", "q"), ("x", "z")),)),
        Trace(("<Outlines><Outline>1: p</Outline></Outlines>b",)),
    ],
)  # fmt: skip
def test_what_no_run_could_have_written_is_refused(wrong: Trace) -> None:
    """The text is built here and served there: where the two differ, nothing is trained."""
    for student in (PLAIN, Student.of("")):
        with pytest.raises(Unusable, match="not as served"):
            made(wrong, student)


@dataclass(frozen=True)
class _Chatty:
    """A tokenizer without a template, for which a chat is what was said in it."""

    codec: Tokenizer

    def encode(self, prompt: Prompt) -> list[int]:
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        return self.codec.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.codec.decode(ids)


def test_a_tokenizer_that_changes_text_is_refused() -> None:
    class Shouting(Pieces):
        def decode(self, ids):  # type: ignore[no-untyped-def]
            return super().decode(ids).upper()

    with pytest.raises(Unusable, match=r"lost in tokens: 'think>.*became 'THINK>"):
        made(TRACE, Student("shouting", Shouting()))
    ascii = Tokenizer(tiny.letters(ascii=True), "ascii")
    with pytest.raises(Unusable, match="lost in tokens: 'é"):
        made(Trace(("é",)), Student("ascii", _Chatty(ascii)))
    assert made(Trace(("e",)), Student("ascii", _Chatty(ascii))).figures.tokens == 1


def test_one_token_more_is_another_request() -> None:
    """The comparison that all of this rests on sees what it is for."""
    example = made(TRACE, PLAIN)
    write = script(example, PLAIN.codec)
    run = serve(ScriptedBackend(lambda c, p: f"{write(c, p)}!" if "</think>" in c else write(c, p)))
    assert asked(run) == held(example)  # nothing is asked behind the end of the thinking
    run = serve(ScriptedBackend(lambda c, p: str(write(c, p)).replace("</think>", "</think>!")))
    assert asked(run) != held(example)


def test_contexts_of_the_second_thread_do_not_hold_the_first() -> None:
    answers = recorded(TRACE, PROMPT, PLAIN, "model")
    texts = [PLAIN.codec.decode(answer.context) for answer in answers]
    assert texts[2].endswith("</Outlines>\n<Thread>\n2:") and "a is" not in texts[2]
    assert texts[3].endswith("b is <b>2</b>\n</Thread>\n") and "a is" in texts[3]


def test_students_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a teacher"):
        Student.of("teacher")
    backend = ScriptedBackend(lambda context, params: "")
    backend.info = replace(backend.info, ends=(1, 2))
    with pytest.raises(UsageError, match=r"any of the tokens \[1, 2\]"):
        Student.of("teacher", backend)
    backend.info = replace(backend.info, token_ids=False)
    with pytest.raises(UsageError, match="no token ids"):
        Student.of("teacher", backend)
    tiny.words().save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).eos_token_id is None
    with pytest.raises(UsageError, match="names no end-of-sequence token"):
        Student.of(str(tmp_path))


def test_ids_read_as_they_were_written() -> None:
    import msgspec

    example = made(TRACE, PLAIN)
    row = msgspec.json.encode(example)
    assert msgspec.json.decode(row, type=Example) == example
    read = msgspec.json.decode(row)["requests"][0]
    assert read.keys() == {"context", "sampled"}
    assert Ids(tuple(read["context"]), tuple(read["sampled"])) == (example.requests or ())[0]
