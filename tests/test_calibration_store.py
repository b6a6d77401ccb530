"""A calibration comes back from its file as it was, or is refused with the reason."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.sample import Sample
from calibration.store import Calibration, Identity, check_identity, load, save
from reason.errors import UsageError

IDENTITY = Identity("small-1b", "große-32b", "math100", config={"tokens": 500, "temperature": 0.8})
ROWS = Sample.of([2.5, 1.0, 0.1 + 0.2, 2.5], ["b", "a", "ü", "a"], [1, 0, 0, 2], [7, 500, 9, 0])


def written(path: Path, **changed: Any) -> Path:
    """A file with some fields that are other than they should be, or left out."""
    file = path / "calibration.json"
    save(Calibration(IDENTITY, ROWS), file)
    found = json.loads(file.read_text(encoding="utf-8")) | changed
    file.write_text(json.dumps({k: v for k, v in found.items() if v != "-"}), encoding="utf-8")
    return file


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
            st.integers(0, 20),
            st.integers(0, 4096),
        ),
        max_size=8,
    )
)
def test_it_comes_back_as_it_was(rows: list[tuple[float, str, int, int]]) -> None:
    scores, questions, turns, lengths = ([row[i] for row in rows] for i in range(4))
    sample = Sample.of(scores, questions, turns, lengths)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "deep" / "calibration.json"
        save(Calibration(IDENTITY, sample), file)
        found = load(file)
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        text = file.read_bytes()
        save(found, file)
        assert file.read_bytes() == text
    assert found.identity == IDENTITY and found.sample.questions == sample.questions
    for name in ("scores", "turns", "lengths"):
        assert np.array_equal(getattr(found.sample, name), getattr(sample, name))


def test_the_file_has_a_line_for_each_score(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    save(Calibration(IDENTITY, ROWS), file)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[1:3] == ['  "format": "reason-calibration",', '  "version": 1,']
    assert lines[-6:] == [
        '    [0.30000000000000004, "\\u00fc", 0, 9],',
        '    [1.0, "a", 0, 500],',
        '    [2.5, "a", 2, 0],',
        '    [2.5, "b", 1, 7]',
        "  ]",
        "}",
    ]


ROW = ["a", 0, 0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": 2}, "its version is 2, expected 1"),
        ({"version": "-"}, "its version is None, expected 1"),
        ({"format": "other"}, "its format is 'other', expected 'reason-calibration'"),
        ({"score": "ppl"}, "no score is called 'ppl'; there is: perplexity"),
        ({"draft": "-"}, "missing required field `draft`"),
        ({"extra": 1}, "unknown field `extra`"),
        ({"rows": [[float("nan"), *ROW]]}, "it holds NaN, expected finite scores"),
        ({"rows": [[float("-inf"), *ROW]]}, "it holds -Infinity, expected finite scores"),
        ({"rows": [[2.0, *ROW], [1.5, *ROW]]}, r"score 1 is 1\.5 after 2, expected ascending"),
        ({"rows": [["1.0", *ROW]]}, r"Expected `float`, got `str` - at `\$\.rows\[0\]\[0\]`"),
        ({"rows": [[None, *ROW]]}, "Expected `float`, got `null`"),
        ({"rows": [[1.0, "a", 0]]}, "Expected `array` of length 4, got 3"),
        ({"rows": [[1.0, "a", -1, 0]]}, "a turn of the calibration is -1, expected 0, 1, 2"),
        ({"rows": [[1.0, "a", 0.5, 0]]}, "Expected `int`, got `float`"),
    ],
)
def test_anything_else_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    file = written(tmp_path, **changed)
    with pytest.raises(UsageError, match=f"^{file} is not a calibration .*{told}.*; calibrate aga"):
        load(file)


def test_files_that_are_none(tmp_path: Path) -> None:
    file = written(tmp_path)
    text = file.read_text(encoding="utf-8")
    for content, told in (
        (text[:-40], "it is not valid JSON"),
        (text.replace("2.5", "1e999"), "is inf .question a., expected a finite number"),
        ("[1, 2]", "its format is 'list'"),
        ("", "it is not valid JSON"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match=told):
            load(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is not valid JSON"):
        load(file)
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        load(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot write"):
        save(Calibration(IDENTITY, ROWS), file / "below.json")


def test_other_models_and_data_are_refused_unless_forced() -> None:
    found = Calibration(IDENTITY, ROWS)
    right = {"draft": "small-1b", "target": "große-32b", "data": "math100"}
    assert check_identity(found, **right) == ()
    assert check_identity(found, **right, score="perplexity", force=True) == ()
    with pytest.raises(UsageError) as refused:
        check_identity(found, **{**right, "target": "other", "data": "aime"})
    assert str(refused.value) == (
        "the calibration is of the target 'große-32b' and is used with 'other': the rate of "
        "rejections may be any; the calibration is of the data 'math100' and is used with 'aime': "
        "the rate of rejections may be any; calibrate again for these, or use it all the same "
        "with force=true"
    )
    assert check_identity(found, **right, score="margin", force=True) == (
        "the calibration is of the score 'perplexity' and is used with 'margin': the rate of "
        "rejections may be any",
    )
