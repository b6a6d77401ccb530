"""Text from token ids, piece by piece."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from reason.backends.detokenize import Decode, Detokenizer, StopStrings
from tests import tiny

TEXT = "naïve 日本語 😀🎉 family 👨‍👩‍👧 plain words and more of them, " * 3


def letters(ids: list[int]) -> str:
    return tiny.letters().decode(ids, clean_up_tokenization_spaces=False)


def words(ids: list[int]) -> str:
    return tiny.words().decode(ids, clean_up_tokenization_spaces=False)


def pieces(ids: list[int], cuts: list[int], decode: Decode) -> list[str]:
    text = Detokenizer(decode)
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    return [text.push(ids[a:b], b == len(ids)) for a, b in pairwise(edges)]


@given(st.lists(st.integers(0, 299), max_size=90), st.lists(st.integers(0, 90), max_size=30))
def test_pieces_of_any_bytes_join_to_the_whole(ids: list[int], cuts: list[int]) -> None:
    assert "".join(pieces(ids, cuts, letters)) == letters(ids)


@given(st.lists(st.integers(0, 61), max_size=90), st.lists(st.integers(0, 90), max_size=30))
def test_pieces_of_words_join_to_the_whole(ids: list[int], cuts: list[int]) -> None:
    assert "".join(pieces(ids, cuts, words)) == words(ids)


def test_no_piece_holds_half_a_character() -> None:
    ids = tiny.letters()(TEXT)["input_ids"]
    text = Detokenizer(letters)
    got = [text.push([i]) for i in ids]
    assert "".join(got) == TEXT
    assert not any("\ufffd" in piece for piece in got)
    assert "日" in got and "😀" in got


def test_bytes_that_a_tokenizer_falls_back_to() -> None:
    vocabulary = {f"<0x{i:02X}>": i for i in range(256)} | {"<unk>": 256}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    text = Detokenizer(tokenizer.decode)
    got = [text.push([i]) for i in TEXT.encode()]
    assert "".join(got) == TEXT
    assert "😀" in got


def test_a_stop_string_is_found_across_tokens_and_characters() -> None:
    ids = tiny.letters()(TEXT)["input_ids"]
    for stop in ("語 😀", "plain", "s", "👨‍👩‍👧", "more of them, naïve"):
        stops = StopStrings(("never", stop, stop + " never"), letters)
        found = [stops.push(i) for i in ids]
        end = next(n for n, hit in enumerate(found) if hit)
        assert found[end] == stop
        assert stop in letters(ids[: end + 1])
        assert stop not in letters(ids[:end])


def test_the_stop_string_that_ends_first_wins_then_the_longest() -> None:
    ids = words_of("w1 w2 w3")
    assert [StopStrings(("w2 w3", "w2"), words).push(i) for i in ids[1:2]] == ["w2"]
    stops = StopStrings(("2", "w2", "w1 w2"), words)
    assert [stops.push(i) for i in ids[:2]] == [None, "w1 w2"]


def words_of(text: str) -> list[int]:
    return tiny.words()(text)["input_ids"]
