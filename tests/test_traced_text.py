"""What a teacher says and what a chain holds is read strictly: by hand, and whatever it is."""

import random
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.syntax import syntax_of
from reason.errors import UsageError
from rl.traced.analysis import Step, question, read_steps
from rl.traced.blocks import Worth, blocks_of
from rl.traced.chain import paragraphs, read_chains
from rl.traced.outlines import read_outlines
from rl.traced.rewriting import rewritten, similarity
from rl.traced.teacher import inside
from rl.traced.trace import Trace
from rl.traced.unusable import Unusable
from rl.traced.wellformed import TAG, Block, read_blocks
from tests.traced import chain, write

FORM = syntax_of("tags").threads
TEXT = st.text(st.sampled_from("ab <>/|\n:1-S,"), max_size=40)
NOISE = st.lists(
    st.sampled_from(
        ["<steps>", "</steps>", "S1: 1 | none\n", "S2: 2-3 | S1\n", "S3: 4 | S9\n", "<outlines>",
         "</outlines>", "1: a\n", "2: b\n", "<edits>", "</edits>", "<edit>", "</edit>", "<old>",
         "</old>", "<new>", "</new>", "word", "\n", "<Parallel>", "</Parallel>", "<Outlines>",
         "</Outlines>", "<Outline>", "</Outline>", "<Thread>", "</Thread>"]
    ) | TEXT,
    max_size=14,
).map("".join)  # fmt: skip


def steps(*lines: str) -> str:
    return "<steps>\n" + "\n".join(lines) + "\n</steps>"


def test_steps_as_the_question_asks_for_them() -> None:
    found = read_steps(steps("S1: 1-2 | none", "", " S2: 3 | S1", "S3: 4-4|S1, S2, S1"), 4)
    assert found == [Step(0, 1, ()), Step(2, 2, (0,)), Step(3, 3, (0, 1))]
    example = question("P", ["a", "b"]).partition("directly:\n")[2]
    assert len(read_steps(example, 9)) == 4  # what it shows can be read
    assert "[2] b" in question("P", ["a", "b"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("S1: 1-4 | none", "unparsable"),
        (steps("S1: 1-4 | none") * 2, "unparsable"),
        (steps("S1: 1-4 none"), "unparsable"),
        (steps("S1: 1-4 | all"), "unparsable"),
        (steps("S1: __import__('os') | none"), "unparsable"),
        (steps("S1: 1-2 | none", "S3: 3-4 | none"), "step numbers"),
        (steps("S1: 1-2 | none", "S1: 3-4 | none"), "step numbers"),
        (steps("S1: 1-5 | none"), "out of range"),
        (steps("S1: 0-4 | none"), "out of range"),
        (steps("S1: 1-2 | none", "S2: 4-3 | none"), "out of range"),
        (steps("S1: 1-2 | none", "S2: 3-4 | S3"), "out of range"),
        (steps("S1: 1-2 | S0", "S2: 3-4 | S1"), "out of range"),
        (steps("S1: 1-2 | none", "S2: 4 | none"), "gap"),
        (steps("S1: 1-2 | none", "S2: 2-4 | none"), "gap"),
        (steps("S1: 1-3 | none"), "gap"),
        (steps(), "gap"),
        (steps("S1: 1-2 | S2", "S2: 3-4 | S1"), "cycle"),
        (steps("S1: 1-4 | S1"), "cycle"),
        (steps("S1: 1-2 | S2", "S2: 3-4 | none"), "uses a later step"),
    ],
)
def test_steps_that_cannot_be(answer: str, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_steps(answer, 4)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("1: find a\n2: find b", None),
        ("1: the case of 12\n2: find 3", None),
        ("1 : find a\n\n 2: find b ", None),
        ("1: find a", "outline numbers"),
        ("1: find a\n3: find b", "outline numbers"),
        ("0: find a\n1: find b", "outline numbers"),
        ("1: find a\n2: find b\n3: find c", "outline numbers"),
        ("1: find a\n1: find b", "outline numbers"),
        ("find a\nfind b", "unparsable"),
        ("1: find a\n2:", "unparsable"),
        ("1: find a\n2: write <Thread>", "tags in an outline"),
        ("1: find a\n2: " + "b" * 401, "outline too long"),
        ("1: find a\n2: it is 144", "outline tells a result"),
        ("1: find a\n2: it is 1.5", "outline tells a result"),
    ],
)
def test_outlines(lines: str, reason: str | None) -> None:
    answer = f"here:\n<outlines>\n{lines}\n</outlines>"
    if reason is None:
        assert len(read_outlines(answer, 2, "the 12 of it")) == 2
        return
    with pytest.raises(Unusable) as caught:
        read_outlines(answer, 2, "the 12 of it")
    assert caught.value.reason == reason


