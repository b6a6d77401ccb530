"""A stock SGLang server as the backend: prefix reuse, methods end to end, what it refuses."""

import asyncio
import json
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import pytest

from controllers.apr import AdaptiveParallel
from controllers.self_consistency import SelfConsistency
from controllers.syntax import syntax_of
from eval.command import resolve
from eval.runner import evaluate
from eval.tasks import Countdown, task_of
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.backends.hf import HFBackend
from reason.backends.pool import Pool
from reason.backends.sglang import SGLangBackend
from reason.engine import Engine
from reason.errors import BackendError, UsageError
from reason.ledger import Budget
from reason.run import solve
from reason.types import Grammar, Prompt, Result, SamplingParams
from tests import tiny
from tests.driving import collect, gather, run
from tests.gateway import gateway
from tests.runs import Run
from tests.serving import COUNTDOWN

GREEDY = SamplingParams(temperature=0.0, max_tokens=1024)
APR = AdaptiveParallel(syntax="countdown", sampling=GREEDY)


@pytest.fixture(scope="module")
def model(countdown_server: str) -> Iterator[SGLangBackend]:
    backend = SGLangBackend(countdown_server)
    yield backend
    run(backend.close())


def running(url: str) -> int:
    """Requests that the server itself says it holds."""
    with urlopen(f"{url}/v1/loads", timeout=10) as answer:
        loads = json.load(answer)["loads"]
    return sum(load["num_running_reqs"] + load["num_waiting_reqs"] for load in loads)


async def quiet(url: str, seconds: float = 10.0) -> int:
    """What still runs on the server once nothing new comes."""
    for _ in range(int(seconds * 10)):
        if not running(url):
            break
        await asyncio.sleep(0.1)
    return running(url)


def test_what_it_says_of_itself(model: SGLangBackend) -> None:
    info = model.info
    assert (info.model, info.tokenizer, info.grammar) == (COUNTDOWN, COUNTDOWN, "countdown")
    assert info.reproducible == "greedy" and 2000 < info.context <= 2048
    assert info.vocabulary == len(json.loads((Path(COUNTDOWN) / "tokenizer.json").read_text())[
        "model"]["vocab"])  # fmt: skip


def test_tokens_and_logprobs_are_those_of_hf(model: SGLangBackend) -> None:
    syntax = syntax_of("countdown")
    items = Countdown(4).items(50, 5, "countdown")
    params = GREEDY.but(max_tokens=120)
    asks = [(model.encode(syntax.parallel(item.prompt, 4)), params) for item in items]
    here = HFBackend.load(COUNTDOWN)
    ours, theirs = gather(here, asks), gather(model, asks)
    assert [w.ids for w in theirs] == [w.ids for w in ours]
    assert [w.text for w in theirs] == [w.text for w in ours]
    assert [w.last.finish for w in theirs] == [w.last.finish for w in ours]
    for whole, other in zip(theirs, ours, strict=True):
        assert whole.logprobs == pytest.approx(other.logprobs, abs=1e-3)
    run(here.close())


def test_children_of_a_fork_reuse_their_parents_context(model: SGLangBackend) -> None:
    kept: list[int] = []

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        await engine.generate(root, GREEDY.but(max_tokens=120))
        kept.append(root.length)
        children = [engine.fork(root) for _ in range(8)]
        warm = SamplingParams(max_tokens=40, temperature=1.0)
        await engine.map(lambda child: engine.generate(child, warm), children)
        engine.join(root, children)
        engine.append(root, " <res> 1 + 1 = 2 fail <go>")
        kept.append(root.length)
        await engine.generate(root, GREEDY.but(max_tokens=5))
        return Result(None, root.id)

    prompt = "<bos> <seq> 77 3 5 7 9 ; 0 <go>"
    watched = Run(body, model, prompt)
    run(watched.go())
    cached = [e.cached_tokens for e in watched.events if getattr(e, "finish", None)
              and hasattr(e, "cached_tokens")]  # fmt: skip
    first, *children, joined = cached
    assert len(children) == 8
    assert first <= kept[0]
    assert all(count >= kept[0] - 2 for count in children), children
    # The parent had all but what was appended, and the token it sampled last.
    appended = kept[1] - kept[0]
    assert joined >= kept[1] - appended - 2


