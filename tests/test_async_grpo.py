"""Rollouts that run ahead of TRL's asynchronous trainer, over a real SGLang server."""

import os

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import json
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from transformers import AutoModelForCausalLM, TrainerCallback
from trl.experimental.async_grpo import AsyncGRPOConfig
from trl.experimental.async_grpo.packing import TREE_ATTENTION, TreeRow

from controllers.apr import AdaptiveParallel
from eval.countdown import generate
from eval.tasks import countdown_item
from reason.backends.hf_load import load_pair
from reason.backends.scripted import ScriptedBackend
from reason.backends.sglang import SGLangBackend
from reason.errors import BackendError, TrainingError, UsageError
from reason.types import SamplingParams
from rl.async_grpo import attend_by_tiles, last_desc_of, trainer_of
from rl.async_worker import RolloutWorker, centred, sample_of
from rl.layouts import pack
from rl.requests import Request
from rl.rewards import correctness
from rl.rollouts import Rollouts
from rl.weight_transfer import Broadcast, ByDisk, Way, WeightTransfer
from tests.console import reason
from tests.driving import run
from tests.oracle import oracle
from tests.rl_models import forests, model, one_by_one
from tests.serving import COUNTDOWN, serving
from tests.test_grpo import rollout_of

METHOD = AdaptiveParallel(
    syntax="countdown", width=2, sampling=SamplingParams(temperature=1.0, max_tokens=200)
)
ITEMS = [countdown_item(problem, "countdown") for problem in islice(generate(3, "train", 1), 12)]
REWARDS = {"correctness": (correctness, 1.0)}


def rows_of_trl(requests: list[Request]) -> dict[str, torch.Tensor]:
    """The requests as TRL packs them, whose log-probabilities of the sampler are -1."""
    row = TreeRow()
    rollout = rollout_of([Request([1], [2], [-1.0])])
    for request in requests:
        sample = sample_of(request, 0.5, 3, 0, rollout)
        row.add(
            {
                "input_ids": torch.from_numpy(sample.input_ids),
                "completion_mask": torch.from_numpy(sample.completion_mask),
                "old_log_probs": torch.from_numpy(sample.old_log_probs),
                "advantage": sample.advantage,
                "group_id": sample.group_id,
            }
        )
    return row.pack()


@settings(max_examples=60, deadline=None)
@given(forests())
def test_rows_of_trl_through_our_attention(requests: list[Request]) -> None:
    """Log-probabilities of every sampled token are those of one plain forward for each request."""
    said = [request for request in requests if request.sampled]
    if not said:
        return
    packed, network = rows_of_trl(said), model("qwen3")
    plain = one_by_one(network, said)
    attend_by_tiles()
    network.set_attn_implementation(TREE_ATTENTION)
    logits = network(
        input_ids=packed["input_ids"][None],
        position_ids=packed["position_ids"][None],
        use_cache=False,
        **{name: packed[name] for name in packed if name.startswith("tree_") and "max" not in name},
    ).logits[0, packed["token_index"]]
    targets = torch.tensor([token for request in said for token in request.sampled])
    found = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    assert packed["old_log_probs"].tolist() == [-1.0] * len(targets)
    assert packed["advantages"].tolist() == [0.5] * len(targets)


def test_the_interval_vector_of_a_row() -> None:
    (ours,) = pack([Request([2, 3], [4, 5]), Request([2, 3], [4, 6, 7])])
    theirs = rows_of_trl(
        [Request([2, 3], [4, 5], [-1.0] * 2), Request([2, 3], [4, 6, 7], [-1.0] * 3)]
    )
    found = last_desc_of(
        theirs["tree_kv_index"], theirs["tree_cu_seqlens_q"], theirs["tree_cu_seqlens_k"]
    )
    assert ours.last_desc.tolist() == [5, 5, 3, 5, 5]  # without the last token of each
    assert found.tolist() == [7, 7, 4, 4, 7, 7, 7]


@pytest.mark.parametrize(
    ("worth", "scale", "expected"),
    [
        ([1.0, 0.0, 0.0, 1.0], False, [0.5, -0.5, -0.5, 0.5]),
        ([1.0, 0.0, 0.0, 1.0], True, [1.0, -1.0, -1.0, 1.0]),
        ([1.0, 1.0], True, [0.0, 0.0]),
        ([0.3], False, [0.0]),
        ([], False, []),
    ],
)
def test_advantages(worth: list[float], scale: bool, expected: list[float]) -> None:
    assert centred(worth, scale) == pytest.approx(expected)