THREAD = "As above, we add \\frac{1}{2} and then we take the whole of it again."


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ("", THREAD),
        ("<edit><old>As above, we</old><new>We</new></edit>", THREAD[10:].replace("we", "We", 1)),
        ("<edit><old>\\frac</old><new>\\d\n</new></edit>", THREAD.replace("\\frac", "\\d\n")),
        ("<edit>\n<old>we</old>\n<new>you</new>\n</edit>\n", THREAD.replace("we", "you")),
    ],
)  # fmt: skip
def test_edits(edits: str, expected: str) -> None:
    assert rewritten(f"<edits>{edits}</edits>", THREAD, 0.6) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("nothing to do", "unparsable"),
        ("<edits>none</edits>", "unparsable"),
        ("<edits><edit><old>we</old></edit></edits>", "unparsable"),
        ("<edits><edit><old>we<old></old><new>a</new></edit></edits>", "unparsable"),
        ("<edits><edit><old>similarly</old><new>a</new></edit></edits>", "not in the thread"),
        ("<edits><edit><old></old><new>a</new></edit></edits>", "not in the thread"),
        ("<edits><edit><old>we</old><new></Thread></new></edit></edits>", "tags in a thread"),
        (f"<edits><edit><old>{THREAD}</old><new>No.</new></edit></edits>", "changed too much"),
        (f"<edits><edit><old>{THREAD}</old><new></new></edit></edits>", "changed too much"),
    ],
)
def test_edits_that_cannot_be(answer: str, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        rewritten(answer, THREAD, 0.6)
    assert caught.value.reason == reason


def test_the_floor_is_a_share_of_words() -> None:
    assert similarity("a b c d", "a b c d") == 1.0
    assert similarity("a b c d", "a x c d") == 0.75
    assert similarity("a b", "c d") == 0.0
    edit = "<edits><edit><old>b</old><new>x</new></edit></edits>"
    assert rewritten(edit, "a b c d", 0.75) == "a x c d"
    with pytest.raises(Unusable, match=r"0\.75 of the words"):
        rewritten(edit, "a b c d", 0.76)


@settings(max_examples=300, deadline=None)
@given(NOISE)
def test_no_answer_breaks_a_parser(answer: str) -> None:
    """Whatever a teacher says is read or refused; what is read keeps what it promises."""
    with suppress(Unusable):
        found = read_steps(answer, 3)
        assert [n for s in found for n in range(s.first, s.last + 1)] == [0, 1, 2]
        assert all(use < number for number, s in enumerate(found) for use in s.uses)
    with suppress(Unusable):
        assert not any(TAG.search(one) for one in read_outlines(answer, 2, ""))
    with suppress(Unusable):
        changed = rewritten(answer, "word a b", 0.5)
        assert changed and not TAG.search(changed)
        assert similarity("word a b", changed) >= 0.5
    with suppress(Unusable):
        for block in read_blocks(answer):
            assert len(block.outlines) == len(block.threads) >= 2
            assert not any(TAG.search(one) for one in (*block.outlines, *block.threads))
    with suppress(Unusable):
        parts = paragraphs(answer)
        assert "".join([parts.head, *parts.parts, parts.tail]) == answer
        assert all(part.strip() for part in parts.parts) and parts.tail.strip()


PLAIN = st.text(st.sampled_from("ab \n<>/é"), max_size=20)
SAID = PLAIN.map(str.strip).filter(lambda text: text and not TAG.search(text))
BLOCKS = st.integers(2, 4).flatmap(
    lambda k: st.builds(Block, st.tuples(*[SAID] * k), st.tuples(*[SAID] * k))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(BLOCKS, max_size=3), st.sampled_from(["model", "runtime"]))
def test_what_is_written_is_read_again(blocks: list[Block], end: str) -> None:
    trace = Trace(("a\n\n",) * (len(blocks) + 1), tuple(blocks))
    whole = ""
    turns = list(trace.turns(FORM, end))  # type: ignore[arg-type]
    for turn, threads in zip(turns, [*trace.threads(FORM), []], strict=True):
        whole += turn
        for number, thread in enumerate(threads, 1):
            whole += FORM.header.format(number=number) + thread
        whole += FORM.glue if threads else ""
        whole += FORM.block_end if threads and end == "runtime" else ""
    assert read_blocks(whole) == blocks


GOOD = (
    "a<Parallel>\n<Outlines>\n<Outline>1: p</Outline>\n<Outline>2: q</Outline>\n</Outlines>\n"
    "<Thread>\n1: x\n</Thread><Thread>\n2: y\n</Thread>\n</Parallel>\nb"
)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("", "", None),
        ("</Thread><Thread>", "</Thread>\n<Thread>", None),
        ("</Parallel>", "", "the text ends where </Parallel>"),
        ("<Parallel>", "", "<Outlines> stands where <Parallel>"),
        ("b", "<Thread>", "<Thread> stands where <Parallel>"),
        ("x", "<Parallel>", "<Parallel> stands where </Thread>"),
        ("x", "</Outline>", "</Outline> stands where </Thread>"),
        ("p", "<Thread>", "<Thread> stands where </Outline>"),
        ("2: q", "3: q", "outline 2 says it is number 3"),
        ("2: y", "1: y", "thread 2 says it is number 1"),
        ("2: y", "y", "in thread 2 stands no 'number: text'"),
        ("1: x", "1:", "in thread 1 stands no 'number: text'"),
        ("</Thread><Thread>", "</Thread>so<Thread>", "text stands before <Thread>: 'so'"),
        ("<Outlines>\n", "<Outlines>\nwell", "text stands before <Outline>"),
        ("<Thread>\n2: y\n</Thread>", "", "2 outlines, but 1 threads"),
        ("</Parallel>", "<Conclusion></Parallel>", "<Conclusion> stands where </Parallel>"),
    ],
)
def test_the_format_is_checked_strictly(old: str, new: str, what: str | None) -> None:
    text = GOOD.replace(old, new, 1)
    if what is None:
        assert read_blocks(text) == [Block(("p", "q"), ("x", "y"))]
        return
    assert text != GOOD
    with pytest.raises(Unusable) as caught:
        read_blocks(text)
    assert caught.value.reason == "malformed" and what in str(caught.value)


