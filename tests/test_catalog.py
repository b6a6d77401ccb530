import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.catalog import DATASETS, dataset_of
from eval.questions import Dataset, Question
from eval.tasks import task_of
from reason.errors import UsageError
from tests.data import needs_data, path
from tests.dataset_hub import dataset_hub


def jsonl(file: Path, *rows: Any) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def own(file: Path) -> Dataset:
    found = dataset_of(str(file))
    assert found is not None
    return found


@needs_data
@pytest.mark.parametrize("name", ["aime24", "aime25", "amc23", "math500", "gsm8k"])
def test_copies_of_sets_are_read_whole(name: str) -> None:
    task = task_of(f"{name}@{path(f'math/{name}.jsonl')}")
    items = list(task.items(None, 0, ""))
    assert len(items) == DATASETS[name].rows
    assert [item.id for item in items if item.refusal] == []
    assert task.repeats == {"math500": 4, "gsm8k": 1}.get(name, 16)
    assert [item.id for item in task.items(3, 7, "")] == [item.id for item in items[:3]]


@needs_data
def test_questions_of_the_copies_are_what_they_should_be() -> None:
    def first(name: str) -> Question:
        found = dataset_of(f"{name}@{path(f'math/{name}.jsonl')}")
        assert found
        return found.questions()[0]

    assert (first("aime24").id, first("aime24").reference) == ("60", "204")
    assert (first("aime25").id, first("aime25").reference) == ("0", "70")
    assert (first("amc23").id, first("amc23").reference) == ("0", "27")
    assert first("math500").id == "test/precalculus/807.json"
    assert first("math500").reference == "\\left( 3, \\frac{\\pi}{2} \\right)"
    assert (first("gsm8k").id, first("gsm8k").reference) == ("1", "18")
    assert first("gsm8k").text.startswith("Janet\u2019s ducks lay 16 eggs per day.")


@needs_data
def test_items_of_a_set_are_answered_right_and_wrong() -> None:
    (item,) = task_of(f"aime24@{path('math/aime24.jsonl')}").items(1, 0, "")
    assert item.prompt == item.title and "Every morning Aya goes for" in item.title
    assert item.verify("204") and item.fault("\\frac{408}{2}") == "it is no integer"
    assert item.fault("205") == "it is 205, not 204"
    assert item.fault(None) == "there is no answer"


SCHEMAS: dict[str, tuple[dict[str, Any], str, str]] = {
    "aime24": (
        {"id": 60, "problem": "P", "solution": "S", "answer": "025", "url": "u", "year": "2024"},
        "60",
        "025",
    ),
    "aime25": ({"problem": "P", "answer": "70", "id": "0"}, "0", "70"),
    "aime26": ({"problem_idx": 1, "answer": 277, "problem": "P"}, "1", "277"),
    "math500": (
        {
            "problem": "P",
            "solution": "S",
            "answer": "\\frac{1}{2}",
            "subject": "Algebra",
            "level": 2,
            "unique_id": "test/algebra/1.json",
        },
        "test/algebra/1.json",
        "\\frac{1}{2}",
    ),
    "amc23": ({"id": 0, "question": "P", "answer": "27.0", "url": "u"}, "0", "27.0"),
    "hmmt": (
        {
            "problem_idx": 3,
            "problem": "P",
            "answer": "\\frac{1}{576}",
            "problem_type": ["Algebra", "Number Theory"],
        },
        "3",
        "\\frac{1}{576}",
    ),
    "gsm8k": ({"question": "P", "answer": "It is\n#### 1,600"}, "1", "1,600"),
}
"""A row in the columns of the Hub, and the id and reference that it means."""


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_in_the_columns_of_the_hub(name: str, suffix: str, tmp_path: Path) -> None:
    row, id, reference = SCHEMAS[name]
    file = tmp_path / f"copy.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), file)
    else:
        jsonl(file, row)
    dataset = replace(DATASETS[name], file=file, rows=1)
    assert dataset.questions() == (Question(id, "P", reference, None),)
    (item,) = dataset.items(None, 0, "")
    assert item.verify(reference) and not item.verify("7777")


def graduate(number: int) -> dict[str, Any]:
    """A row in the columns of GPQA."""
    return {
        "Record ID": f"rec{number}",
        "Question": f"Which is {number}? ",
        "Correct Answer": f"{number}\n",
        **{f"Incorrect Answer {wrong}": f"{number + wrong}" for wrong in (1, 2, 3)},
        "Subdomain": "Arithmetic",
    }


def test_choices_are_shuffled_once_and_for_all(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "gpqa.jsonl", *map(graduate, range(198)))
    questions = replace(DATASETS["gpqa"], file=file).questions()
    assert questions[7] == Question(
        "rec7",
        "Which is 7?\n\nA) 8\nB) 10\nC) 9\nD) 7\n\nAnswer with the letter of the right choice.",
        "D",
        None,
    )
    places = Counter(question.reference for question in questions)
    assert set(places) == set("ABCD") and min(places.values()) > 30, "every place is used"
    backwards = jsonl(tmp_path / "other.jsonl", *map(graduate, reversed(range(198))))
    assert set(replace(DATASETS["gpqa"], file=backwards).questions()) == set(questions)


