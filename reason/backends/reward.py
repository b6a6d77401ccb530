"""A reward model that SGLang serves: it rates text, and writes none."""

from collections.abc import AsyncGenerator, Sequence
from math import isfinite

from reason.backends.base import Chunk, Info
from reason.backends.http import Server
from reason.backends.key import authorization
from reason.backends.tokenizer import Tokenizer, load_config, load_tokenizer
from reason.errors import BackendError, Unsupported, UsageError
from reason.types import Message, Prompt, SamplingParams, spoken

PROBE = "2 + 2 = 4"


class RewardModel:
    """A `Rater`, through `/classify` of a server with a head of scores in place of words.

    In the place of a `Backend`, so that it is connected, named and closed as one. Where a
    checkpoint's head has no bias, the server may draw one when it starts: rewards of one server
    can be compared with each other, not with those of another.
    """

    def __init__(
        self,
        url: str,
        *,
        tokenizer: str = "",
        label: int = 0,
        key_env: str = "",
        timeout: float = 300.0,
        patience: float = 60.0,
    ) -> None:
        """Greet the server at `url`; `label` says which of its scores is the reward.

        The other options are those of `SGLangBackend`. Raises BackendError if it cannot be
        reached, UsageError if it rates nothing.
        """
        self._server = Server(
            url, timeout=timeout, patience=patience, headers=authorization(key_env)
        )
        said = self._server.ask("/model_info")
        served = str(said["served_model_name"])
        if said["is_generation"]:
            raise UsageError(f"{url} serves {served}, which generates text and rates none")
        source = tokenizer or str(said["tokenizer_path"])
        try:
            self._tokenizer = Tokenizer(load_tokenizer(source), served)
        except UsageError as error:
            raise UsageError(f"{error}; say where it is: reward:{url}?tokenizer=PATH") from None
        self._label = label
        body = {"input_ids": self._tokenizer.ids(PROBE)}
        labels = len(self._server.ask("/classify", body)["embedding"])
        if not 0 <= label < labels:
            raise UsageError(f"label must be in 0..{labels - 1} for {served}, got {label}")
        settings = self._server.ask("/server_info")
        self._info = Info(
            model=served,
            tokenizer=source,
            context=int(settings["max_req_input_len"]),
            vocabulary=max(len(self._tokenizer), load_config(source).get("vocab_size") or 0),
            reproducible="never",
            token_ids=False,
            scores=False,
            fingerprint=f"{said['model_path']}@{said.get('weight_version')} label {label}",
        )

    @property
    def info(self) -> Info:
        return self._info

    async def rate(self, ids: Sequence[int]) -> float:
        """The reward of a text. Raises BackendError."""
        said = await self._server.post("/classify", {"input_ids": list(ids)})
        reward = float(said["embedding"][self._label])
        if not isfinite(reward):
            raise BackendError(f"{self.info.model} gave the reward {reward}, not a finite number")
        return reward

    def conversation(self, prompt: Prompt, answer: str) -> list[int]:
        """Token ids of a prompt that was answered, in the model's own template; without one, of
        the answer after the prompt."""
        said = spoken(prompt)
        asked = [Message(role="user", content=said)] if isinstance(said, str) else said
        turns = [*asked, Message(role="assistant", content=answer)]
        return self._tokenizer.conversation(turns)

    def encode(self, prompt: Prompt) -> list[int]:
        return self._tokenizer.encode(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        raise self._silent()
        yield  # what makes it a generator

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        raise self._silent()

    def _silent(self) -> Unsupported:
        return Unsupported(
            f"{self.info.model} is a reward model: it rates text and writes none; give it as "
            "backends.reward, and scorer=reward"
        )

    async def close(self) -> None:
        await self._server.close()