def test_a_block_of_one_thread_is_none() -> None:
    one = GOOD.replace("<Outline>2: q</Outline>\n", "").replace("<Thread>\n2: y\n</Thread>", "")
    with pytest.raises(Unusable, match="less than two threads"):
        read_blocks(one)
    assert read_blocks("no block at all") == []


LOW = Worth(saving=1, shortest=1)


def graph(*uses: tuple[int, ...]) -> list[Step]:
    return [Step(n, n, used) for n, used in enumerate(uses)]


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ([(), (0,), (1,), (2,)], []),  # each needs the one before
        ([(), (0,), (0,), (1, 2)], [[(1, 2), (2, 3)]]),
        ([(), (0,), (1,), (0,), (3,), (2, 4)], [[(1, 3), (3, 5)]]),
        ([(), (), ()], [[(0, 1), (1, 2), (2, 3)]]),
        ([(), (0,), (0,), (1,), (0, 2, 3)], [[(1, 2), (2, 3)]]),  # 3 cannot follow 1 over 2
        ([(), (0,), (0,), (1, 2), (3,), (3,), (4, 5)], [[(1, 2), (2, 3)], [(4, 5), (5, 6)]]),
    ],
)
def test_blocks_are_steps_that_need_nothing_of_each_other(
    uses: list[tuple[int, ...]], expected: list[list[tuple[int, int]]]
) -> None:
    assert blocks_of(graph(*uses), [10] * len(uses), LOW) == expected


def test_a_block_is_worth_its_tags() -> None:
    two = graph((), (0,), (0,), (1, 2))
    lengths = [10, 300, 150, 10]
    assert blocks_of(two, lengths, Worth(saving=150, shortest=1)) == [[(1, 2), (2, 3)]]
    assert blocks_of(two, lengths, Worth(saving=151, shortest=1)) == []
    assert blocks_of(two, lengths, Worth(saving=1, shortest=151)) == []
    free = graph(*[()] * 5)
    assert len(blocks_of(free, [9] * 5, Worth(saving=1, shortest=1, threads=2))[0]) == 2
    [three] = blocks_of(free, [100, 9, 100, 100, 9], Worth(saving=1, shortest=50))
    assert len(three) == 3  # what is too short became part of a neighbour
    pairs = graph((), (), (0, 1), (2,), (2,), (3, 4), (5,), (5,))
    sizes = [50, 50, 9, 90, 90, 9, 70, 70]
    assert len(blocks_of(pairs, sizes, LOW)) == 3
    kept = blocks_of(pairs, sizes, Worth(saving=1, shortest=1, blocks=2))
    assert kept == [[(3, 4), (4, 5)], [(6, 7), (7, 8)]]  # those that save most, in their order


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 14), st.integers(0, 10**6), st.integers(1, 60))
def test_no_thread_uses_a_sibling(count: int, seed: int, saving: int) -> None:
    rng = random.Random(seed)
    uses = [tuple(sorted(rng.sample(range(n), min(n, rng.randint(0, 2))))) for n in range(count)]
    lengths = [rng.randint(1, 50) for _ in uses]
    worth = Worth(saving=saving, shortest=rng.randint(1, 30), threads=rng.randint(2, 4))
    end = 0
    for threads in blocks_of(graph(*uses), lengths, worth):
        assert threads[0][0] >= end and 2 <= len(threads) <= worth.threads
        assert all(one[1] == other[0] for one, other in pairwise(threads))
        sizes = [sum(lengths[a:b]) for a, b in threads]
        assert sum(sizes) - max(sizes) >= saving and min(sizes) >= worth.shortest
        for a, b in threads:
            used = {use for step in range(a, b) for use in uses[step]}
            assert not used & {s for x, y in threads if (x, y) != (a, b) for s in range(x, y)}
        end = threads[-1][1]