def test_requests_without_logprobs_are_refused() -> None:
    with pytest.raises(BackendError, match="thread 0 came without log-probabilities"):
        sample_of(Request([1], [2]), 0.5, 0, 0, rollout_of([Request([1], [2], [-1.0])]))


def drained(worker: RolloutWorker, count: int, seconds: float = 60.0) -> list[Any]:
    until, found = time.monotonic() + seconds, list[Any]()
    while len(found) < count and time.monotonic() < until:
        try:
            found.append(worker.rollout_buffer.get(timeout=0.5))
        except queue.Empty:
            worker.check_health(seconds)
    return found


def scripted(right: float) -> Rollouts:
    """Rollouts whose answers are right by lot."""
    return Rollouts(METHOD, {"policy": oracle(wrong=1 - right)}, ITEMS)


def test_a_worker_waits_for_the_trainer_and_ends_when_told() -> None:
    worker = RolloutWorker(scripted(0.5), REWARDS, group=4, ahead=3, most=5)
    worker.update_model_version(7)
    worker.start()
    first = drained(worker, 12)
    assert len(first) == 12 and all(sample.model_version == 7 for sample in first)
    for sample in first:
        assert sample.completion_mask.sum() and sample.advantage
        assert len(sample.input_ids) == len(sample.completion_mask) == len(sample.old_log_probs)
    time.sleep(1)
    assert worker.rollout_buffer.qsize() <= 5
    worker.stop()
    assert worker.metrics_queue.get_nowait()["rollout/failed"] == 0.0
    worker.check_health(60)


def test_groups_that_are_all_right_are_counted_and_not_sent() -> None:
    worker = RolloutWorker(scripted(1.0), REWARDS, group=2, ahead=2)
    worker.start()
    figures = [worker.metrics_queue.get(timeout=30) for _ in range(4)]
    worker.stop()
    assert [each["rollout/tied"] for each in figures] == [1.0] * 4
    assert worker.rollout_buffer.empty()


def test_a_worker_that_breaks_tells_the_trainer() -> None:
    def broken(context: str, params: SamplingParams) -> str:
        raise AssertionError("a bug")

    rollouts = Rollouts(METHOD, {"policy": ScriptedBackend(broken)}, ITEMS)
    worker = RolloutWorker(rollouts, REWARDS, group=2, ahead=1)
    worker.start()
    until = time.monotonic() + 30
    with pytest.raises(TrainingError, match="rollouts ended with: a bug"):
        while time.monotonic() < until:
            worker.check_health(60)
            time.sleep(0.1)
    worker.stop()
    silent = RolloutWorker(rollouts, REWARDS, group=2, ahead=1)
    time.sleep(0.1)
    with pytest.raises(TrainingError, match=r"no rollout came for 0 s, expected one within 0\.05"):
        silent.check_health(0.05)


