"""Packed rows against brute force, TRL's own, and one plain forward for each request."""

from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.attention import tiles
from rl.layouts import IGNORE, Layout, pack, together
from rl.masks import arguments, visible
from rl.requests import Request, requests_of
from tests.rl_models import forests, model, one_by_one


def paths(requests: list[Request]) -> list[tuple[int, ...]]:
    return [(*r.context, *r.sampled) for r in requests if r.sampled]


def terms(requests: list[Request]) -> list[tuple[tuple[int, ...], int]]:
    """What each sampled token follows, and the token."""
    return [
        ((*r.context, *r.sampled[:at]), token)
        for r in requests
        for at, token in enumerate(r.sampled)
    ]


def read(layout: Layout) -> dict[int, tuple[tuple[int, ...], int]]:
    """The terms of a row by their place, as its mask and positions let a model see them."""
    seen = visible(layout.last_desc)
    found = {}
    for source, target, place in zip(
        layout.source.tolist(), layout.targets.tolist(), layout.place.tolist(), strict=True
    ):
        above = seen[source].nonzero()[:, 0]
        assert layout.position_ids[above].tolist() == [*range(len(above))]
        assert layout.shift_labels[source] == target
        found[place] = (tuple(layout.input_ids[above].tolist()), target)
    return found


@settings(max_examples=200, deadline=None)
@given(forests(), st.none() | st.integers(1, 40))
def test_a_row_holds_every_request_and_no_token_twice(
    requests: list[Request], budget: int | None
) -> None:
    rows = pack(requests, budget)
    found: dict[int, tuple[tuple[int, ...], int]] = {}
    for row in rows:
        assert not found.keys() & read(row).keys()
        found |= read(row)
        labelled = {int(place) for place in (row.shift_labels != IGNORE).nonzero()[:, 0]}
        assert labelled == set(row.source.tolist())
        if budget:  # nothing but a single path may be longer
            assert len(row) <= budget or bool((row.last_desc == len(row)).all())
    assert [found[place] for place in sorted(found)] == terms(requests)
    assert sorted(found) == [*range(len(terms(requests)))]
    if budget is None:
        nodes = {path[: end + 2] for path in paths(requests) for end in range(len(path) - 1)}
        assert sum(map(len, rows)) == len(nodes)


@settings(max_examples=100, deadline=None)
@given(forests())
def test_equal_to_the_tries_of_trl(requests: list[Request]) -> None:
    """But for the last token of each request, which TRL keeps and which scores nothing."""
    from trl.experimental.async_grpo.packing import TreeRow

    trained = sorted((r for r in requests if r.sampled), key=lambda r: (*r.context, *r.sampled))
    if not trained:
        return
    row = TreeRow()
    for request in trained:
        path = [*request.context, *request.sampled]
        mask = [0] * len(request.context) + [1] * len(request.sampled)
        row.add(
            {
                "input_ids": torch.tensor(path),
                "completion_mask": torch.tensor(mask),
                "old_log_probs": torch.zeros(len(path)),
                "advantage": 0.0,
                "group_id": 0,
            }
        )
    theirs = row.pack()
    (ours,) = pack(trained)
    # A node of TRL ends a sample if it is the last of one; none goes on behind it.
    ends = torch.zeros(len(theirs["input_ids"]), dtype=torch.bool)
    placed = _places(row, theirs)
    for nodes in row.sample_nodes:
        ends[placed[nodes[-1]]] = True
    for name in ("input_ids", "position_ids", "shift_labels"):
        assert theirs[name][~ends].tolist() == getattr(ours, name).tolist()
    new = torch.tensor([*accumulate((~ends).int().tolist())]) - 1
    assert new[theirs["token_index"]].tolist() == ours.source.tolist()


def _places(row: Any, packed: dict[str, torch.Tensor]) -> list[int]:
    """Where each node of a TreeRow stands: depth first, children in the order they came."""
    order: list[int] = []

    def walk(children: dict[Any, int]) -> None:
        for node in children.values():
            order.append(node)
            walk(row.children[node])

    walk(row.roots)
    assert [row.tokens[node] for node in order] == packed["input_ids"].tolist()
    places = [0] * len(order)
    for place, node in enumerate(order):
        places[node] = place
    return places


@settings(max_examples=100, deadline=None)
@given(forests(), st.integers(1, 9))
def test_tiles_see_what_the_mask_says(requests: list[Request], size: int) -> None:
    for row in pack(requests):
        seen = torch.zeros(len(row), len(row), dtype=torch.bool)
        for tile in tiles(row.last_desc, size):
            keys = torch.cat([torch.arange(low, high) for low, high in tile.stretches])
            assert tile.seen.any(0).all()  # no key in vain
            seen[tile.start : tile.end, keys] = tile.seen
        assert torch.equal(seen, visible(row.last_desc))


