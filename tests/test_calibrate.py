"""Calibrating on the run itself, and what is done with the scores: on the models that ship."""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from calibration.folds import Folding
from calibration.judging import Judgement
from calibration.modes import ByTurn, Pooled
from calibration.sample import Sample
from calibration.store import load
from eval.calibrate import Calibrating
from reason.backends.scripted import ScriptedBackend
from reason.errors import BackendError, UsageError
from reason.keys import Calibrate
from tests.console import reason

PAIR = ("--backend", "countdown-draft", "backends.target=countdown-apr")
KNOBS = ("n=2", "turns=4", "sampling.max_tokens=48", "rate=0.5")


async def judged(
    folding: Folding, table: dict[tuple[str, int], list[float]]
) -> dict[tuple[str, int], list[Judgement]]:
    """Chains that have these scores, turn by turn, and leave when they run out."""
    found: dict[tuple[str, int], list[Judgement]] = {}

    async def chain(key: tuple[str, int]) -> None:
        question, number = key
        for turn, score in enumerate(table[key]):
            await asyncio.sleep(0.001 * number)
            said = await folding.judge(score, turn=turn, length=1, question=question, u=0.5)
            found.setdefault(key, []).append(said)
        folding.leave(question)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for key in table:
            group.create_task(chain(key))
    return found


def scores(questions: int, chains: int, seed: int = 0) -> dict[tuple[str, int], list[float]]:
    rng = np.random.default_rng(seed)
    return {
        (f"q{q}", c): rng.random(int(rng.integers(1, 5))).tolist()
        for q in range(questions)
        for c in range(chains)
    }


@pytest.mark.parametrize("mode", [Pooled(rate=0.4), ByTurn(rate=0.4, least=3)])
def test_each_question_is_judged_by_the_scores_of_other_folds(mode: Any) -> None:
    table = scores(8, 3)
    questions = [f"q{q}" for q in range(8)]
    folding = Folding(mode, questions, 3, 4, seed=1)
    found = asyncio.run(judged(folding, table))
    fold = folding.folds
    assert sorted(fold.values()) == sorted([*range(4)] * 2)
    for (question, chain), judgements in found.items():
        for turn, said in enumerate(judgements):
            rows = [
                (score, other, at, 1)
                for (other, _), all_ in table.items()
                if fold[other] != fold[question]
                for at, score in enumerate(all_[: turn + 1])
            ]
            judge = mode.fit(Sample.of(*map(list, zip(*rows, strict=True)))).start()
            score = table[question, chain][turn]
            assert said == judge.judge(score, turn=turn, length=1, question=question, u=0.5)
    every = sorted(score for row in table.values() for score in row)
    assert folding.sample.scores.tolist() == every


def test_nobody_waits_for_who_is_gone() -> None:
    folding = Folding(Pooled(rate=0.5), ["a", "b"], 2, 2, seed=0)

    async def go() -> Judgement:
        folding.leave("a")
        folding.gone("b")
        return await folding.judge(1.0, turn=0, length=1, question="a", u=0.5)

    async def bounded() -> Judgement:
        async with asyncio.timeout(5):
            return await go()

    assert asyncio.run(bounded()).n == 0


def test_a_draft_without_a_score_is_rejected_and_left_out() -> None:
    folding = Folding(Pooled(rate=0.5), ["a", "b"], 1, 2, seed=0)
    table = {("a", 0): [float("nan"), 2.0], ("b", 0): [1.0]}
    found = asyncio.run(judged(folding, table))
    assert found["a", 0][0].rejected and folding.unscored == 1
    assert folding.sample.scores.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("folds", [1, 3])
