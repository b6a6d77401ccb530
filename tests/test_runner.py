import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controllers.best_of_n import BestOfN
from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from eval.metrics import Metrics, measure
from eval.samples import Sample
from eval.timing import read_times
from eval.trees import Tree, read_trees
from reason.backends.scripted import Script
from reason.errors import BackendError, UsageError
from reason.ledger import Budget, Ledger
from reason.tree import ThreadTree
from reason.types import SamplingParams
from tests.evaluation import APR, LIMIT, REPEATS, evaluate_oracle, problems
from tests.oracle import oracle, oracle_script

ROOT = Path(__file__).parent.parent
TOTAL = LIMIT * REPEATS
KILLS = 8
SLOW = 0.02
"""Seconds before every chunk, so that a process of its own can be caught at work."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    asyncio.run(evaluate_oracle(out))
    return out


def rows_of(out: Path) -> list[Sample]:
    lines = (out / "samples.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [msgspec.json.decode(line, type=Sample) for line in lines]


def trees_of(out: Path) -> dict[tuple[str, int], Tree]:
    return {tree.key: tree for tree in read_trees(out / "trees.jsonl")}


def assert_trees_fit(out: Path) -> None:
    """Every row has its tree, and each tree tells of the run that the row sums up."""
    trees = trees_of(out)
    for row in rows_of(out):
        events = trees[row.key].events
        tree, ledger = ThreadTree.replay(events), Ledger(Budget())
        for event in events:
            ledger.apply(event)
        assert row.thread is None or tree[row.thread].finish == row.finish
        assert (
            row.critical_path,
            row.total_tokens,
            row.longest_sequence,
            row.prompt_tokens,
            row.cached_tokens,
            row.threads,
            row.peak_threads,
        ) == (
            tree.critical_path,
            ledger.total_tokens,
            tree.longest_sequence,
            ledger.prompt_tokens,
            ledger.cached_tokens,
            ledger.threads,
            ledger.peak_threads,
        )


def assert_same_result(out: Path, undisturbed: Path) -> None:
    assert (out / "metrics.json").read_bytes() == (undisturbed / "metrics.json").read_bytes()
    assert sorted(rows_of(out), key=lambda row: row.key) == sorted(
        rows_of(undisturbed), key=lambda row: row.key
    )


def start(out: Path, **options: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.evaluation", json.dumps({"out": str(out), **options})]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for_rows(out: Path, rows: int, process: subprocess.Popen[str]) -> None:
    path = out / "samples.jsonl"
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= rows:
            return
        time.sleep(0.002)
    raise AssertionError(f"the process ended before row {rows}: {process.communicate()[1]}")


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    error = process.communicate(timeout=60)[1]
    return process.returncode, error


async def refused(out: Path, **options: Any) -> str:
    """The message with which an evaluation is refused, its samples being left as they were."""
    path = out / "samples.jsonl"
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UsageError) as error:
        await evaluate_oracle(out, **options)
    assert (path.read_bytes() if path.exists() else None) == before
    return str(error.value)


def test_killed_at_any_point_it_ends_as_if_it_never_was(undisturbed: Path, tmp_path: Path) -> None:
    rng = random.Random(20)
    kept: list[bytes] = []
    for number in range(KILLS):
        process = start(tmp_path, delay=SLOW, concurrency=3)
        wait_for_rows(tmp_path, len(kept) + rng.randint(1, 4), process)
        time.sleep(rng.random() * SLOW)
        process.kill()
        assert finish(process) == (-signal.SIGKILL, "")
        data = (tmp_path / "samples.jsonl").read_bytes()
        lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        rows = [msgspec.json.decode(line, type=Sample) for line in lines]
        assert {row.key for row in rows} <= trees_of(tmp_path).keys()
        assert lines[: len(kept)] == kept and len(kept) < len(lines) < TOTAL
        assert not (tmp_path / "metrics.json").exists()
        kept = lines
        if number % 2:  # the kill took the process in the middle of a write
            with (tmp_path / "samples.jsonl").open("ab") as file:
                file.write(lines[0][: rng.randrange(1, len(lines[0]))])
        else:
            with (tmp_path / "trees.jsonl").open("ab") as file:
                file.write(b'{"id":"cut sho')
    assert finish(start(tmp_path)) == (0, "")
    assert_trees_fit(tmp_path)
    assert len(trees_of(tmp_path)) == TOTAL
    assert_same_result(tmp_path, undisturbed)
    sessions = json.loads((tmp_path / "manifest.json").read_text())["sessions"]
    assert len(sessions) == KILLS + 1


def test_ctrl_c_keeps_what_is_finished(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, delay=SLOW)
    wait_for_rows(tmp_path, 10, process)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "")
    timed = [timed.key for timed in read_times(tmp_path / "times.jsonl")]
    assert sorted(timed) == sorted(row.key for row in rows_of(tmp_path))
    assert not (tmp_path / "metrics.json").exists()
    assert finish(start(tmp_path)) == (0, "")
    assert_same_result(tmp_path, undisturbed)
    assert len(list(read_times(tmp_path / "times.jsonl"))) == TOTAL


async def test_a_cancelled_evaluation_leaves_no_request_running(tmp_path: Path) -> None:
    backend = oracle(delay=SLOW)
    task = asyncio.create_task(evaluate_oracle(tmp_path, backend=backend))
    while backend.running < 8:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (backend.running, len(asyncio.all_tasks())) == (0, 1)


def test_two_processes_do_not_share_a_folder(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, delay=SLOW)
    wait_for_rows(tmp_path, 1, process)
    with pytest.raises(UsageError) as error:
        asyncio.run(evaluate_oracle(tmp_path))
    assert str(error.value) == (
        f"another process is writing to {tmp_path}/samples.jsonl: wait for it, or give another "
        "folder"
    )
    assert finish(process) == (0, "")
    assert_same_result(tmp_path, undisturbed)


async def test_concurrency_and_order_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    for concurrency in (1, 32):
        out = tmp_path / str(concurrency)
        await evaluate_oracle(out, concurrency=concurrency)
        assert_same_result(out, undisturbed)
        assert_trees_fit(out)


async def test_a_slow_sample_holds_up_no_other(undisturbed: Path, tmp_path: Path) -> None:
    oracle_says, others_done = oracle_script(wrong=0.15, silent=0.1), asyncio.Event()
    slow = str(problems()[0].prompt)
    finished: list[str] = []

    async def script(context: str, params: SamplingParams) -> str:
        if slow in context:
            await others_done.wait()
        written = oracle_says(context, params)
        assert isinstance(written, str)
        return written

    def note(row: Sample, fresh: bool) -> None:
        finished.append(row.id)
        if len(finished) == TOTAL - REPEATS:
            others_done.set()

    async with asyncio.timeout(30):
        await evaluate_oracle(tmp_path, backend=oracle(script=script), concurrency=3, on_row=note)
    assert finished[-REPEATS:] == [problems()[0].id] * REPEATS
    assert_same_result(tmp_path, undisturbed)


async def test_a_finished_evaluation_is_not_done_again(undisturbed: Path) -> None:
    before = {path: path.read_bytes() for path in undisturbed.iterdir()}
    seen: list[tuple[str, bool]] = []

    def never(context: str, params: SamplingParams) -> str:
        raise AssertionError("the model was asked")

    metrics = await evaluate_oracle(
        undisturbed,
        backend=oracle(script=never),
        on_row=lambda row, fresh: seen.append((row.id, fresh)),
    )
    assert {path: path.read_bytes() for path in undisturbed.iterdir()} == before
    assert metrics == measure(rows_of(undisturbed))
    assert seen == [(row.id, False) for row in rows_of(undisturbed)]


async def test_another_configuration_is_refused(undisturbed: Path) -> None:
    message = await refused(
        undisturbed, controller=replace(APR, width=4), items=problems(20), budget=Budget(threads=9)
    )
    assert message == (
        f"{undisturbed} holds another evaluation; what differs: budget.threads (null there, 9 "
        "now), controller.width (0 there, 4 now), limit (30 there, 20 now; it can only grow). Give "
        "the same options to resume it, or another folder."
    )
    message = await refused(undisturbed, controller=Single())
    assert message == (
        f"{undisturbed} holds another evaluation; what differs: controller.name "
        '("apr" there, "single" now). Give the same options to resume it, or another folder.'
    )


async def test_a_higher_limit_or_more_repeats_go_on(undisturbed: Path, tmp_path: Path) -> None:
    await evaluate_oracle(tmp_path, items=problems(10), repeats=1)
    begun = rows_of(tmp_path)
    fresh: list[tuple[str, int]] = []

    def note(row: Sample, new: bool) -> None:
        assert not (tmp_path / "metrics.json").exists()
        if new:
            fresh.append(row.key)

    await evaluate_oracle(tmp_path, on_row=note)
    assert rows_of(tmp_path)[:10] == begun and len(fresh) == TOTAL - 10
    assert_same_result(tmp_path, undisturbed)
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        (undisturbed / "config.json").read_text()
    )
    message = await refused(tmp_path, repeats=1)
    assert "what differs: repeats (2 there, 1 now; it can only grow)." in message


async def test_a_damaged_folder_is_refused(undisturbed: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    good = (undisturbed / "samples.jsonl").read_bytes().split(b"\n")
    config = (undisturbed / "config.json").read_bytes()

    path.write_bytes(b"\n".join(good))
    assert await refused(tmp_path) == (
        f"{tmp_path} holds samples but no config.json: give another folder"
    )
    (tmp_path / "config.json").write_bytes(config)
    for damage, what in (
        (good[4][:40], "not a sample (Input data was truncated)"),
        (b"\xff\x00", "not a sample (JSON is malformed: invalid character (byte 0))"),
        (b"{}", "not a sample (Object missing required field `id`)"),
        (b"", "not a sample (Input data was truncated)"),
        (good[2], f"{rows_of(undisturbed)[2].id!r}, repeat 0, is there twice"),
    ):
        path.write_bytes(b"\n".join([*good[:4], damage, *good[5:]]))
        assert await refused(tmp_path) == f"{path}, line 5: {what}; mend or remove that line"
    foreign = good[4].replace(b'"repeat":0', b'"repeat":7')
    path.write_bytes(b"\n".join([*good[:4], foreign, *good[5:]]))
    assert await refused(tmp_path) == (
        f"{path} holds {rows_of(undisturbed)[4].id!r}, repeat 7, which is no part of this "
        "evaluation: its problems have changed; give another folder"
    )
    path.write_bytes(b"\n".join(good))
    (tmp_path / "config.json").write_bytes(config[:50])
    assert (await refused(tmp_path)).startswith(f"{tmp_path}/config.json is not valid JSON: ")
    (tmp_path / "config.json").write_bytes(config)
    await evaluate_oracle(tmp_path)  # the negative control
    assert_same_result(tmp_path, undisturbed)


async def test_what_cannot_be_evaluated_is_refused(tmp_path: Path) -> None:
    twice = [*problems(3), problems(1)[0]]
    assert await refused(tmp_path / "a", items=twice) == (
        "problems need an id each, got 3 ids for 4 problems"
    )
    assert await refused(tmp_path / "a", items=[]) == (
        "nothing to evaluate: 0 problems, repeated 2 times"
    )
    assert await refused(tmp_path / "a", repeats=0) == (
        "nothing to evaluate: 30 problems, repeated 0 times"
    )
    assert await refused(tmp_path / "a", concurrency=0) == "concurrency must be 1 or more, got 0"
    assert not (tmp_path / "a").exists()


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anywhere; nobody may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_a_folder_that_cannot_be_written(undisturbed: Path) -> None:
    # A folder of this test's own in /tmp, since those that pytest makes are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        parent.chmod(0o555)
        with without_privileges(), pytest.raises(UsageError) as error:
            await evaluate_oracle(parent / "new")
        path = parent / "new" / "samples.jsonl"
        assert str(error.value) == f"cannot write {path}: Permission denied"
        parent.chmod(0o755)
        blocked = parent / "file"
        blocked.touch()
        assert await refused(blocked / "below") == (
            f"cannot write {blocked}/below/samples.jsonl: Not a directory"
        )


def test_a_full_disk_loses_nothing_that_was_written(undisturbed: Path, tmp_path: Path) -> None:
    code, error = finish(start(tmp_path, file_limit=5000, trees=False))
    path = tmp_path / "samples.jsonl"
    assert (code, error) == (
        2,
        f"cannot write {path}: File too large; the rows before are kept, and the same command "
        "goes on from there\n",
    )
    kept = path.read_bytes()
    assert 4000 < len(kept) <= 5000 and len(rows_of(tmp_path)) < TOTAL
    assert finish(start(tmp_path)) == (0, "")
    assert path.read_bytes().startswith(kept)
    assert_same_result(tmp_path, undisturbed)


def test_a_disk_that_fills_up_with_trees(undisturbed: Path, tmp_path: Path) -> None:
    code, error = finish(start(tmp_path, file_limit=50_000))
    path = tmp_path / "trees.jsonl"
    assert (code, error) == (
        2,
        f"cannot write {path}: File too large; the rows before are kept, and the same command "
        "goes on from there\n",
    )
    kept = path.read_bytes()
    assert 40_000 < len(kept) <= 50_000 and kept.endswith(b"\n")
    assert 0 < len(rows_of(tmp_path)) <= len(trees_of(tmp_path)) < TOTAL
    assert finish(start(tmp_path)) == (0, "")
    assert path.read_bytes().startswith(kept)
    assert_trees_fit(tmp_path)
    assert_same_result(tmp_path, undisturbed)


async def test_without_trees_the_figures_are_the_same(undisturbed: Path, tmp_path: Path) -> None:
    assert (undisturbed / "trees.jsonl").exists()
    await evaluate_oracle(tmp_path, trees=False)
    assert not (tmp_path / "trees.jsonl").exists()
    assert_same_result(tmp_path, undisturbed)


async def test_a_folder_with_trees_goes_on_with_trees(tmp_path: Path) -> None:
    await evaluate_oracle(tmp_path, items=problems(4))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.stem != "config"}
    assert await refused(tmp_path, items=problems(5), trees=False) == (
        f"{tmp_path}/trees.jsonl holds the trees of earlier samples: go on with trees=true, or "
        "remove it"
    )
    del before[tmp_path / "metrics.json"]  # that of a part, now that more is asked for
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "trees.jsonl").unlink()
    await evaluate_oracle(tmp_path, items=problems(5), trees=False)
    await evaluate_oracle(tmp_path, items=problems(6))
    new = {(problems(6)[5].id, repeat) for repeat in range(REPEATS)}
    assert trees_of(tmp_path).keys() == new


def failing(script: Script, fails: Callable[[str, int], bool]) -> Script:
    """The script of a model that is down for the contexts and seeds that `fails` is true of."""

    def write(context: str, params: SamplingParams) -> str | Awaitable[str]:
        if fails(context, params.seed or 0):
            raise BackendError("connection refused")
        return script(context, params)

    return write


async def test_failures_of_the_model_are_tried_again(undisturbed: Path, tmp_path: Path) -> None:
    says = oracle_script(wrong=0.15, silent=0.1)
    down = problems()[3:8]
    script = failing(says, lambda context, seed: any(str(p.prompt) in context for p in down))
    metrics = await evaluate_oracle(tmp_path, backend=oracle(script=script))
    rows = rows_of(tmp_path)
    failed = [row for row in rows if row.failed]
    assert (metrics.samples, metrics.errors, len({row.key for row in rows})) == (TOTAL, 10, TOTAL)
    assert {row.key for row in failed} == {(p.id, repeat) for p in down for repeat in (0, 1)}
    assert {(r.error, r.answer, r.correct, r.limit, r.finish) for r in failed} == {
        ("BackendError: connection refused", None, False, None, "error")
    }
    asked: set[tuple[str, int]] = set()

    def note(row: Sample, fresh: bool) -> None:
        if fresh:
            asked.add(row.key)
            assert not (tmp_path / "metrics.json").exists()

    assert_trees_fit(tmp_path)
    await evaluate_oracle(tmp_path, on_row=note)
    assert asked == {row.key for row in failed}
    assert_same_result(tmp_path, undisturbed)
    assert_trees_fit(tmp_path)


async def test_a_method_that_got_over_a_failure_is_tried_again_too(tmp_path: Path) -> None:
    vote = SelfConsistency(8, syntax="countdown")
    script = failing(oracle_script(), lambda context, seed: seed % 2 == 0)
    await evaluate_oracle(tmp_path / "a", backend=oracle(script=script), controller=vote)
    failed = [row for row in rows_of(tmp_path / "a") if row.failed]
    assert len(failed) > TOTAL - 5 and all(row.correct for row in failed)
    assert "4 of 9 threads failed, the first with: connection refused" in {r.error for r in failed}
    again = await evaluate_oracle(tmp_path / "a", backend=oracle(), controller=vote)
    assert again == await evaluate_oracle(tmp_path / "b", backend=oracle(), controller=vote)
    assert again.errors == 0


async def test_limits_of_the_budget_are_results(tmp_path: Path) -> None:
    calls: list[str] = []

    def script(context: str, params: SamplingParams) -> str | Awaitable[str]:
        calls.append(context)
        return oracle_script()(context, params)

    async def once() -> Metrics:
        return await evaluate_oracle(
            tmp_path, backend=oracle(script=script), budget=Budget(total_tokens=60)
        )

    metrics = await once()
    assert (metrics.limited, metrics.truncated, metrics.unanswered) == (1.0, 1.0, 1.0)
    assert metrics.errors == 0
    assert {row.error for row in rows_of(tmp_path)} == {"the run reached budget.total_tokens=60"}
    calls.clear()
    assert (await once(), calls) == (metrics, [])


@pytest.mark.parametrize(
    "controller, error",
    [
        (APR, "BackendError: connection refused"),
        (SelfConsistency(4, syntax="countdown"), "4 of 5 threads failed, the first with: connec"),
    ],
)
async def test_a_model_that_is_down_ends_it_soon(
    tmp_path: Path, controller: Any, error: str
) -> None:
    backend = oracle(script=failing(oracle_script(), lambda context, seed: True))
    with pytest.raises(BackendError) as stopped:
        await evaluate_oracle(tmp_path, backend=backend, controller=controller, concurrency=8)
    assert str(stopped.value).startswith(
        f"the model failed for 20 samples in a row, the last time with: {error}"
    )
    assert str(stopped.value).endswith(
        f". Finished samples are kept in {tmp_path}/samples.jsonl; the same command goes on from "
        "there."
    )
    assert 20 <= len(rows_of(tmp_path)) < 20 + 8
    assert not (tmp_path / "metrics.json").exists()


async def test_failures_with_successes_between_do_not_end_it(tmp_path: Path) -> None:
    down = [str(problem.prompt) for problem in problems()[::2]]
    script = failing(oracle_script(), lambda context, seed: any(p in context for p in down))
    metrics = await evaluate_oracle(
        tmp_path,
        backend=oracle(script=script),
        controller=Single(syntax="countdown"),
        concurrency=1,
    )
    assert (metrics.errors, metrics.accuracy.value) == (LIMIT, 0.5)


async def test_a_wrong_name_ends_it_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        await evaluate_oracle(tmp_path, controller=BestOfN(2, "judge", syntax="countdown"))
    assert str(error.value) == "no scorer is called 'judge'; there is: likelihood, verifier"
    assert rows_of(tmp_path) == []


async def test_scorers_know_the_verifier_and_the_likelihood(tmp_path: Path) -> None:
    right: dict[str, float] = {}
    for scorer in ("verifier", "likelihood"):
        metrics = await evaluate_oracle(
            tmp_path / scorer,
            backend=oracle(wrong=0.5),
            controller=BestOfN(4, scorer, syntax="countdown"),
        )
        right[scorer] = metrics.accuracy.value
    # all logprobs are equal, so that likelihood keeps the first chain, right half of the time
    assert right["verifier"] > 0.8 > right["likelihood"] > 0.2