CASES: dict[str, list[Request]] = {
    "shared prefix": [Request([2, 3, 4], [5, 6, 7]), Request([2, 3, 4], [8, 9])],
    "twice the same": [Request([2, 3], [4, 5]), Request([2, 3], [4, 5])],
    "one token each": [Request([2, 3], [4]), Request([2, 3], [5]), Request([2], [3])],
    "apart inside what was sampled": [Request([2], [3, 4, 5, 6]), Request([2], [3, 4, 7])],
    "nothing sampled": [Request([2, 3], []), Request([4, 5], [6, 7])],
    "other roots": [Request([2, 9], [3, 4]), Request([7], [8, 2, 9]), Request([2, 9], [3, 4, 5])],
    "joined": [
        Request([2, 3], [4, 5, 6]),
        Request([2, 3, 4, 5, 6, 20], [7, 8]),
        Request([2, 3, 4, 5, 6, 21], [9]),
        Request([2, 3, 4, 5, 6, 20, 7, 8, 21, 9, 22], [10, 11, 1]),
    ],
    "long": [
        Request([2, *range(3, 30), 5] * 5, [*range(4, 34)] * 3),
        Request([2, *range(3, 30), 5] * 5, [*range(4, 24), 3, 9, 8]),
        Request([9] * 140, [8, 7] * 9),
    ],
}


def scored(network: Any, rows: list[Layout], attention: str) -> torch.Tensor:
    network.set_attn_implementation(attention)
    found = []
    for row in rows:
        logits = network(**arguments(row, attention)).logits[0, row.source].float()
        found.append(logits.log_softmax(-1).gather(-1, row.targets[:, None])[:, 0])
    return together(rows, found)


def gradients(network: Any, loss: torch.Tensor) -> torch.Tensor:
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in network.parameters()])


@pytest.mark.parametrize("attention", ["tree", "sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("budget", [None, 6])
def test_equal_to_one_forward_for_each_request(
    kind: str, attention: str, case: str, budget: int | None
) -> None:
    network, requests = model(kind), CASES[case]
    plain = one_by_one(network, requests)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    expected = gradients(network, (plain * weights).sum())
    packed = scored(network, pack(requests, budget), attention)
    found = gradients(network, (packed * weights).sum())
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@settings(max_examples=25, deadline=None)
@given(forests(), st.sampled_from(["llama", "qwen3"]), st.sampled_from(["tree", "sdpa", "eager"]))
def test_random_forests_equal_one_forward_for_each_request(
    requests: list[Request], kind: str, attention: str
) -> None:
    if not any(r.sampled for r in requests):
        return
    network = model(kind)
    plain = one_by_one(network, requests)
    expected = gradients(network, plain.sum())
    packed = scored(network, pack(requests), attention)
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)
    found = gradients(network, packed.sum())
    assert float((found - expected).norm() / expected.norm().clamp(min=1e-3)) < 1e-4


def test_flex_attention_sees_the_same() -> None:
    """Forward only: it has no backward pass on the CPU."""
    network, requests = model("qwen3"), CASES["joined"]
    with torch.no_grad():
        plain = one_by_one(network, requests)
        packed = scored(network, pack(requests), "flex_attention")
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


def test_another_mask_gives_other_figures() -> None:
    """What the tests above would find: rows without a mask, or with the positions of a row."""
    network, requests = model("llama"), CASES["joined"]
    network.set_attn_implementation("sdpa")
    (row,) = pack(requests)
    plain = one_by_one(network, requests)
    for broken in (
        {"input_ids": row.input_ids[None]},
        arguments(row, "sdpa") | {"position_ids": torch.arange(len(row))[None]},
    ):
        logits = network(**broken).logits[0, row.source]
        found = logits.log_softmax(-1).gather(-1, row.targets[:, None])[:, 0]
        assert (found - plain).abs().max().item() > 0.1


def test_refused() -> None:
    with pytest.raises(ValueError, match="has no context"):
        Request([], [2])
    with pytest.raises(ValueError, match=r"2 log-probabilities for 1 sampled"):
        Request([2], [3], [-1.0, -2.0])
    with pytest.raises(ValueError, match="budget must be 1 or more"):
        pack([Request([2], [3])], 0)
    assert pack([Request([2], [])]) == [] and pack([]) == []


def test_requests_of_a_run() -> None:
    """Prompt, what was sampled, what was injected, a fork and a thread of another model."""
    from reason.events import Opened, Tokens
    from reason.tree import ThreadTree

    def opened(thread: str, parent: str | None, kept: int, model: str = "policy") -> Opened:
        return Opened(at=0.0, thread=thread, parent=parent, model=model, kept=kept)

    def said(thread: str, segment: int, origin: Any, ids: list[int], **more: Any) -> Tokens:
        logprobs = [-float(i) for i in ids] if origin == "sampled" else []
        return Tokens(
            at=0.0,
            thread=thread,
            segment=segment,
            origin=origin,
            ids=ids,
            logprobs=logprobs,
            **more,
        )

    tree = ThreadTree.replay(
        [
            opened("0", None, 0),
            said("0", 0, "prompt", [2, 3]),
            said("0", 1, "sampled", [4, 5], finish="stop", version=7),
            opened("0.0", "0", 3),
            said("0.0", 0, "injected", [6]),
            said("0.0", 1, "sampled", [7], finish="length"),
            said("0.0", 2, "sampled", []),
            opened("0.1", "0", 0, "target"),
            said("0.1", 0, "prompt", [9]),
            said("0.1", 1, "sampled", [8]),
            said("0", 2, "injected", [7]),
            said("0", 3, "sampled", [1], finish="eos"),
        ]
    )
    assert [*requests_of(tree)] == [
        Request([2, 3], [4, 5], [-4.0, -5.0], "0", 7),
        Request([2, 3, 4, 5, 7], [1], [-1.0], "0"),
        Request([2, 3, 4, 6], [7], [-7.0], "0.0", truncated=True),
    ]
    assert [*requests_of(tree, "target")] == [Request([9], [8], [-8.0], "0.1")]
