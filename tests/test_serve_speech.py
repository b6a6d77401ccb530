"""Telling answer and thinking apart does not depend on the pieces in which a text comes."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.syntax import syntax_of
from reason.serve.speech import Kind, Speech
from reason.serve.tally import Tally

ASIDES = syntax_of("tags").asides
WORDS = [
    "<think>",
    "</think>",
    "<spawn>",
    "</spawn>",
    "<join>",
    "</join>",
    "END",
    "a",
    " ",
    "<",
    "\n",
]


def read(
    pieces: list[str], thinking: bool = False, stops: tuple[str, ...] = ()
) -> list[tuple[Kind, str]]:
    """What each stretch is, neighbours of a kind put together."""
    speech = Speech(ASIDES, thinking, stops)
    found = [piece for text in pieces for piece in speech.push(text)] + speech.push("", last=True)
    assert "".join(piece.text for piece in found) == "".join(pieces)
    return [
        (kind, "".join(piece.text for piece in group))
        for kind, group in groupby(found, key=lambda piece: piece.kind)
    ]


@pytest.mark.parametrize(
    "text, thinking, expected",
    [
        ("hello", False, [("content", "hello")]),
        (
            "\n<think>a<spawn></think>\n\nb <think>",
            False,
            [
                ("mark", "\n<think>"),
                ("reasoning", "a<spawn>"),
                ("mark", "</think>\n\n"),
                ("content", "b <think>"),
            ],
        ),
        ("a</think>b", True, [("reasoning", "a"), ("mark", "</think>"), ("content", "b")]),
        (
            "x<spawn>1</spawn>y ENDz",
            False,
            [
                ("content", "x"),
                ("reasoning", "<spawn>1</spawn>"),
                ("content", "y "),
                ("stop", "ENDz"),
            ],
        ),
        ("a <thi", False, [("content", "a <thi")]),
        ("<think>", False, [("mark", "<think>")]),
        (" \n ", False, [("content", " \n ")]),
    ],
)
def test_what_is_for_whom(text: str, thinking: bool, expected: list[tuple[Kind, str]]) -> None:
    assert read([text], thinking, ("END",)) == expected


TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)


@given(TEXTS, st.booleans(), st.lists(st.integers(1, 5), min_size=1, max_size=9))
def test_pieces_do_not_matter(text: str, thinking: bool, sizes: list[int]) -> None:
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    assert read(pieces, thinking, ("END",)) == read([text], thinking, ("END",))


@given(TEXTS, st.lists(st.integers(1, 6), min_size=1, max_size=9), st.booleans())
def test_every_token_is_counted_once_and_where_it_begins(
    text: str, sizes: list[int], each: bool
) -> None:
    """Tokens of up to 3 characters, that come several at a time."""
    tokens = [text[at : at + 3] for at in range(0, len(text), 3)]

    def decode(ids: object) -> str:
        return "".join(tokens[i] for i in ids)  # type: ignore[attr-defined]

    speech, tally = Speech(ASIDES, False, ("END",)), Tally(decode, each)
    said, at, turn = list[tuple[Kind, str, list[str]]](), 0, 0
    while at < len(tokens):
        ids = tuple(range(at, min(at + sizes[turn % len(sizes)], len(tokens))))
        tally.add(ids, (-0.5,) * len(ids), len(decode(ids)))
        at, turn = ids[-1] + 1, turn + 1
        for piece in speech.push(decode(ids), last=at == len(tokens)):
            found = tally.take(piece.kind, len(piece.text))
            said.append((piece.kind, piece.text, [token.text for token in found]))
    tally.end(speech.kind)
    begins, kinds = 0, list[Kind]()
    whole = [(kind, len(t)) for kind, t, _ in said]
    owner = [kind for kind, length in whole for _ in range(length)]
    for token in tokens:
        kinds.append(owner[begins])
        begins += len(token)
    assert tally.total == len(tokens)
    assert tally.answer == sum(kind in ("content", "stop") for kind in kinds)
    if each:
        told = [token for _, _, found in said for token in found]
        assert told == [t for t, k in zip(tokens, kinds, strict=True) if k == "content"]
