from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.single import Single
from reason.config import build, convert, merge, parse_words, read_toml
from reason.errors import UsageError
from reason.keys import Ask
from reason.settings import method_of
from reason.types import SamplingParams
from tests.runs import run


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    name: str = "in"


@dataclass(frozen=True)
class Stage:
    name: str
    steps: int = 1


@dataclass(frozen=True)
class Method:
    n: int = 8
    share: float = 0.25
    on: bool = False
    splice: Literal["replace", "append"] = "replace"
    level: Literal[1, 2] = 1
    stop: tuple[str, ...] = ()
    seeds: list[int] = field(default_factory=list)
    enough: float | None = None
    start: str | None = None
    seed: int | str = 0
    folder: Path = Path("runs")
    inner: Inner = Inner()
    sampling: SamplingParams = SamplingParams(temperature=0.7)
    child: SamplingParams | None = None
    stages: tuple[Stage, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be 1 or more, got {self.n}")


def from_words(*words: str) -> Method:
    return build(Method, parse_words(words))


GOOD: list[tuple[str, Method]] = [
    ("n=4", Method(n=4)),
    ("n=4k", Method(n=4000)),
    ("n=2M", Method(n=2_000_000)),
    ("n=1e3", Method(n=1000)),
    ("n=0.5k", Method(n=500)),
    ("n=1_000", Method(n=1000)),
    ("n=12345678901234567891", Method(n=12345678901234567891)),
    ("share=1", Method(share=1.0)),
    ("share=inf", Method(share=float("inf"))),
    ("share= 2.5 ", Method(share=2.5)),
    ("on=true", Method(on=True)),
    ("on=YES", Method(on=True)),
    ("on=0", Method(on=False)),
    ("splice=append", Method(splice="append")),
    ("level=2", Method(level=2)),
    ("stop=a,b", Method(stop=("a", "b"))),
    ("stop=a, b ", Method(stop=("a", " b "))),
    ("stop= ", Method(stop=(" ",))),
    ("stop=\n\n,x", Method(stop=("\n\n", "x"))),
    ('stop= ["a"]', Method(stop=("a",))),
    (r'stop=["\n\n"]', Method(stop=("\n\n",))),
    ('stop=["\n\n", " "]', Method(stop=("\n\n", " "))),
    ('stop=["a, b", "c"]', Method(stop=("a, b", "c"))),
    ("stop=", Method(stop=())),
    ("seeds=1,2k", Method(seeds=[1, 2000])),
    ("seeds= 1, 2,", Method(seeds=[1, 2])),
    ("enough=none", Method(enough=None)),
    ("enough=0.9", Method(enough=0.9)),
    ("start=none", Method(start=None)),
    ("start=here", Method(start="here")),
    ("seed=7", Method(seed=7)),
    ("seed=run-7", Method(seed="run-7")),
    ("folder=a/b", Method(folder=Path("a/b"))),
    ("folder= a ", Method(folder=Path(" a "))),
    ("inner.rate=2", Method(inner=Inner(rate=2.0))),
    ("sampling.top_p=0.9", Method(sampling=SamplingParams(temperature=0.7, top_p=0.9))),
    ("child.top_p=0.9", Method(child=SamplingParams(top_p=0.9))),
    ("extra.a=1", Method(extra={"a": "1"})),
]


@pytest.mark.parametrize(("word", "expected"), GOOD)
def test_a_word_sets_one_key(word: str, expected: Method) -> None:
    assert from_words(word) == expected


BAD: list[tuple[str, str]] = [
    ("rounds=2", "unknown key rounds; the keys are: child, enough, extra, folder, inner, level, "
     "n, on, sampling, seed, seeds, share, splice, stages, start, stop"),
    ("shar=2", "unknown key shar (did you mean share?); the keys are: "),
    ("inner.rat=2", "unknown key inner.rat (did you mean rate?); the keys are: name, rate"),
    ("n=many", "n must be an integer, got 'many'"),
    ("n=1.5", "n must be an integer, got '1.5'"),
    ("n=inf", "n must be an integer, got 'inf'"),
    ("n=k", "n must be an integer, got 'k'"),
    ("n=", "n must be an integer, got ''"),
    ("share=half", "share must be a number, got 'half'"),
    ("on=maybe", "on must be true or false, got 'maybe'"),
    ("splice=insert", "splice must be one of replace, append, got 'insert'"),
    ("level=3", "level must be one of 1, 2, got '3'"),
    ("seeds=1,x", "seeds[1] must be an integer, got 'x'"),
    ("stop=[a", "stop must be a list, got '[a'"),
    (f"stop={'[' * 10**5}", "stop must be a list, got '[["),
    ("stop=,", """stop has an empty item; one with a comma in it is written stop=["…"], got ','"""),
    ("stop=a,", "stop has an empty item; "),
    ("enough=much", "enough must be a number, got 'much'"),
    ("inner=3", "inner has keys of its own: give inner.KEY=VALUE, not '3'"),
    ("n=0", "n must be 1 or more, got 0"),
    ("sampling.top_p=2", "sampling.top_p must be in (0, 1], got 2.0"),
    ("extra=3", "extra must be a table, got '3'"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "message"), BAD)
def test_a_wrong_word_says_what_is_right(word: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        from_words(word)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["n"], "expected key=value, got 'n'"),
        (["=3"], "expected key=value, got '=3'"),
        (["a=1", "a.b=2"], "'a.b=2': a was already given a value of its own"),
        (["a.b=2", "a=1"], "'a=1': a was already given keys of its own"),
        (["a.b=2", "a.b= 3"], "a.b is given twice, as a.b=2 and as a.b= 3: leave one out"),
    ],
)
def test_words_that_do_not_fit_together(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_words(words)
    assert str(raised.value) == message


def test_words_become_tables() -> None:
    words = ["a.b.c=1", "a.b.d==x", "e=", " f = 1 "]
    assert parse_words(words) == {"a": {"b": {"c": "1", "d": "=x"}}, "e": "", "f": " 1 "}


def test_merge_goes_table_by_table_and_changes_nothing() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    over = {"a": {"y": {"w": 4}}, "b": {"c": 5}}
    assert merge(base, over) == {"a": {"x": 1, "y": {"z": 2, "w": 4}}, "b": {"c": 5}}
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    assert merge({"a": {"x": 1}}, {"a": 2}) == {"a": 2}


@pytest.mark.parametrize(
    ("word", "stop"),
    [("sampling.stop= ", (" ",)), (r'sampling.stop=["\n\n"," a"]', ("\n\n", " a"))],
)
def test_stop_strings_reach_the_backend_as_they_were_given(
    word: str, stop: tuple[str, ...]
) -> None:
    heard: list[SamplingParams] = []
    method, _ = method_of(Ask, parse_words([word]), Single)
    run(method, lambda context, params: heard.append(params) or "x" + stop[0] + "y")
    assert [params.stop for params in heard] == [stop]


def test_build_over_a_given_default_keeps_the_rest() -> None:
    default = Method(n=3, inner=Inner(rate=9.0, name="kept"))
    built = build(Method, {"inner": {"rate": 1}, "on": True}, default)
    assert built == Method(n=3, on=True, inner=Inner(rate=1.0, name="kept"))


def test_values_from_toml_keep_their_types() -> None:
    values: dict[str, Any] = {
        "n": 2,
        "share": 1,
        "stop": ["a"],
        "stages": [{"name": "one"}, {"name": "two", "steps": 5}],
        "folder": Path("x"),
        "extra": {"deep": [1]},
    }
    assert build(Method, values) == Method(
        n=2,
        share=1.0,
        stop=("a",),
        stages=(Stage("one"), Stage("two", 5)),
        folder=Path("x"),
        extra={"deep": [1]},
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": True}, "n must be an integer, got True"),
        ({"n": 2.0}, "n must be an integer, got 2.0"),
        ({"share": True}, "share must be a number, got True"),
        ({"on": 1}, "on must be true or false, got 1"),
        ({"start": 5}, "start must be a string, got 5"),
        ({"seed": None}, "seed must be an integer, got None"),
        ({"stages": [{}]}, "stages[0]: missing name"),
        ({"stages": [{"name": "a", "step": 1}]}, "unknown key stages[0].step (did you mean steps?"),
        ({"sampling": [1]}, "sampling has keys of its own"),
    ],
)
def test_wrong_types_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        build(Method, values)
    assert str(raised.value).startswith(message)