def test_every_set_is_pinned_and_counted() -> None:
    counts = {name: dataset.rows for name, dataset in DATASETS.items()}
    assert counts == {
        "aime24": 30, "aime25": 30, "aime26": 30, "math500": 500, "amc23": 40, "hmmt": 30,
        "hmmt_nov25": 30, "hmmt_feb26": 33, "gpqa": 198, "gsm8k": 1319,
    }  # fmt: skip
    assert all(len(dataset.revision) == 40 for dataset in DATASETS.values())


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    rows = [{"question": "1/2 + 1/2?", "answer": 1.0}, {"question": "A half?", "answer": "0.5"}]
    dataset = own(jsonl(tmp_path / "my problems.jsonl", rows[0], "", rows[1]))
    assert (dataset.name, dataset.grader, dataset.repeats) == ("my-problems", "math", 1)
    first, second = dataset.items(None, 0, "")
    assert (first.id, first.prompt) == ("1", "1/2 + 1/2?")
    assert first.verify("1") and second.verify("\\frac{1}{2}") and not second.verify("1")


def test_variants_of_one_problem_say_so_in_a_column(tmp_path: Path) -> None:
    row = {"problem": "One?", "answer": "1"}
    file = jsonl(tmp_path / "x.jsonl", {**row, "group": 7}, {**row, "group": None}, row)
    assert [item.group for item in own(file).items(None, 0, "")] == ["7", "", ""]
    plain = jsonl(tmp_path / "plain.jsonl", row, row, row)
    assert own(plain).describe()["sha256"] != own(file).describe()["sha256"]


def test_the_digest_follows_what_is_asked_and_not_where_it_stands(tmp_path: Path) -> None:
    def digest(name: str, *rows: Any) -> str:
        return own(jsonl(tmp_path / name, *rows)).describe()["sha256"]

    row = {"problem": "P", "answer": "1"}
    same = digest("a.jsonl", row)
    assert digest("b.jsonl", {**row, "comment": "x"}) == same
    others = [{**row, "answer": "2"}, {**row, "problem": "Q"}, {**row, "id": "x"}]
    assert len({same, *(digest("c.jsonl", other) for other in others)}) == 4
    assert digest("a.jsonl", row, {**row, "id": 9}) != same, "a file that changed is read again"


GOOD = {"id": 1, "problem": "P", "answer": "1"}
BAD: list[tuple[str, Sequence[Any], str]] = [
    ("own", [GOOD, "{"], "FILE, line 2: not a JSON object (Expecting property name"),
    ("own", [GOOD, "", "[1]"], "FILE, line 3: not a JSON object, but [1]"),
    ("own", ["[" * 100_000], "FILE, line 1: not a JSON object (nested too deeply)"),
    ("own", [GOOD, {**GOOD, "problem": "Q"}], "FILE, line 2: the id '1' is taken by FILE, line 1"),
    (
        "own",
        [{"answer": "1", "x": 1}],
        "FILE, line 1: there is no column problem or Problem or",
    ),
    ("own", [{"problem": "P"}], "FILE, line 1: there is no column answer or Answer; there"),
    (
        "own",
        [{**GOOD, "problem": 3}],
        "FILE, line 1: problem must be a text that is not empty",
    ),
    (
        "own",
        [{**GOOD, "problem": " "}],
        "line 1: problem must be a text that is not empty, got ",
    ),
    ("own", [{**GOOD, "answer": None}], "line 1: answer must be a text or a number, got None"),
    ("own", [{**GOOD, "answer": True}], "line 1: answer must be a text or a number, got True"),
    ("own", [{**GOOD, "answer": ["1"]}], "line 1: answer must be a text or a number, got ['1']"),
    ("own", [{**GOOD, "id": None}], "FILE, line 1: id must be a text or a number, got None"),
    ("own", [], "FILE holds no questions; expected one in each row"),
    ("own", ["", ""], "FILE holds no questions"),
    (
        "aime24",
        [GOOD],
        "FILE has 1 rows, expected the 30 of aime24; give a part of it as a",
    ),
    ("gsm8k", [GOOD] * 1319, "FILE, line 1: the answer must end in '#### NUMBER', got '1'"),
    (
        "gpqa",
        [GOOD] * 198,
        "FILE, line 1: there is no column Correct Answer; there is: id",
    ),
]


@pytest.mark.parametrize(("name", "rows", "message"), BAD)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    name: str, rows: Sequence[Any], message: str, tmp_path: Path
) -> None:
    file = jsonl(tmp_path / "x.jsonl", *rows)
    with pytest.raises(UsageError) as error:
        list(task_of(str(file) if name == "own" else f"{name}@{file}").items(1, 0, ""))
    assert message in str(error.value).replace(str(file), "FILE")


