"""A server gets new weights, from a folder or this process, and goes on when they are wrong."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_weights import WeightsUpdateGroup
from reason.errors import BackendError, UsageError
from tests import tiny
from tests.driving import GREEDY, Whole, collect, prompt, reference, run

IDS = prompt(3, 12)


@pytest.fixture
def model(qwen3_server: str) -> Iterator[SGLangBackend]:
    """With the weights it began with, which it has again at the end."""
    backend = SGLangBackend(qwen3_server)
    run(backend.update_weights(backend.info.model, 0))
    yield backend
    run(backend.update_weights(backend.info.model, 0))
    run(backend.close())


def fresh(seed: int) -> torch.nn.Module:
    eos = tiny.words(eos=True).eos_token_id
    return tiny.model("qwen3", kv_heads=4, seed=seed, eos_token_id=eos)


def ask(model: SGLangBackend) -> Whole:
    return run(collect(model, IDS, GREEDY))


def has(model: SGLangBackend, seed: int, version: int) -> None:
    """It writes what the library writes with these weights, and nothing came from the cache."""
    whole = ask(model)
    assert whole.ids == reference(fresh(seed), IDS, 40)
    assert whole.last.version == version
    assert whole.last.usage and whole.last.usage.cached_tokens == 0


def test_from_a_folder(model: SGLangBackend, tmp_path: Path) -> None:
    has(model, 1, 0)
    fresh(2).save_pretrained(tmp_path)
    run(model.update_weights(str(tmp_path), 5))
    has(model, 2, 5)


@pytest.mark.parametrize("bucket", [1 << 30, 1], ids=["one request", "one per tensor"])
def test_from_this_process(model: SGLangBackend, bucket: int) -> None:
    async def main() -> None:
        group = await WeightsUpdateGroup.join([model.url])
        await group.update(fresh(2).named_parameters(), 6, bucket)
        await group.close()

    run(main())
    has(model, 2, 6)


def test_some_weights_and_again_others(model: SGLangBackend) -> None:
    async def main() -> None:
        group = await WeightsUpdateGroup.join([model.url])
        named = list(fresh(2).named_parameters())
        await group.update(named[:5], 7)
        await group.update(named[5:], 8)
        await group.close()

    run(main())
    has(model, 2, 8)


def test_while_requests_wait(model: SGLangBackend) -> None:
    """What was sampled before stays, and what comes after is by the new weights."""

    async def main() -> None:
        group = await WeightsUpdateGroup.join([model.url])
        work = asyncio.create_task(collect(model, IDS, GREEDY.but(max_tokens=300)))
        await asyncio.sleep(0.3)
        await model.pause()
        await group.update(fresh(2).named_parameters(), 9)
        await model.resume()
        whole = await work
        await group.close()
        old, new = reference(fresh(1), IDS, 300), whole.ids
        same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 300)
        assert 0 < same < len(new), "the pause came too late, or too early"
        assert new[same:] == reference(fresh(2), IDS + new[:same], len(new) - same)
        assert whole.last.version == 9

    run(main())


def test_what_does_not_fit_is_not_sent(model: SGLangBackend, tmp_path: Path) -> None:
    weights = dict(fresh(2).named_parameters())
    norm = weights.pop("model.norm.weight")

    async def main() -> None:
        group = await WeightsUpdateGroup.join([model.url])
        for name, weight, expected in [
            ("model.nrm.weight", norm, r"no tensor called model.nrm.weight; is it model.norm"),
            (
                "model.norm.weight",
                norm[1:],
                r"norm.weight has shape \[63\], the model's has \[64\]",
            ),
        ]:
            with pytest.raises(BackendError, match=rf"nothing was sent to {model.url}.*{expected}"):
                await group.update([*weights.items(), (name, weight)], 3)
            save_file({**weights, name: weight.contiguous()}, tmp_path / "model.safetensors")
            with pytest.raises(BackendError, match=f"was not asked to load {tmp_path}.*{expected}"):
                await model.update_weights(str(tmp_path), 3)
        save_file(weights, tmp_path / "model.safetensors")
        with pytest.raises(BackendError, match=r"it lacks model\.norm\.weight"):
            await model.update_weights(str(tmp_path), 3)
        with pytest.raises(BackendError, match="no weights were given"):
            await group.update([], 3)
        await group.close()

    run(main())
    has(model, 1, 0)


def test_what_the_server_refuses_leaves_it_usable(model: SGLangBackend) -> None:
    """As from afar, where its checkpoint cannot be looked at."""
    file = Path(model.info.model) / "model.safetensors"
    away = file.rename(file.with_suffix(".away"))

    async def main() -> None:
        group = await WeightsUpdateGroup.join([model.url])
        weights = dict(fresh(2).named_parameters())
        wrong = {**weights, "model.norm.weight": torch.zeros(7)}
        with pytest.raises(BackendError, match=r"Attempted to load weight .*7.* into parameter"):
            await group.update(wrong.items(), 3)
        assert (await collect(model, IDS, GREEDY)).last.version == 0
        await group.update(weights.items(), 4)
        await group.close()

    try:
        run(main())
        has(model, 2, 4)
        assert load_file(away)
    finally:
        away.rename(file)


def test_a_group_that_is_of_no_use_says_so(model: SGLangBackend) -> None:
    async def main() -> None:
        weights = list(fresh(2).named_parameters())
        group, other = [await WeightsUpdateGroup.join([model.url], timeout=10) for _ in range(2)]
        await other.close()
        with pytest.raises(BackendError, match=r"nothing was sent .* the group is closed"):
            await other.update(weights, 3)
        await group.update(weights, 4)
        await group.close()
        with pytest.raises(BackendError, match="cannot reach"):
            await WeightsUpdateGroup.join(["http://127.0.0.1:1"])
        with pytest.raises(UsageError, match="no server to send weights to"):
            await WeightsUpdateGroup.join([])

    run(main())
    has(model, 2, 4)