def test_a_required_key_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=r"^Stage: missing name$"):
        build(Stage, {})


@given(st.integers(), st.floats(allow_nan=False), st.booleans())
def test_numbers_survive_being_words(whole: int, real: float, flag: bool) -> None:
    assert convert(int, str(whole), "k") == whole
    assert convert(float, repr(real), "k") == real
    assert convert(bool, str(flag), "k") is flag


hints = st.sampled_from(
    [int, float, bool, str, Path, int | None, int | str, tuple[int, ...], list[str], Inner, Any]
)


@given(hints, st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_any_value_is_converted_or_refused(hint: Any, value: Any) -> None:
    try:
        convert(hint, value, "key")
    except UsageError as error:
        assert str(error).startswith("key")


def test_toml_files(tmp_path: Path) -> None:
    good, bad, binary = tmp_path / "good.toml", tmp_path / "bad.toml", tmp_path / "binary.toml"
    good.write_text('n = 2\n[inner]\nname = "ü"\n', encoding="utf-8")
    bad.write_text("n = \n")
    binary.write_bytes(b"\xff\xfe")
    assert read_toml(good) == {"n": 2, "inner": {"name": "ü"}}
    for path, message in [
        (bad, f"{bad} is not valid TOML"),
        (binary, f"{binary} is not valid TOML"),
        (tmp_path / "none.toml", f"cannot read {tmp_path / 'none.toml'}: No such file"),
        (tmp_path, f"cannot read {tmp_path}: Is a directory"),
    ]:
        with pytest.raises(UsageError) as raised:
            read_toml(path)
        assert str(raised.value).startswith(message)
