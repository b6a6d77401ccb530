"""GRPO on packed tries against TRL's own loss fed by one plain forward for each request."""

import os

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig

from controllers.single import Single
from eval.item import Item
from reason.backends.hf_load import load_pair
from reason.backends.scripted import ScriptedBackend
from reason.errors import BackendError, TrainingError, UsageError
from reason.events import Closed, Event, Opened, Tokens
from reason.ledger import Ledger
from reason.run import Trajectory
from reason.tree import ThreadTree
from reason.types import Result, SamplingParams
from rl.grpo import TreeGRPOTrainer
from rl.requests import Request
from rl.rewards import correctness
from rl.rollouts import Rollout, Rollouts
from rl.tree_options import TreeOptions
from tests.rl_models import VOCABULARY, model, one_by_one

SHIPPED = Path("reason/models/countdown-apr")
LOSSES = ["dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo"]


def rollout_of(requests: Sequence[Request], right: bool = True) -> Rollout:
    """A run in which each request is a thread of its own."""
    events: list[Event] = []
    for number, request in enumerate(requests):
        name = f"0.{number - 1}" if number else "0"
        events += [
            Opened(at=0.0, thread=name, parent="0" if number else None, model="policy"),
            Tokens(at=0.0, thread=name, segment=0, origin="prompt", ids=[*request.context]),
            Tokens(
                at=0.0,
                thread=name,
                segment=1,
                origin="sampled",
                ids=[*request.sampled],
                logprobs=[*request.logprobs],
                finish="length" if request.truncated else "eos",
            ),
        ]
    events += [Closed(at=0.0, thread="0", finish="eos")]
    ledger = Ledger()
    for event in events:
        ledger.apply(event)
    item = Item("x", "x", "x", lambda answer: None if answer == "right" else "wrong")
    result = Result("right" if right else "wrong", "0")
    run = Trajectory({"name": "test"}, "x", ThreadTree.replay(events), ledger, result)
    rollout = Rollout(item, run)
    assert [r.sampled for r in rollout.requests] == [[*r.sampled] for r in requests if r.sampled]
    return rollout


def some(seed: int) -> list[Rollout]:
    """ThreadWeaver's joins, APR's forests, PDR's drafts, branches in what was sampled, silence."""
    rng = random.Random(seed)

    def words(low: int, high: int) -> list[int]:
        return [rng.randrange(2, VOCABULARY) for _ in range(rng.randint(low, high))]

    def request(context: list[int], sampled: list[int], truncated: bool = False) -> Request:
        logprobs = [-3.5 + 0.5 * rng.random() for _ in sampled]
        return Request(context, sampled, logprobs, truncated=truncated)

    asked, outlines = words(5, 9), words(3, 6)
    threads = [words(1, 6) for _ in range(3)]
    woven = [request(asked, outlines)]
    woven += [request(asked + outlines + [2, 3 + k], t) for k, t in enumerate(threads)]
    joined = [i for k, thread in enumerate(threads) for i in [2, 3 + k, *thread]]
    woven.append(request(asked + outlines + joined, words(2, 4)))
    forest = [request(words(4, 8), words(1, 6)) for _ in range(3)]
    drafts = [request(asked, words(3, 5)) for _ in range(3)]
    drafts.append(request([*asked, 5, *drafts[0].sampled], words(3, 5), truncated=True))
    apart = [request([4, 5], [6, 7, 8]), request([4, 5], [6, 7, 9, 10]), request([4, 5], [6])]
    return [rollout_of(requests) for requests in (woven, forest, drafts, apart, [request([7], [])])]


def replace_correct(rollout: Rollout, right: bool) -> Rollout:
    result = Result("right" if right else "wrong", "0")
    return replace(rollout, run=replace(rollout.run, result=result))


class Nothing:
    """A sampler that has the weights already."""

    backend: Any = None

    async def send(self, model: Any, version: int) -> None:
        return None


