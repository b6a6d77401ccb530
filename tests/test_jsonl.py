"""Rows on disk: all that were written come back, whatever cut the writing short, and whoever else
wants to write."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from eval.jsonl import JsonLines, encode, read_line, read_lines
from reason.errors import UsageError

DISK = """
import resource, signal, sys
from pathlib import Path
from eval.trees import Tree
from eval.jsonl import JsonLines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
with JsonLines(Path(sys.argv[1])) as file:
    for size in (10, 200, 20):
        try:
            file.append(Tree(id="x" * size, repeat=0, events=[]))
        except Exception as error:
            print(error)
"""


class Row(msgspec.Struct, frozen=True):
    id: str
    size: int = 0


ROW = msgspec.json.Decoder(Row)
ROWS = [Row("a", 1), Row("b", 22), Row("ü", 333)]
LINES = [b'{"id":"a","size":1}\n', b'{"id":"b","size":22}\n', '{"id":"ü","size":333}\n'.encode()]


def rows_of(path: Path) -> list[Row]:
    return [line.decoded(ROW, "a row") for line in read_lines(path)]


def write(path: Path, *rows: Row) -> None:
    with JsonLines[Row](path) as file:
        for row in rows:
            file.append(row)


def test_rows_come_back_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    write(path, *ROWS[:2])
    write(path, ROWS[2])
    assert path.read_bytes() == b"".join(LINES) and rows_of(path) == ROWS
    found = list(read_lines(path))
    assert [(line.number, line.start) for line in found] == [(1, 0), (2, 20), (3, 41)]
    assert [read_line(path, line.start, line.number) for line in found] == found
    assert [encode(row) for row in ROWS] == LINES


def test_a_line_cut_short_is_cut_off_at_any_place(tmp_path: Path) -> None:
    path, data = tmp_path / "rows.jsonl", b"".join(LINES)
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        whole = sum(end >= sum(map(len, LINES[: n + 1])) for n in range(3))
        with JsonLines[Row](path) as file:
            assert (rows_of(path), file.empty) == (ROWS[:whole], end == 0)
            assert path.read_bytes() == data[:end]  # as it was, until something is written
            file.append(ROWS[2])
        assert path.read_bytes() == b"".join(LINES[:whole]) + LINES[2]


def test_a_long_line_cut_short_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES[0] + b"x" * 300_000)
    write(path, ROWS[1])
    assert path.read_bytes() == LINES[0] + LINES[1]


def test_a_file_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES[0] + LINES[1][:5])
    reading = read_lines(path)
    assert next(reading).data + b"\n" == LINES[0]
    with path.open("ab") as file:
        file.write(LINES[1][5:] + LINES[2])
    assert [line.data + b"\n" for line in reading] == LINES[1:]


def test_a_full_disk_takes_a_row_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    words = [sys.executable, "-c", DISK, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"cannot write {path}: File too large; the rows before are kept, and the same command "
        "goes on from there\n"
    )
    assert [msgspec.json.decode(line.data)["id"] for line in read_lines(path)] == [
        "x" * 10,
        "x" * 20,
    ]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with JsonLines[Row](path) as file:
        file.append(ROWS[0])
        for _ in range(2):
            with pytest.raises(UsageError) as error:
                JsonLines(path)
            assert str(error.value) == (
                f"another process is writing to {path}: wait for it, or give another folder"
            )
            file.replace(LINES[1:2])  # the lock outlives the file
        file.append(ROWS[2])
    assert rows_of(path) == ROWS[1:]
    write(path, ROWS[0])
    assert rows_of(path) == [*ROWS[1:], ROWS[0]]
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_what_is_replaced_in_part_only_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(LINES) + b"torn")
    with JsonLines[Row](path) as file:
        with pytest.raises(UsageError, match=r"cannot read .*none\.jsonl: No such file"):
            file.replace(line.data for line in read_lines(tmp_path / "none.jsonl"))
        assert path.read_bytes() == b"".join(LINES) + b"torn"
        file.append(ROWS[0])
    assert rows_of(path) == [*ROWS, ROWS[0]]


def test_what_is_no_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for damage, what in (
        (b"{}", "Object missing required field `id`"),
        (b"", "Input data was truncated"),
        (b"\xff\x00", "JSON is malformed: invalid character (byte 0)"),
    ):
        path.write_bytes(LINES[0] + damage + b"\n" + LINES[1])
        with pytest.raises(UsageError) as error:
            [line.decoded(ROW, "a row", "; remove it") for line in read_lines(path)]
        assert str(error.value) == f"{path}, line 2: not a row ({what}); remove it"


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        JsonLines(tmp_path)
    assert str(error.value) == f"cannot write {tmp_path}: Is a directory"
    with pytest.raises(UsageError) as error:
        list(read_lines(tmp_path))
    assert str(error.value) == f"cannot read {tmp_path}: Is a directory"