def test_countdown_problems_end_to_end(model: SGLangBackend) -> None:
    items = list(Countdown(4).items(12, 3, "countdown"))
    here = connect("")

    async def main(backend: Backend) -> list[tuple[object, ...]]:
        runs = await asyncio.gather(*(solve(APR, i.prompt, {"policy": backend}) for i in items))
        return [
            (found.result and found.result.answer, found.tree.critical_path, found.error)
            for found in runs
        ]

    assert run(main(model)) == run(main(here))
    run(here.close())


def test_an_evaluation_of_200_problems(model: SGLangBackend, tmp_path: Path) -> None:
    items = list(task_of("countdown3").items(200, 0, "countdown"))
    config = resolve("countdown3", 1, APR, "apr", {"policy": model}, Budget(), 200, 0)
    backends = {"policy": model}
    work = evaluate(APR, items, backends, tmp_path, config=config, concurrency=12)
    metrics = run(work)
    assert metrics.questions == 200 and metrics.accuracy.value > 0.9
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").open()]
    assert len({row["id"] for row in rows}) == 200
    assert all(not row["failed"] and row["prompt_tokens"] > 0 for row in rows)
    assert sum(row["cached_tokens"] for row in rows) > 0
    assert run(quiet(model.url)) == 0


def test_sampling_at_several_temperatures_gives_the_models_own_logprobs(
    model: SGLangBackend,
) -> None:
    ids = model.encode("<bos> <seq> 77 3 5 7 9 ; 0 <go>")
    asks = [(ids, SamplingParams(temperature=t, max_tokens=40)) for t in (0.0, 0.5, 1.0, 3.0)]
    for whole in gather(model, asks):
        scores = run(model.score([*ids, *whole.ids], len(ids)))
        assert scores == pytest.approx(whole.logprobs, abs=1e-4)


@pytest.mark.parametrize("kind, text", [("regex", "(3|4)[+]5"), ("ebnf", 'root ::= "3" "+5"')])
def test_grammars(model: SGLangBackend, kind: str, text: str) -> None:
    params = SamplingParams(max_tokens=20, grammar=Grammar(kind, text))  # type: ignore[arg-type]
    # The server reads the words of this tokenizer without the spaces between them.
    whole = run(collect(model, model.encode("<bos> <seq> 77 3 5 ; 0 <go>"), params))
    assert whole.text.removesuffix("<eos>").strip() in ("3 + 5", "4 + 5")


def test_a_grammar_that_the_vocabulary_cannot_spell_is_an_error(model: SGLangBackend) -> None:
    params = SamplingParams(max_tokens=20, grammar=Grammar("regex", "yes"))
    with pytest.raises(BackendError, match="probability 0; does a grammar leave this model none"):
        run(collect(model, model.encode("<bos> <seq> 77 3 5 ; 0 <go>"), params))


def test_a_context_that_is_full_is_a_finish_reason(model: SGLangBackend) -> None:
    ids = model.encode("1 + 1 = 2 ") * 1000
    for length in (model.info.context, model.info.context + 1, len(ids)):
        whole = run(collect(model, ids[:length], GREEDY))
        assert (whole.ids, whole.last.finish) == ([], "length")
    almost = run(collect(model, ids[: model.info.context - 3], GREEDY.but(stop_token_ids=())))
    assert len(almost.ids) <= 3 and almost.last.finish in ("length", "eos")


def test_self_consistency_runs_too(model: SGLangBackend) -> None:
    (item,) = Countdown(4).items(1, 3, "countdown")
    warm = SamplingParams(temperature=1.0, max_tokens=256)
    method = SelfConsistency(4, 4, "countdown", warm)
    found = run(solve(method, item.prompt, {"policy": model}))
    assert found.error is None and found.ledger.threads == 5