class Plain(TreeGRPOTrainer):
    """The same, with one forward for each request."""

    def _logps(
        self, model: Any, rollouts: Sequence[Rollout], shape: torch.Size, entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        found = torch.zeros(shape)
        for row, rollout in enumerate(rollouts):
            if rollout.requests:
                each = one_by_one(model, list(rollout.requests))
                found = (
                    found
                    + torch.nn.functional.pad(each, (0, shape[1] - len(each)))
                    * torch.eye(shape[0])[row][:, None]
                )
        return found, torch.zeros(shape) if entropy else None


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_pair(str(SHIPPED), "float32", "cpu")[1]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A checkpoint of a random model, which KL needs by its path."""
    folder = tmp_path_factory.mktemp("start")
    model("qwen3", seed=3).save_pretrained(folder)
    yield str(folder)


def trainer(kind: type[TreeGRPOTrainer], start: str, tokenizer: Any, **more: Any) -> Any:
    from transformers import AutoModelForCausalLM

    options = more.pop("options", TreeOptions(row_tokens=30))
    settings: dict[str, Any] = {
        "output_dir": f"{start}/out",
        "per_device_train_batch_size": 5,
        "num_generations": 5,
        "max_completion_length": 64,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": [],
        "disable_tqdm": True,
        **more,
    }
    method = Single(sampling=SamplingParams(temperature=1.0))
    return kind(
        model=AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32),
        args=GRPOConfig(**settings),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 8}),
        processing_class=tokenizer,
        rollouts=Rollouts(method, {}, []),
        sampler=Nothing(),
        rewards={"correctness": (correctness, 1.0)},
        options=options,
    )


def inputs_of(rollouts: list[Rollout], options: TreeOptions, beta: Any) -> dict[str, Any]:
    from rl.columns import by_sequence

    rows, width = len(rollouts), max(rollout.sampled for rollout in rollouts)
    mask, old = torch.zeros(rows, width, dtype=torch.long), torch.zeros(rows, width)
    for row, rollout in enumerate(rollouts):
        mask[row, : rollout.sampled] = 1
        said = [logprob for request in rollout.requests for logprob in request.logprobs]
        old[row, : len(said)] = torch.tensor(said)
    advantages = torch.tensor([1.0, -0.5, 0.7, -0.2, 0.3])[:, None].expand(rows, width).clone()
    if options.weighting == "sequences":
        advantages = advantages * by_sequence(rollouts, torch.Size((rows, width)))
    found = {
        "prompt_ids": torch.zeros(rows, 1, dtype=torch.long),
        "prompt_mask": torch.ones(rows, 1, dtype=torch.long),
        "completion_ids": torch.zeros(rows, width, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "num_items_in_batch": mask.sum(),
        "rollouts": rollouts,
    }
    return found | ({"ref_per_token_logps": beta} if beta is not None else {})


def loss_and_gradients(one: Any, given: dict[str, Any]) -> tuple[float, torch.Tensor]:
    one.current_gradient_accumulation_steps = 1
    one.model.train()
    loss = one._compute_loss(one.model, given)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in one.model.parameters()])


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_equal_to_plain_forwards_under_every_loss(
    loss_type: str, beta: float, start: str, tokenizer: Any
) -> None:
    found = []
    for kind in (TreeGRPOTrainer, Plain):
        rollouts, options = some(1), TreeOptions(weighting="sequences", row_tokens=30)
        one = trainer(kind, start, tokenizer, loss_type=loss_type, beta=beta, options=options)
        width = max(rollout.sampled for rollout in rollouts)
        reference = torch.full((5, width), -3.0) if beta else None
        found.append(loss_and_gradients(one, inputs_of(rollouts, options, reference)))
    (ours, gradient), (plain, expected) = found
    assert ours == pytest.approx(plain, rel=1e-5, abs=1e-6)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-5
    assert float(expected.norm()) > 1e-6


def test_apr_weighs_every_sequence_of_a_rollout_the_same(start: str, tokenizer: Any) -> None:
    """Against the formula: the mean over rollouts of the mean over their requests of the mean over
    their tokens (APR, section 3.3, with TinyRL's normaliser)."""
    rollouts, options = some(2)[:4], TreeOptions(weighting="sequences")
    one = trainer(
        TreeGRPOTrainer, start, tokenizer, loss_type="grpo", options=options,
        per_device_train_batch_size=4, num_generations=4, epsilon=0.2,
    )  # fmt: skip
    loss, gradient = loss_and_gradients(
        one, {k: v[:4] if isinstance(v, torch.Tensor) and v.dim() else v
              for k, v in inputs_of([*rollouts, some(2)[4]], options, None).items()}
        | {"rollouts": rollouts},
    )  # fmt: skip
    network, terms = one.model, []
    network.zero_grad()
    for rollout, advantage in zip(rollouts, [1.0, -0.5, 0.7, -0.2], strict=True):
        sequences = []
        for request in rollout.requests:
            logps = one_by_one(network, [request])
            ratio = (logps - torch.tensor(request.logprobs)).exp()
            clipped = ratio.clamp(0.8, 1.2)
            sequences.append(-torch.min(ratio * advantage, clipped * advantage).mean())
        terms.append(torch.stack(sequences).mean())
    expected = torch.stack(terms).mean()
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    plain = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert float((gradient - plain).norm() / plain.norm()) < 1e-5


@pytest.mark.parametrize("right", [(True, False, True, False, False), (False,) * 5])
def test_what_was_right_is_imitated_too(
    right: tuple[bool, ...], start: str, tokenizer: Any
) -> None:
    """PDR, section 4.3: minus the mean over right rollouts of the mean log-probability of their
    tokens, times the coefficient, beside the same policy loss."""
    found = []
    for coefficient in (0.0, 0.1):
        options = TreeOptions(sft_coef=coefficient, row_tokens=30)
        one = trainer(TreeGRPOTrainer, start, tokenizer, loss_type="cispo", options=options)
        rollouts = [replace_correct(r, yes) for r, yes in zip(some(1), right, strict=True)]
        given = inputs_of(rollouts, options, None)
        given["imitated"] = one._shared_out(torch.tensor(right, dtype=torch.float32))
        found.append((*loss_and_gradients(one, given), one))
    (plain, without, _), (both, gradient, one) = found
    one.model.zero_grad()
    each = [
        one_by_one(one.model, list(rollout.requests)).mean()
        for rollout, yes in zip(some(1), right, strict=True)
        if yes
    ]
    expected = -0.1 * torch.stack(each).mean() if each else torch.zeros(())
    assert both - plain == pytest.approx(expected.item(), abs=1e-5)
    if each:
        expected.backward()  # type: ignore[no-untyped-call]
        added = torch.cat([p.grad.flatten() for p in one.model.parameters()])
        assert float((gradient - without - added).norm() / added.norm()) < 1e-4
    else:
        assert torch.equal(gradient, without)


def test_of_a_rollout_the_last_line_of_threads_can_be_trained_alone() -> None:
    every = some(1)[2]
    last = replace(every, trained="last")
    assert [r.sampled for r in last.requests] == [every.requests[-1].sampled]
    assert last.sampled == len(every.requests[-1].sampled) < every.sampled


def test_the_last_line_is_all_that_goes_on_in_one_place() -> None:
    """A root that goes on in a fork after its child: both parts of it, and not the child."""
    events: list[Event] = [
        Opened(at=0.0, thread="0", parent=None, model="policy"),
        Tokens(at=0.0, thread="0", segment=0, origin="prompt", ids=[5, 6]),
        Tokens(at=0.0, thread="0", segment=1, origin="sampled", ids=[7], finish="stop"),
        Opened(at=0.0, thread="0.0", parent="0", model="policy"),
        Tokens(at=0.0, thread="0.0", segment=0, origin="prompt", ids=[8]),
        Tokens(at=0.0, thread="0.0", segment=1, origin="sampled", ids=[9], finish="eos"),
        Closed(at=0.0, thread="0.0", finish="eos"),
        Opened(at=0.0, thread="0.1", parent="0", model="policy", kept=2, continues=True),
        Tokens(at=0.0, thread="0.1", segment=0, origin="sampled", ids=[10], finish="eos"),
        Closed(at=0.0, thread="0.1", finish="eos"),
        Closed(at=0.0, thread="0", finish="eos"),
    ]
    ledger = Ledger()
    for event in events:
        ledger.apply(event)
    item = Item("x", "x", "x", lambda answer: None)
    tree = ThreadTree.replay(events)
    run = Trajectory({"name": "test"}, "x", tree, ledger, Result("right", "0.1"))
    assert [r.sampled for r in Rollout(item, run).requests] == [[7], [9], [10]]
    assert [r.sampled for r in Rollout(item, run, trained="last").requests] == [[7], [10]]


def test_no_token_of_a_rollout_is_trained_where_nothing_was_said(
    start: str, tokenizer: Any
) -> None:
    one = trainer(TreeGRPOTrainer, start, tokenizer, loss_type="dapo")
    silent = [rollout_of([Request([7], [])]) for _ in range(5)]
    given = inputs_of(some(1), TreeOptions(), None)
    given["rollouts"] = silent
    given["completion_mask"] = torch.zeros_like(given["completion_mask"])
    loss, gradient = loss_and_gradients(one, given)
    assert loss == 0.0 and not gradient.any()


def test_a_loss_that_is_no_number_ends_it(start: str, tokenizer: Any) -> None:
    one = trainer(TreeGRPOTrainer, start, tokenizer, loss_type="dapo")
    given = inputs_of(some(1), TreeOptions(), None)
    given["advantages"] = given["advantages"] * math.nan
    with pytest.raises(
        TrainingError, match="loss became nan in step 0, on x; no checkpoint was made"
    ):
        loss_and_gradients(one, given)


def answering(fails: int) -> tuple[Rollouts, list[str]]:
    """Rollouts of a model that fails so many times, and what it was asked."""
    asked: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        if len(asked) <= fails:
            raise BackendError("the server is gone")
        return "3 4 5"

    items = [Item(str(n), str(n), f"{n} 3 4", lambda answer: None) for n in range(8)]
    words = ScriptedBackend(script, words=True, model="words")
    method = Single(sampling=SamplingParams(temperature=1.0))
    return Rollouts(method, {"policy": words}, items, tries=2, concurrency=1), asked


def test_a_rollout_whose_model_failed_is_done_again_and_then_left_out() -> None:
    rollouts, asked = answering(3)
    first, second, third = rollouts.run(["0 3 4", "1 3 4", "1 3 4"], 0)
    assert (first.failed, second.failed, third.failed) == (True, False, False)
    assert (rollouts.retried, len(asked)) == (2, 5)
    with pytest.raises(UsageError, match="no problem has the prompt '9 3 4'"):
        rollouts.run(["9 3 4"], 0)


def test_steps_of_nothing_but_failures_end_it(start: str, tokenizer: Any) -> None:
    one = trainer(TreeGRPOTrainer, start, tokenizer, options=TreeOptions(patience=2))
    one.rollouts, _ = answering(99)
    assert one._roll_out(["0 3 4"])["env_mask"] == [[0]]
    with pytest.raises(TrainingError, match="every rollout of 2 steps in a row failed, the last"):
        one._roll_out(["1 3 4"])


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (SamplingParams(temperature=0.7), r"sampling.temperature=0.7, not 1"),
        (SamplingParams(temperature=1.0, min_p=0.1), r"sampling.min_p=0.1, not 0"),
    ],
)
def test_rollouts_are_sampled_as_they_are_trained_on(
    sampling: SamplingParams, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Rollouts(Single(sampling=sampling), {}, [])