def best(uses: list[tuple[int, ...]], lengths: list[int], start: int = 0) -> int:
    """What can be saved from a step on, by trying everything."""
    found = best(uses, lengths, start + 1) if start < len(uses) else 0
    for end in range(start + 2, len(uses) + 1):
        for chosen in range(2 ** (end - start - 1)):
            cuts = [start + 1 + n for n in range(end - start - 1) if chosen >> n & 1]
            threads = list(pairwise([start, *cuts, end]))
            reach = [(use, a) for a, b in threads for step in range(a, b) for use in uses[step]]
            apart = all(use < start or use >= a for use, a in reach)
            sizes = [sum(lengths[a:b]) for a, b in threads]
            if apart and len(threads) > 1:
                found = max(found, sum(sizes) - max(sizes) + best(uses, lengths, end))
    return found


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10**6))
def test_no_other_blocks_save_more(count: int, seed: int) -> None:
    rng = random.Random(seed)
    uses = [tuple(sorted(rng.sample(range(n), min(n, rng.randint(0, 2))))) for n in range(count)]
    lengths = [rng.randint(1, 9) for _ in uses]
    found = blocks_of(graph(*uses), lengths, LOW)
    sizes = [[sum(lengths[a:b]) for a, b in threads] for threads in found]
    assert sum(sum(one) - max(one) for one in sizes) == best(uses, lengths)


def test_paragraphs_of_a_chain() -> None:
    found = paragraphs("<think>\na\nb\n\n \n c\n\nd\n</think>\n\nso\n\nit is")
    assert found.head == "<think>\n" and found.tail == "</think>\n\nso\n\nit is"
    assert found.parts == ("a\nb\n\n \n ", "c\n\n", "d\n")
    without = paragraphs("a\n\nb\n\nc")
    assert (without.head, without.parts, without.tail) == ("", ("a\n\n", "b\n\n"), "c")
    for text, reason in {
        "a": "nothing to divide",
        "</think>x": "nothing to divide",
        "a\n\nb </Thread>\n\nc": "tags in the chain",
    }.items():
        with pytest.raises(Unusable) as caught:
            paragraphs(text)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ""}, "the id '' is empty"),
        ({"id": None}, "must be a text or a number"),
        ({"chain": "  "}, "chain must be a text that is not empty"),
        ({"prompt": []}, "must hold a message"),
        ({"prompt": [{"role": "user"}]}, "list of messages with role and content"),
        ({"prompt": 3}, "prompt must be a text"),
    ],
)
def test_rows_that_cannot_be(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = write(tmp_path / "c.jsonl", [chain("a", [[]]), chain("b", [[]]) | change])
    with pytest.raises(UsageError, match=f"line 2: .*{message}"):
        read_chains(file)


def test_rows_of_a_file(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    file = write(
        tmp_path / "c.jsonl", [chain("a", [[]], answer=7.0), chain("b", [[]], prompt=talk)]
    )
    one, two = read_chains(file)
    assert (one.id, one.answer, one.problem) == ("a", "7", "What is a?")
    assert two.problem == "one\n\ntwo" and two.digest != one.digest
    with pytest.raises(UsageError, match="line 2: the id 'a' is there twice"):
        read_chains(write(file, [chain("a", [[]])] * 2))
    with pytest.raises(UsageError, match="holds no chains"):
        read_chains(write(file, []))


def test_a_tag_stands_around_an_answer_once() -> None:
    assert inside("so <x>\n1</x> done", "x") == "\n1"
    for answer in ("", "<x>", "</x><x>", "<x>1</x><x>2</x>", "<x><x>1</x>", "</x><x>1</x>"):
        with pytest.raises(Unusable, match="unparsable"):
            inside(answer, "x")