def test_numbers_out_of_range() -> None:
    with pytest.raises(UsageError, match="group must be 2 or more, got 1"):
        RolloutWorker(scripted(1.0), REWARDS, group=1, ahead=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own, which has other weights in the end."""
    with serving(COUNTDOWN) as started:
        yield started.url


class Counting(TrainerCallback):  # type: ignore[misc]
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.logs.append(dict(logs or {}))


def trained(name: str, out: Path, server: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`reason train grpo` in a process of its own, beside that of the server."""
    words = ["problems=12", "sampling.max_tokens=200", "rounds=1"]
    words += [f"backend=sglang://{server.removeprefix('http://')}", "grpo.learning_rate=1e-4"]
    command = [sys.executable, "-m", "reason.cli", "train", "grpo", name, "--out", str(out)]
    return subprocess.run([*command, *words, *more], capture_output=True, text=True, timeout=400)


def agrees(server: str, folder: Path) -> None:
    """The server samples from the weights in that folder: the same log-probabilities, which are
    others than those of the model that ships."""
    backend = SGLangBackend(server)
    ids = [*backend.encode(ITEMS[0].prompt), 75, 19, 41, 18, 92]
    said = run(backend.score(ids, 4))
    run(backend.close())
    expected, first = logps_of(folder, ids), logps_of(Path(COUNTDOWN), ids)
    assert said == pytest.approx(expected, abs=1e-3)
    assert max(abs(a - b) for a, b in zip(expected, first, strict=True)) > 3e-3


def logps_of(folder: Path, ids: list[int]) -> list[float]:
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    found = logits.log_softmax(-1)[3:-1].gather(-1, torch.tensor(ids[4:])[:, None])[:, 0]
    return list(map(float, found))


def steps(folder: Path) -> list[int]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    # A step ahead may have learnt from rollouts that an earlier one has told of.
    return [row["step"] for row in rows if "loss" in row]


def test_a_trainer_and_a_server_in_turn(server: str, tmp_path: Path) -> None:
    """Separate processes, as on separate machines: rollouts by the server, weights by broadcast."""
    done = trained(
        "apr_countdown", tmp_path, server, "grpo.max_steps=2", "grpo.num_generations=4",
        "grpo.per_device_train_batch_size=8", "grpo.gradient_accumulation_steps=1",
        "tree.correction=2", "evaluate_every=2", "evaluate_limit=4", "grpo.warmup_steps=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path) == [1, 2] and "2 held out: " in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    gaps = [row["sampler/gap"] for row in rows if "reward" in row]
    assert max(gaps) < 1e-3  # what the server says of its tokens is what the trainer says
    agrees(server, tmp_path / "model")


def test_rollouts_ahead_and_going_on(server: str, tmp_path: Path) -> None:
    more = ["ahead=3", "grpo.token_budget=1024", "grpo.gradient_accumulation_steps=1"]
    more += [
        "evaluate_every=0",
        "grpo.num_generations=4",
        "transfer=disk",
        "grpo.save_steps=2",
        "grpo.warmup_steps=0",
    ]
    done = trained("async_countdown", tmp_path, server, *more, "grpo.max_steps=2")
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path) == [1, 2]
    again = trained("async_countdown", tmp_path, server, *more, "grpo.max_steps=4")
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stdout and steps(tmp_path) == [1, 2, 3, 4]
    third = trained("async_countdown", tmp_path, server, *more, "grpo.max_steps=4")
    assert third.stdout == f"finished before, at step 4: the model is in {tmp_path / 'model'}\n"


def test_a_sampler_that_takes_no_weights(tmp_path: Path) -> None:
    done = reason(
        "train", "grpo", "apr_countdown", "backend=countdown-apr", "--out", str(tmp_path / "x")
    )
    assert done.exit_code == 2 and "cannot be given new weights: sample from sglang" in done.stderr


@pytest.mark.parametrize("kind", ["broadcast", "disk"])
def test_training_while_a_server_samples(kind: str, server: str, tmp_path: Path) -> None:
    way: Way = Broadcast() if kind == "broadcast" else ByDisk(COUNTDOWN, tmp_path / "weights")
    backend = SGLangBackend(server)
    rollouts = Rollouts(METHOD, {"policy": backend}, ITEMS, concurrency=16)
    worker = RolloutWorker(rollouts, REWARDS, group=4, ahead=3)
    told = Counting()
    steps = 3
    args = AsyncGRPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=steps,
        token_budget=1024,
        gradient_accumulation_steps=1,
        learning_rate=1e-4,
        weight_sync_steps=1,
        max_staleness=2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = trainer_of(
        COUNTDOWN,
        args,
        train_dataset=Dataset.from_dict({"prompt": [item.prompt for item in ITEMS]}),
        processing_class=load_pair(COUNTDOWN, "float32", "cpu")[1],
        rollout_worker=worker,
        weight_transfer=WeightTransfer([server], way),
        callbacks=[told],
    )
    trainer.train()
    rows = [row for row in told.logs if "loss" in row]
    assert len(rows) == steps and all(row["sample/staleness_max"] <= 2 for row in rows)
    # What the server samples from is what was trained: the same log-probabilities, and others than
    # those it began with.
    ids = [*backend.encode(ITEMS[0].prompt), 75, 19, 41, 18, 92]
    said = run(backend.score(ids, 4))
    network = trainer.model
    network.set_attn_implementation("sdpa")
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    ours = logits.log_softmax(-1)[3:-1].gather(-1, torch.tensor(ids[4:])[:, None])[:, 0]
    assert said == pytest.approx(ours.tolist(), abs=1e-3)
    old = AutoModelForCausalLM.from_pretrained(COUNTDOWN, dtype=torch.float32)
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(old.parameters(), network.parameters(), strict=True)
    ]
    assert max(moved) > 1e-5
    run(backend.close())
