"""What rollouts are worth, on trees whose figures are known."""

from typing import Any

import pytest

from eval.item import Item
from reason.errors import UsageError
from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.ledger import Ledger
from reason.run import Trajectory
from reason.tree import ThreadTree
from reason.types import Finish, Result
from rl.rewards import (
    REWARDS,
    acceleration,
    bonus,
    correctness,
    form,
    longest_acceleration,
    path,
    redundancy,
    reward_named,
    sign,
    tokens,
)
from rl.rollouts import Rollout


def forked(
    *children: list[int], right: bool = True, kept: int = 2, finish: Finish = "eos", note: str = ""
) -> Rollout:
    """A root with a prompt of 2 tokens that says 4, and children that say these and are joined."""

    def said(thread: str, segment: int, origin: Any, ids: list[int]) -> Tokens:
        return Tokens(
            at=0.0,
            thread=thread,
            segment=segment,
            origin=origin,
            ids=ids,
            logprobs=[-1.0] * len(ids) if origin == "sampled" else [],
        )

    events: list[Event] = [
        Opened(at=0.0, thread="0", parent=None, model="policy"),
        said("0", 0, "prompt", [8, 9]),
        said("0", 1, "sampled", [1, 2, 3, 4]),
    ]
    names = [f"0.{number}" for number in range(len(children))]
    for name, ids in zip(names, children, strict=True):
        events.append(Opened(at=0.0, thread=name, parent="0", model="policy", kept=kept))
        if not kept:
            events.append(said(name, 0, "prompt", [7, 7]))
        events.append(said(name, 0 if kept else 1, "sampled", ids))
        events.append(Closed(at=0.0, thread=name, finish="eos"))
    events.append(Joined(at=0.0, thread="0", children=names))
    if note:
        events.append(Noted(at=0.0, thread="0", name=note, value=1))
    events.append(Closed(at=0.0, thread="0", finish=finish))
    ledger = Ledger()
    for event in events:
        ledger.apply(event)
    item = Item("x", "x", "x", lambda answer: None if answer == "right" else "wrong")
    result = Result("right" if right else "wrong", "0")
    return Rollout(item, Trajectory({"name": "t"}, "x", ThreadTree.replay(events), ledger, result))


def test_a_right_answer_and_what_nobody_waited_for() -> None:
    one = forked([1] * 6, [2] * 10)  # 20 tokens, of which 4 + 10 are waited for
    assert one.run.tree.critical_path == 14 and one.run.ledger.total_tokens == 20
    assert correctness(one) == sign(one) == 1.0
    assert acceleration(one) == pytest.approx(0.3)
    # The paper's: the longest sequence (a prompt of 2, and 10) of all tokens with the prompt.
    assert longest_acceleration(one) == pytest.approx(1 - 12 / 22)
    assert bonus(one) == pytest.approx(0.15)
    assert bonus(forked(*[[n] * 10 for n in range(9)])) == 0.2
    assert tokens(one) == -0.02 and path(one) == -0.014


def test_a_wrong_answer_is_worth_nothing_else() -> None:
    wrong = forked([1] * 6, [2] * 10, right=False)
    assert [correctness(wrong), acceleration(wrong), bonus(wrong)] == [0.0] * 3
    assert [tokens(wrong), path(wrong), sign(wrong)] == [0.0, 0.0, -1.0]


def test_a_single_line_is_not_faster() -> None:
    assert acceleration(forked()) == 0.0 == longest_acceleration(forked())


@pytest.mark.parametrize(
    ("rollout", "worth"),
    [
        (forked([1], [2]), 0.0),
        (forked([1], finish="length"), -1.0),
        (forked([1], note="spawn refused"), -1.0),
        (forked([1], note="vote"), 0.0),
    ],
)
def test_form(rollout: Rollout, worth: float) -> None:
    assert form(rollout) == worth


@pytest.mark.parametrize(
    ("rollout", "worth"),
    [
        (forked(), 0.0),
        (forked([1, 2], [1, 3]), 0.0),
        (forked([1, 2], [1, 2], [3], [1, 2]), -0.5),
        (forked([1], [2], kept=0), -0.5),  # children with the same prompt
    ],
)
def test_threads_that_repeat_others(rollout: Rollout, worth: float) -> None:
    assert redundancy(rollout) == worth


def test_by_name() -> None:
    assert all(reward_named(name) is reward for name, reward in REWARDS.items())
    with pytest.raises(UsageError, match="no reward is called 'speed'; there is: correctness"):
        reward_named("speed")
