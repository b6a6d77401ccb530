"""The first words with a server of `/v1/completions`: what it serves, and how it tells ids."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from reason.backends.base import Info
from reason.backends.http import Refused, Server
from reason.backends.openai_wire import PROBING, Dialect, Event, dialect_of
from reason.backends.sglang_handshake import PROBE
from reason.backends.tokenizer import Tokenizer, load_config, load_tokenizer
from reason.errors import BackendError, UsageError

IDS = range(10, 18)
"""Any that every vocabulary has."""
TOKENS = 8
"""Of an answer to a probe: several, since of some tokens a model is sure at every temperature."""
Answer = list[tuple[int, float | None]]
"""Ids and logprobs."""
CHAT = "for methods that continue no thread, add chat=1"
"""What is left where a server does not do with token ids."""


class NoCompletions(BackendError):
    """The server has no `/completions` for this model."""


@dataclass(frozen=True)
class Greeted:
    """A server that answered."""

    info: Info
    tokenizer: Tokenizer
    dialect: Dialect
    scoring: Mapping[str, Any]
    """The fields of a request that scores its prompt."""


def served(server: Server, model: str) -> dict[str, Any]:
    """What the server lists of the model: "id", and more at some. Without a name, its only one.

    Raises UsageError if there is no such model, or no telling which.
    """
    said = server.ask("/models", optional=True)
    cards = [card for card in (said or {}).get("data") or [] if card.get("id")]
    for card in cards:
        if model in (card["id"], card.get("root")) or (not model and len(cards) == 1):
            return dict(card)
    names = ", ".join(card["id"] for card in cards[:8]) + (", …" if len(cards) > 8 else "")
    if said is None and not model:
        raise UsageError(f"{server.url} has no /models; should its path end in /v1?")
    if not model:
        which = names or "it lists none"
        raise UsageError(f"which model of {server.url}? {which}; give model=NAME")
    if cards:
        raise UsageError(f"{server.url} serves {names}, but this run expects {model}")
    return {"id": model}


def greet(
    server: Server, headers: Mapping[str, str], model: str, tokenizer: str, context: int
) -> Greeted:
    """Ask a server what it is and, with a few requests for a token, what it can.

    Raises BackendError if it cannot be reached, NoCompletions if it only chats, UsageError if it
    serves another model, has another tokenizer or tells no ids. Warns of logprobs that are not the
    model's own.
    """
    url, card = server.url, served(server, model)
    name = str(card["id"])
    probe = {"model": name, "prompt": list(IDS), "max_tokens": TOKENS}
    dialect, greedy = _probed(server, probe)
    source = tokenizer or str(card.get("root") or name)
    try:
        ours = Tokenizer(load_tokenizer(source), name)
    except UsageError as error:
        raise UsageError(f"{error}; say where it is: openai:{url}?tokenizer=PATH") from None
    _compare(server, headers, source, ours)
    # No other token than the likeliest is left, and yet the request is not taken for a greedy one.
    hot = {**probe, **dialect.fields, "temperature": 2.0, "top_p": 0.001}
    if not _own_logprobs(server, hot, greedy):
        warnings.warn(
            f"{url} returns logprobs after temperature, not the model's own: start SGLang with "
            "SGLANG_RETURN_ORIGINAL_LOGPROB=1, vLLM with --logprobs-mode raw_logprobs",
            stacklevel=4,
        )
    scoring = {**dialect.fields, "logprobs": 1, "echo": True, "max_tokens": 1, "temperature": 0.0}
    config = load_config(source)
    meta = card.get("meta") or {}
    text = config.get("text_config") or config
    fits = card.get("max_model_len") or meta.get("n_ctx") or text.get("max_position_embeddings")
    context = context or int(fits or 0) - dialect.spare
    if context <= 0:
        raise UsageError(f"{url} does not say how many tokens fit in {name}: give context=NUMBER")
    info = Info(
        model=name,
        tokenizer=source,
        context=context,
        vocabulary=max(len(ours), text.get("vocab_size") or 0, meta.get("n_vocab") or 0),
        reproducible="never",
        grammar=str(config.get("reason_grammar") or ""),
        tokens=ours.tokens,
        ends=ours.ends(config),
        scores=_scores(server, {**probe, **scoring}),
    )
    return Greeted(info, ours, dialect, scoring)


def _probed(server: Server, probe: Mapping[str, Any]) -> tuple[Dialect, Answer]:
    """How the server tells ids, and its likeliest answer.

    Raises UsageError if it does not tell them, or does not read them.
    """
    refused = f"{server.url} works with text, not with token ids"
    rest = f"vLLM, SGLang and llama.cpp's server do with them; {CHAT}"
    try:
        said = server.ask("/completions", {**probe, **PROBING, "temperature": 0.0}, optional=True)
    except Refused as error:
        if error.status not in (400, 422):
            raise
        raise UsageError(f"{refused} ({error}); {rest}") from None
    if said is None:
        raise NoCompletions(f"{server.url} has no /completions for {probe['model']}; {CHAT}")
    dialect = dialect_of(said)
    if dialect is None:
        raise UsageError(f"{refused}: it tells none of what it sampled; {rest}")
    read, sent = (said.get("usage") or {}).get("prompt_tokens"), len(probe["prompt"])
    if read != sent:
        raise UsageError(f"{refused}: it read {read} tokens where {sent} were sent; {rest}")
    return dialect, _answer(said)


def _compare(server: Server, headers: Mapping[str, str], source: str, ours: Tokenizer) -> None:
    """Refuse a tokenizer that reads a probe otherwise than the server does, where it tells."""
    root = Server(server.url.removesuffix("/v1"), timeout=0, patience=0, headers=headers)
    asked = {"prompt": PROBE, "content": PROBE, "add_special_tokens": False, "add_special": False}
    try:
        theirs = (root.ask("/tokenize", asked, optional=True) or {}).get("tokens")
    except (BackendError, AttributeError):
        return
    here = ours.ids(PROBE)
    if theirs and theirs != here:
        raise UsageError(
            f"the tokenizer {source} is not that of {server.url}: {PROBE!r} is {here[:8]}… here, "
            f"{theirs[:8]}… there; say where that is: openai:{server.url}?tokenizer=PATH"
        )


def _own_logprobs(server: Server, body: Mapping[str, Any], greedy: Answer) -> bool:
    """Whether tokens of the likeliest answer have the same logprobs where they are sampled hot."""
    try:
        hot = _answer(server.ask("/completions", body))
    except BackendError:
        return True  # too busy to be asked
    for (here, ours), (there, theirs) in zip(hot, greedy, strict=False):
        if here != there or ours is None or theirs is None:
            break
        if abs(ours - theirs) > 0.1:
            return False
    return True


def _scores(server: Server, body: Mapping[str, Any]) -> bool:
    """Whether the logprobs of a prompt come back with its echo."""
    try:
        values = _values(server.ask("/completions", body))
    except (BackendError, msgspec.ValidationError):
        return False
    count = len(body["prompt"])
    return len(values) >= count and None not in values[1:count]


def _answer(answer: Mapping[str, Any]) -> Answer:
    event = msgspec.convert(answer, Event)
    return [pair for c in event.choices[:1] for pair in zip(c.ids or (), c.values, strict=False)]


def _values(answer: Mapping[str, Any]) -> list[float | None]:
    event = msgspec.convert(answer, Event)
    return event.choices[0].values if event.choices else []
