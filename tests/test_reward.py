"""A reward model as scorer: a random one on a real SGLang server, and what it is sent."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from controllers.best_of_n import BestOfN
from eval.asking import question_of
from eval.scorers import rewards
from reason.backends.base import Rater
from reason.backends.connect import connect
from reason.backends.reward import RewardModel
from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.errors import BackendError, Unsupported, UsageError
from reason.run import solve
from reason.types import Prompt, Result, SamplingParams
from tests import tiny
from tests.console import reason
from tests.console import tiny as countdown
from tests.driving import run
from tests.runs import run as driven
from tests.serving import serving

EOS = "$"


@dataclass(frozen=True)
class Judge:
    """A reward model that is served, and the same model here."""

    url: str
    here: PreTrainedModel
    folder: Path


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    folder: Path = tmp_path_factory.mktemp("judge")
    model = tiny.judge(folder)
    with serving(str(folder), is_embedding="true") as server:
        yield Judge(server.url, model, folder)


@pytest.fixture(scope="module")
def served(judge: Judge) -> Iterator[RewardModel]:
    model = connect(f"reward:{judge.url}")
    assert isinstance(model, RewardModel) and isinstance(model, Rater)
    yield model
    run(model.close())


def rewarded(judge: Judge, ids: Sequence[int]) -> float:
    with torch.no_grad():
        return float(judge.here(torch.tensor([list(ids)])).logits)


def test_a_server_rates_as_the_model_does(judge: Judge, served: RewardModel) -> None:
    texts = [[5], [7, 9, 11], list(range(20, 60)), served.conversation("2 + 2?", "It is 4.")]

    async def main() -> list[float]:
        return await asyncio.gather(*map(served.rate, texts))

    there, here = run(main()), [rewarded(judge, ids) for ids in texts]
    # The checkpoint's head has no bias, and the server draws one: only differences mean something.
    assert [a - there[0] for a in there] == pytest.approx([b - here[0] for b in here], abs=1e-3)
    assert max(here) - min(here) > 0.5


def test_a_conversation_is_in_the_template_of_the_reward_model(served: RewardModel) -> None:
    ids = served.conversation("2 + 2?", "It is 4.")
    assert served.decode(ids) == "user: 2 + 2?\nassistant: It is 4.\nassistant: "
    chat: Prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert served.decode(served.conversation(chat, "Hi.")).startswith("system: Be brief.\nuser: Hi")


def test_it_writes_nothing_and_says_so(served: RewardModel) -> None:
    info = served.info
    assert (info.token_ids, info.scores, info.context > 400) == (False, False, True)

    async def main() -> None:
        async for _ in served.generate([1], SamplingParams()):
            pass

    with pytest.raises(Unsupported, match=r"is a reward model: it rates text .* scorer=reward"):
        run(main())
    with pytest.raises(Unsupported, match="is a reward model"):
        run(served.score([1, 2], 1))


def test_what_the_server_refuses_is_an_error_with_its_words(served: RewardModel) -> None:
    with pytest.raises(BackendError, match="/classify answered 400"):
        run(served.rate([5] * 600))


def test_best_of_n_keeps_what_the_reward_model_likes_best(
    judge: Judge, served: RewardModel
) -> None:
    texts = [f"It is \\boxed{{{n}}}.{EOS}" for n in range(5)]
    left = iter(texts)
    policy = ScriptedBackend(lambda context, params: next(left))
    policy.info = replace(policy.info, ends=(ord(EOS),))
    models = {"policy": policy, "reward": served}
    question = question_of("Two and two?", policy.info, models)

    async def main() -> Result | None:
        method = BestOfN(n=5, scorer="reward")
        done = await solve(method, question.prompt, models, scorers=question.scorers)
        assert done.error is None
        return done.result

    result = run(main())
    sent = [served.conversation("Two and two?", text.removesuffix(EOS)) for text in texts]
    here = [rewarded(judge, ids) for ids in sent]
    best = max(range(5), key=here.__getitem__)
    assert result is not None
    assert (result.answer, result.thread) == (str(best), f"0.{best}")


def test_from_the_command_line(judge: Judge, tmp_path: Path) -> None:
    words = ["-b", countdown(), "-c", "best_of_n", "n=2", "sampling.max_tokens=12"]
    words += [f"backends.reward=reward:{judge.url}", "scorer=reward", "--json"]
    asked = reason("ask", "3 5 7 8 = 24", *words)
    assert (asked.exit_code, asked.stderr) == (1, ""), "random weights find no answer"
    out = tmp_path / "out"
    done = reason("eval", "countdown3", "limit=1", *words, "--out", str(out))
    assert done.stderr == ""
    config = json.loads((out / "config.json").read_text())
    assert config["backends"]["reward"]["model"] == str(judge.folder.resolve())
    tree = (out / "trees.jsonl").read_text()
    assert tree.count('"score"') == 2


def test_other_servers_and_labels_are_refused(judge: Judge, countdown_server: str) -> None:
    with pytest.raises(UsageError, match="which generates text and rates none"):
        connect(f"reward:{countdown_server}")
    with pytest.raises(UsageError, match=r"label must be in 0\.\.0 for .*, got 1"):
        connect(f"reward:{judge.url}?label=1")
    with pytest.raises(UsageError, match="which does not generate text"):
        connect(f"sglang:{judge.url}")
    with pytest.raises(BackendError, match=r"cannot reach http://127\.0\.0\.1:1"):
        connect("reward://127.0.0.1:1")


# What is sent, without a server


class Listening(ScriptedBackend):
    """Rates a text by its length, and keeps it."""

    def __init__(self) -> None:
        super().__init__(lambda context, params: "")
        self.sent: list[str] = []

    async def rate(self, ids: Sequence[int]) -> float:
        self.sent.append(self.decode(ids))
        return float(len(ids))

    def conversation(self, prompt: Prompt, answer: str) -> list[int]:
        return self.encode(f"{prompt} -> {answer}")


async def two_steps(engine: Engine, prompt: Prompt) -> Result:
    thread = engine.open(prompt)
    for _ in range(2):
        thread = engine.fork(thread)
        await engine.generate(thread, SamplingParams())
    return Result(None, thread.id, {"reward": await engine.rate(thread, None, "reward")})


def test_tokens_are_sent_where_they_mean_the_same_and_words_elsewhere() -> None:
    said = iter(["step ", "end$"] * 2)
    policy, rater = ScriptedBackend(lambda context, params: next(said)), Listening()
    policy.info = replace(policy.info, ends=(ord(EOS),))
    for tokenizer, sent in (("characters", "promptstep end$"), ("words", "Q -> step end")):
        rater.info = replace(rater.info, tokenizer=tokenizer)
        scorers = rewards("Q", {"policy": policy, "reward": rater})
        done = driven(two_steps, policy, prompt="prompt", scorers=scorers)
        assert done.result == Result(None, "0.0.0", {"reward": len(sent)})
        assert rater.sent.pop() == sent


def test_a_reward_model_cannot_take_the_name_of_a_scorer() -> None:
    with pytest.raises(UsageError, match=r"backends\.verifier is no role for a reward model"):
        rewards("Q", {"verifier": Listening()})