def test_a_key_comes_from_the_environment_and_is_not_shown(
    countdown_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    monkeypatch.setenv("SERVER_KEY", "sk-right")
    monkeypatch.setenv("OLD_KEY", "sk-secret")
    with gateway(countdown_server, key="sk-right") as guarded:
        url = guarded.url.removesuffix("/v1")
        with pytest.raises(BackendError, match=r"answered 401: Incorrect API key provided: $"):
            SGLangBackend(url)
        with pytest.raises(BackendError, match=r"answered 401: Incorrect .* \*\*\*$"):
            connect(f"sglang:{url}?key_env=OLD_KEY")
        backend = connect(f"sglang:{url}?key_env=SERVER_KEY")
        whole = run(collect(backend, backend.encode("1 2 3"), GREEDY.but(max_tokens=3)))
        assert len(whole.ids) == 3
        run(backend.close())


def test_an_address_may_end_in_a_slash(countdown_server: str) -> None:
    place = countdown_server.removeprefix("http://")
    for spec in (f"sglang://{place}/", f"sglang:{countdown_server}/"):
        backend = connect(spec)
        assert isinstance(backend, SGLangBackend) and backend.url == countdown_server
        run(backend.close())


def test_a_pool_keeps_a_tree_on_one_worker(countdown_server: str) -> None:
    first, second = SGLangBackend(countdown_server), SGLangBackend(countdown_server)
    pool = Pool([first, second])
    engines = [Engine({"policy": pool}) for _ in range(4)]
    assert [e.backends["policy"] for e in engines] == [first, second, first, second]
    with pytest.raises(UsageError, match=r"must be alike, but model is .* and"):
        Pool([first, HFBackend(tiny.model("llama"), tiny.words())])
    run(pool.close())


def test_weights_are_replaced_and_chunks_say_so(countdown_server: str, tmp_path: Path) -> None:
    model = SGLangBackend(countdown_server)
    ids = model.encode("<bos> <seq> 77 3 5 7 9 ; 0 <go>")
    before = run(collect(model, ids, GREEDY.but(max_tokens=20)))
    with pytest.raises(BackendError, match="weights"):
        run(model.update_weights(str(tmp_path / "none"), 6))
    run(model.update_weights(COUNTDOWN, 7))
    after = run(collect(model, ids, GREEDY.but(max_tokens=20)))
    assert (before.ids, before.last.version) == (after.ids, None)
    assert after.last.version == 7 and after.last.usage
    assert after.last.usage.cached_tokens == 0, "the cache of the old weights was used"
    run(model.close())


def test_what_is_no_server_is_refused_in_a_line(countdown_server: str, qwen3_server: str) -> None:
    port = countdown_server.rpartition(":")[2]
    for spec, expected in [
        ("sglang://127.0.0.1:1", r"cannot reach http://127.0.0.1:1: .*refused"),
        ("sglang://127.0.0.1", "a server is written host:port"),
        ("sglang://", "names no model"),
        ("sglang://launch", "which model\\?"),
        ("sglang:ftp://x:80", "a server is written host:port"),
        ("slang://x:1", "no backend is called"),
        (
            f"sglang://127.0.0.1:{port}?model=Qwen/Qwen3-8B",
            "serves .*countdown-apr, but .*Qwen3-8B",
        ),
        (
            f"sglang://127.0.0.1:{port}?tokenizer=nowhere/at/all",
            "no checkpoint directory at nowhere.*say where",
        ),
        (f"sglang://127.0.0.1:{port}?patients=3", "patience"),
        (f"{'sglang://' + qwen3_server[7:]}?tokenizer={COUNTDOWN}", "is not that of"),
    ]:
        with pytest.raises((BackendError, UsageError), match=expected) as caught:
            connect(spec)
        assert "\n" not in str(caught.value)


def test_only_a_version_that_was_never_tested_is_warned_of(countdown_server: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(SGLangBackend(countdown_server).close())
    changed = {b'"version":"0.5.23"': b'"version":"0.9.9"'}
    with gateway(countdown_server, replaced=changed) as other:
        url = other.url.removesuffix("/v1")
        with pytest.warns(UserWarning) as caught:
            run(SGLangBackend(url).close())
        assert [str(each.message) for each in caught] == [
            f"{url} is SGLang 0.9.9; tested with 0.5.23"
        ]


def test_a_server_that_tells_no_logprobs_is_refused_in_a_line(countdown_server: str) -> None:
    changed = {b'"output_token_logprobs"': b'"other"', b'"input_token_logprobs"': b'"others"'}
    with gateway(countdown_server, replaced=changed) as other:
        url = other.url.removesuffix("/v1")
        with pytest.raises(BackendError, match=f"^{url} returns no log-probabilities[^\n]*$"):
            SGLangBackend(url)


def test_events_carry_every_token_once(model: SGLangBackend) -> None:
    ids = model.encode("<bos> <seq> 77 3 5 7 9 ; 0 <go>")

    async def main() -> list[int]:
        return [len(chunk.ids) async for chunk in model.generate(ids, GREEDY.but(max_tokens=100))]

    sizes = run(main())
    assert sum(sizes) == 100
    assert all(size > 0 for size, _ in pairwise(sizes))