def test_files_that_are_none(tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(UsageError) as error:
            list(task_of(name).items(1, 0, ""))
        return str(error.value)

    missing = tmp_path / "missing.jsonl"
    assert refused(str(missing)) == f"cannot read {missing}: No such file or directory"
    (tmp_path / "folder.jsonl").mkdir()
    assert refused(str(tmp_path / "folder.jsonl")).endswith(": Is a directory")
    (tmp_path / "bytes.jsonl").write_bytes(b'{"problem": "\xff"}\n')
    assert "bytes.jsonl, line 1: not a JSON object" in refused(str(tmp_path / "bytes.jsonl"))
    (tmp_path / "text.parquet").write_text("no")
    assert "text.parquet, after row 0: not Parquet (" in refused(str(tmp_path / "text.parquet"))
    csv = f"aime24@{tmp_path}/x.csv"
    assert refused(csv) == f"{tmp_path}/x.csv must end in .jsonl or .parquet"
    assert refused("aime99@x.jsonl").startswith("no task is called 'aime99@x.jsonl'; there is: ")


def test_references_that_cannot_be_read_are_marked(tmp_path: Path) -> None:
    answers = ["2", "\\frac{", "", "x" * 2000]
    rows = ({"problem": "P", "answer": answer} for answer in answers)
    items = list(own(jsonl(tmp_path / "x.jsonl", *rows)).items(None, 0, ""))
    assert [item.refusal for item in items] == [
        None,
        "it cannot be read as mathematics",
        "it is empty",
        "it is longer than 1000 characters",
    ]
    assert items[1].verify("\\frac{") and not items[2].verify("5")


def test_a_countdown_model_is_not_asked() -> None:
    with pytest.raises(UsageError, match="this model reads Countdown problems only, not aime24"):
        list(DATASETS["aime24"].items(1, 0, "countdown"))


ASK = """
import sys
from eval.catalog import dataset_of
from reason.errors import UsageError
for name in sys.argv[1:]:
    try:
        questions = dataset_of(name).questions()
        print(name, len(questions), questions[0].id, questions[-1].text.partition(chr(10))[0])
    except UsageError as error:
        print(error)
"""


def test_from_the_hub_at_the_pinned_revision_then_from_its_cache(tmp_path: Path) -> None:
    def questions(endpoint: str, *names: str, **more: str) -> list[str]:
        home = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", ASK, *names],
            env={**os.environ, **home, **more},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.stdout.splitlines()

    aime, gpqa = tmp_path / "aime", tmp_path / "gpqa"
    (aime / "data").mkdir(parents=True)
    rows = [{"problem_idx": n, "answer": n, "problem": f"Problem {n}"} for n in range(1, 31)]
    pq.write_table(pa.Table.from_pylist(rows), aime / "data" / "train-00000-of-00001.parquet")
    gpqa.mkdir()
    (gpqa / "README.md").write_text(
        "---\nconfigs:\n- config_name: gpqa_main\n  data_files: gpqa_main.jsonl\n"
        "- config_name: gpqa_diamond\n  data_files: gpqa_diamond.jsonl\n---\n"
    )
    jsonl(gpqa / "gpqa_main.jsonl", *map(graduate, range(300)))
    jsonl(gpqa / "gpqa_diamond.jsonl", *map(graduate, range(198)))
    repositories = {
        f"MathArena/aime_2026@{DATASETS['aime26'].revision}": aime,
        f"Idavidrein/gpqa@{DATASETS['gpqa'].revision}": gpqa,
        f"math-ai/aime25@{DATASETS['aime25'].revision}": aime,
        f"HuggingFaceH4/aime_2024@{'0' * 40}": aime,
    }
    nowhere = "http://127.0.0.1:9"
    with dataset_hub(repositories) as (hub, asked):
        *found, moved, changed = questions(hub, "aime26", "gpqa", "aime24", "aime25")
        assert found == ["aime26 30 1 Problem 30", "gpqa 198 rec0 Which is 197?"]
        assert f"Revision '{DATASETS['aime24'].revision}' doesn't exist for dataset" in moved
        assert 'Unknown split "test"' in changed
        assert any(DATASETS["gpqa"].revision in line for line in asked)
        assert not any("/main/" in line for line in asked), "nothing but what is pinned"
    *again, missing = questions(nowhere, "aime26", "gpqa", "math500")
    assert again == found
    assert missing.startswith("HuggingFaceH4/MATH-500 is not in the cache of the Hub at revision 6")
    assert f"and {nowhere} does not answer (" in missing
    assert "or give a copy: math500@FILE.jsonl." in missing
    (told,) = questions(nowhere, "math500", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set; try again with a network" in told