def test_folds_that_cannot_be(folds: int) -> None:
    with pytest.raises(UsageError, match=f"folds must be from 2 to the 2 questions.*got {folds}"):
        Folding(Pooled(), ["a", "b"], 1, folds, seed=0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the shipped pair on 3-number problems."""
    file = tmp_path_factory.mktemp("calibration") / "c.json"
    done = reason(
        "calibrate", "countdown3", *PAIR, *KNOBS, "--limit", "12", "--out", str(file), "--json"
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    stored = load(file)
    assert found["out"] == str(file) and found["questions"] == 12
    assert found["scores"] == len(stored.sample) == sum(found["by_turn"].values())
    assert found["by_turn"]["0"] == 24
    assert stored.identity.data == "countdown3" and stored.identity.score == "perplexity"
    assert stored.identity.draft.startswith("countdown-draft ")
    assert stored.identity.target.startswith("countdown-apr ")
    assert stored.identity.config["rate"] == 0.5 and stored.identity.config["syntax"] == "countdown"
    return file


def test_a_calibration_that_is_there_is_neither_made_again_nor_lost(
    calibrated: Path, tmp_path: Path
) -> None:
    before = calibrated.read_bytes(), calibrated.stat().st_mtime_ns
    words = ("calibrate", "countdown3", *PAIR, *KNOBS, "--out", str(calibrated))
    again = reason(*words, "--limit", "12")
    assert again.exit_code == 0, again.stderr
    assert f"{calibrated} was there before: " in again.stdout
    other = reason(*words, "--limit", "14", "seed=3")
    assert other.exit_code == 2 and other.stderr == (
        f"reason: {calibrated} holds another calibration; what differs: limit (12 there, 14 "
        "now), seed (0 there, 3 now). Give another --out, or remove the file: evaluations that "
        "were begun with it go on with no other\n"
    )
    assert (calibrated.read_bytes(), calibrated.stat().st_mtime_ns) == before
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    none = reason(*words[:-1], str(file), "--limit", "12")
    assert none.exit_code == 2 and none.stderr == (
        f"reason: {file} is there and holds no calibration as this version writes it: give another "
        "--out, or remove the file\n"
    )
    assert file.read_text() == "mine"
    nowhere = reason(*words[:-1], str(file / "c.json"), "--limit", "12")
    assert nowhere.exit_code == 2 and nowhere.stderr.startswith("reason: cannot write")


def evaluated(calibrated: Path, out: Path, *more: str) -> Any:
    words = ("--limit", "10", "-c", "atts", f"calibration={calibrated}", "--out", str(out))
    return reason("eval", "countdown3", *PAIR, *KNOBS, *words, *more)


def test_a_calibration_is_used_and_audited(calibrated: Path, tmp_path: Path) -> None:
    done = evaluated(calibrated, tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    audited = reason("calibrate", "--audit", str(tmp_path / "run"), "--json")
    assert audited.exit_code == 0, audited.stderr
    found = json.loads(audited.stdout)
    assert found["rate"] == 0.5
    assert found["overall"]["questions"] == 10 and found["overall"]["chunks"] >= 20
    assert 0.05 < found["overall"]["share"] < 0.95
    assert found["turns"]["0"]["chunks"] == 20
    assert all(Path(plot).stat().st_size for plot in found["plots"]) and len(found["plots"]) == 3
    told = reason("report", str(tmp_path / "run"), "--out", str(tmp_path / "report"))
    assert told.exit_code == 0, told.stderr
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    assert (found["runs"], found["warnings"]) == (10, {})
    shown = reason("calibrate", "--audit", str(tmp_path / "run"))
    assert "rejections, for a rate of 50.0%" in shown.stdout and "runs: " not in shown.stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("rate=0.4",), "of the rate 0.5 and is used with 0.4"),
        (("sampling.temperature=0.1",), "draft.temperature"),
        (("--backend", "countdown-apr"), "of the draft 'countdown-draft"),
        (("backends.target=countdown-draft",), "of the target 'countdown-apr"),
    ],
)
def test_another_pipeline_is_refused_unless_forced(
    calibrated: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    given = [*PAIR, *KNOBS]
    for word in more:  # in the place of what it replaces
        key = word.partition("=")[0]
        given = [old for old in given if old.partition("=")[0] != key]
    if more[0] == "--backend":
        given = [word for word in given if word != "countdown-draft"]
    settings = ("--limit", "2", "-c", "atts", f"calibration={calibrated}")
    done = reason("eval", "countdown3", *given, *settings, *more, "--out", str(tmp_path / "a"))
    assert done.exit_code == 1 or done.exit_code == 2
    rows = tmp_path / "a" / "samples.jsonl"
    said = done.stderr + done.stdout + (rows.read_text() if rows.exists() else "")
    assert words in said and "or use it all the same with force=true" in said
    forced = reason(
        "eval", "countdown3", *given, *settings, *more, "force=true", "--out", str(tmp_path / "b")
    )
    assert forced.exit_code == 0, forced.stderr
    told = reason("report", str(tmp_path / "b"), "--out", str(tmp_path / "r"), "--json")
    remarks = json.loads(told.stdout)["tasks"][0]["remarks"]
    assert all(one.startswith("atts, 2 samples: the calibration is of the ") for one in remarks)
    assert words in remarks[0]
    audited = reason("calibrate", "--audit", str(tmp_path / "b"))
    assert audited.exit_code == 0, audited.stderr
    lines = [line for line in audited.stdout.splitlines() if " runs: " in line]
    assert all(line.startswith("! 2 of 2 runs: the calibration is of the ") for line in lines)
    assert words in lines[0]
    figures = json.loads(reason("calibrate", "--audit", str(tmp_path / "b"), "--json").stdout)
    assert figures["runs"] == 2 and figures["calibration"] == str(calibrated)
    assert [f"! {runs} of 2 runs: {text}" for text, runs in figures["warnings"].items()] == lines


def asked(folder: Path) -> set[str]:
    rows = (folder / "samples.jsonl").read_text().splitlines()
    return {json.loads(row)["id"] for row in rows}


def test_questions_of_the_calibration_are_left_out(calibrated: Path, tmp_path: Path) -> None:
    """Which are the first 12 of that seed."""
    settings = (*PAIR, *KNOBS, "problems_seed=1", "--limit", "15")
    atts = ("-c", "atts", f"calibration={calibrated}")
    refused = reason("eval", "countdown3", *settings, *atts, "--out", str(tmp_path / "a"))
    assert refused.exit_code == 2 and not (tmp_path / "a").exists()
    assert (
        "12 of the 15 questions are among the 12 of the calibration" in refused.stderr
        and f"leave them out with without={calibrated}" in refused.stderr
    )
    words = [word if word in PAIR else f"chain.{word}" for word in (*PAIR, *KNOBS)]
    chain = (
        "-c",
        "self_consistency",
        "chain.controller=atts",
        f"chain.calibration={calibrated}",
        "chain.sampling.temperature=0.8",
    )
    inside = reason("eval", "countdown3", *words, *chain, "problems_seed=1", "--limit", "2")
    assert inside.exit_code == 2 and "or allow it with chain.force=true" in inside.stderr
    left_out = f"without={calibrated}"
    for name, method in (("b", atts), ("c", ("-c", "single"))):
        words = [word for word in settings if name != "c" or word not in KNOBS]
        done = reason(
            "eval", "countdown3", *words, *method, left_out, "--out", str(tmp_path / name)
        )
        assert done.exit_code == 0, done.stderr
    assert asked(tmp_path / "b") == asked(tmp_path / "c") and len(asked(tmp_path / "b")) == 3
    again = reason(
        "eval", "countdown3", *settings, *atts, "force=true", "--out", str(tmp_path / "b")
    )
    assert again.exit_code == 2 and "without.sha256" in again.stderr
    forced = reason(
        "eval", "countdown3", *settings, *atts, "force=true", "--out", str(tmp_path / "d")
    )
    assert forced.exit_code == 0, forced.stderr
    assert "(12 samples)" in forced.stdout
    said = [json.loads(row) for row in (tmp_path / "d" / "samples.jsonl").read_text().splitlines()]
    warned = {row["id"] for row in said if row.get("warnings")}
    assert warned == asked(tmp_path / "d") - asked(tmp_path / "b") and len(warned) == 12


def test_a_calibration_that_was_made_anew_is_another(calibrated: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(calibrated.read_bytes())
    settings = (*PAIR, *KNOBS, "-c", "atts", f"calibration={file}", "--out", str(tmp_path / "run"))
    done = reason("eval", "countdown3", *settings, "--limit", "2")
    assert done.exit_code == 0, done.stderr
    file.write_text(file.read_text().replace('"rows": [', '"rows":  ['))
    again = reason("eval", "countdown3", *settings, "--limit", "3")
    assert again.exit_code == 2 and "calibrations.root.sha256" in again.stderr
    audited = reason("calibrate", "--audit", str(tmp_path / "run"))
    assert audited.exit_code == 2 and "is not the calibration any more" in audited.stderr
    for one, same in ((calibrated, True), (file, False)):
        told = reason("calibrate", "--audit", str(tmp_path / "run"), f"calibration={one}")
        assert told.exit_code == 0, told.stderr
        line = f"! held against {one}, which is not what it was decided by\n"
        assert (line in told.stdout) != same


def test_nothing_is_left_to_ask(calibrated: Path, tmp_path: Path) -> None:
    settings = (*PAIR, "problems_seed=1", "--limit", "12", f"without={calibrated}")
    done = reason("eval", "countdown3", *settings, "--out", str(tmp_path / "a"))
    assert done.exit_code == 2
    assert f"all 12 questions are in the calibration {calibrated}" in done.stderr
    other = reason("eval", "countdown3", *PAIR, "without=pyproject.toml")
    assert other.exit_code == 2 and "pyproject.toml is not a calibration" in other.stderr


def test_other_data_and_questions_of_the_calibration_are_refused(
    calibrated: Path, tmp_path: Path
) -> None:
    settings = (*PAIR, *KNOBS, "--limit", "2", "-c", "atts", f"calibration={calibrated}")
    other = reason("eval", "countdown4", *settings, "--out", str(tmp_path / "a"))
    assert other.exit_code == 2
    assert "of the data 'countdown3' and is used with 'countdown4'" in other.stderr
    same = reason("eval", "countdown3", *settings, "problems_seed=1", "--out", str(tmp_path / "b"))
    assert same.exit_code == 2
    assert "2 of the 2 questions are among the 12 of the calibration" in same.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-c", "atts"), "rate 0.25 needs a calibration: make one with reason calibrate"),
        (
            ("-c", "self_consistency", "n=2", "chain.controller=atts"),
            "chain: rate 0.25 needs a calibration: make one with reason calibrate",
        ),
        (
            ("-c", "self_consistency", "n=2", "chain.controller=atts", "chain.rate=0"),
            "chain: atts needs two models: give the one that takes over as backends.target=SPEC",
        ),
    ],
)
def test_without_calibration_or_target_nothing_is_begun(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    models = PAIR if "chain.rate=0" not in words else PAIR[:2]
    asked = reason("ask", "make 24 from 3 5 7 8", *models, *words)
    assert asked.exit_code == 2 and asked.stderr.startswith(f"reason: {message}")
    done = reason("eval", "countdown3", *models, *words, "--out", str(tmp_path / "e"))
    assert done.exit_code == 2 and done.stderr.startswith(f"reason: {message}")
    assert not (tmp_path / "e").exists()


def failing(after: float) -> ScriptedBackend:
    """A target that breaks when it has scored so many drafts."""
    scored = 0

    class Breaking(ScriptedBackend):
        async def score(self, ids: Sequence[int], start: int) -> list[float]:
            nonlocal scored
            scored += 1
            if scored > after:
                raise BackendError("the server is gone")
            return [-0.1 * (scored % 7)] * (len(ids) - start)

    return Breaking(lambda context, params: "never", chunk=64, model="target")


SHORT = {"n": 2, "turns": 2, "rate": 0.5, "sampling": {"max_tokens": 4}}


@pytest.mark.parametrize(("after", "code"), [(9, 1), (float("inf"), 0)])
def test_scores_until_a_model_fails_are_kept(tmp_path: Path, after: float, code: int) -> None:
    out = tmp_path / "c.json"
    asked = Calibrate(task="countdown3", limit=6, out=out)
    calibrating = Calibrating.of(asked, dict(SHORT))
    draft = ScriptedBackend(lambda context, params: "more and more", chunk=64, model="draft")
    shown = Console(file=io.StringIO(), width=200)
    models = {"policy": draft, "target": failing(after)}
    assert asyncio.run(calibrating.go(models, shown)) == code
    assert len(load(out).sample) == min(after, 24)
    said = shown.file.getvalue()  # type: ignore[attr-defined]
    assert ("a model failed in" in said and "the server is gone" in said) == bool(code)
    # What is whole stays, what is not is made again.
    again = {"policy": draft, "target": failing(float("inf"))}
    assert asyncio.run(calibrating.go(again, shown)) == 0
    assert len(load(out).sample) == 24
    assert ("was there before" in shown.file.getvalue()) == (not code)  # type: ignore[attr-defined]


def test_what_is_wrong_in_every_run_is_said_once(tmp_path: Path) -> None:
    calibrating = Calibrating.of(Calibrate(task="countdown3", limit=6), dict(SHORT))
    draft = ScriptedBackend(lambda context, params: "more and more", chunk=64, model="draft")
    target = failing(9)
    target.info = replace(target.info, scores=False)
    with pytest.raises(UsageError, match="the target target returns no log-probabilities"):
        asyncio.run(calibrating.go({"policy": draft, "target": target}, Console(quiet=True)))


def test_without_a_score_nothing_is_kept(tmp_path: Path) -> None:
    asked = Calibrate(task="countdown3", limit=6, out=tmp_path / "c.json")
    calibrating = Calibrating.of(asked, dict(SHORT))
    draft = ScriptedBackend(lambda context, params: "more and more", chunk=64, model="draft")
    models = {"policy": draft, "target": failing(0)}
    with pytest.raises(UsageError, match="no draft got a score: the server is gone; do both"):
        asyncio.run(calibrating.go(models, Console(quiet=True)))
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "which task? for example: reason calibrate countdown4 --backend countdown-draft"),
        (("countdown3,countdown4",), "one task at a time"),
        (("countdown3", "calibration=x.json"), "name the file with --out"),
        (("countdown3", "--limit", "3"), r"limit must be folds (5) or more questions, got 3"),
        (("countdown3", "width=x"), "width must be an integer, got 'x'"),
        (("countdown3", "folds=1"), "folds must be from 2"),
        (("countdown3", "mode=paper"), "mode=pooled"),
        (("countdown3", "mode=question"), "run with mode=question force=true"),
        (("countdown3", "score=margin"), "score must be perplexity"),
        (("--audit", "nowhere"), "nowhere holds no evaluation"),
        (
            ("--audit", "nowhere", "--out", "c.json"),
            "an audit makes no calibration: leave --out away, or name the one to hold it against "
            "with calibration=FILE; figures go to nowhere/audit, --json prints them",
        ),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str) -> None:
    done = reason("calibrate", *words, *(PAIR if words[:1] == ("countdown3",) else ()))
    assert done.exit_code == 2 and message in done.stderr
    assert done.stdout == ""
