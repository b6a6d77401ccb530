"""The first words with an SGLang server: what it serves, and whether that is what a run expects."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reason.backends.base import Info
from reason.backends.http import BUSY, HANDSHAKE, Refused, Server
from reason.backends.sglang_ape import wire
from reason.backends.tokenizer import Tokenizer, load_config, load_tokenizer
from reason.errors import BackendError, UsageError

TESTED = ("0.5.23",)
"""Versions of the server that the tests have run against."""
PROBE = "Make 24 from 3 5 7 8."
SAMPLED = 8
"""Tokens of which logprobs are compared: of one alone, they may be alike by chance."""


@dataclass(frozen=True)
class Greeted:
    """A server that answered."""

    info: Info
    tokenizer: Tokenizer
    incremental: bool
    """Whether an event holds what is new, instead of the whole answer so far."""
    grammars: bool
    """Whether it can constrain what is sampled."""
    priority: int
    """1 if higher priorities go first there, -1 if lower ones, 0 if it takes none."""
    parallel: bool
    """Whether it reads contexts side by side."""
    longest: int
    """Tokens that one request can have there, whatever their positions."""


def greet(server: Server, headers: Mapping[str, str], tokenizer: str, model: str) -> Greeted:
    """Ask a server, or a worker behind sglang-router, what it is; see `_greet`."""
    try:
        return _greet(server, headers, tokenizer, model)
    except KeyError as error:
        raise BackendError(
            f"{server.url} does not say its {error}; is it SGLang {' or '.join(TESTED)}?"
        ) from None


def _greet(server: Server, headers: Mapping[str, str], tokenizer: str, model: str) -> Greeted:
    """Ask a server, or a worker behind sglang-router, what it is.

    Raises BackendError if it cannot be reached or is no SGLang, UsageError if it serves another
    model than `model` or has another tokenizer. Warns of a version that was never tested, and of
    logprobs that are not the model's own.
    """
    url, worker = server.url, server
    said = server.ask("/model_info", optional=True)
    if said is None:  # a router does not say what its workers are
        worker = _behind(server, headers)
        said = worker.ask("/model_info")
    settings = worker.ask("/server_info")
    served = str(said["served_model_name"])
    if model and model not in (served, said["model_path"]):
        raise UsageError(f"{url} serves {served}, but this run expects {model}")
    if not said["is_generation"]:
        raise UsageError(f"{url} serves {served}, which does not generate text")
    if settings["version"] not in TESTED:
        _warn(f"{url} is SGLang {settings['version']}; tested with {', '.join(TESTED)}")
    source = tokenizer or str(said["tokenizer_path"])
    try:
        ours = Tokenizer(load_tokenizer(source), served)
    except UsageError as error:
        raise UsageError(f"{error}; say where it is: sglang:{url}?tokenizer=PATH") from None
    _compare(url, served, worker, source, ours)
    if not _own_logprobs(worker, ours):
        _warn(
            f"{url} returns logprobs after temperature, not the model's own: start it with "
            "SGLANG_RETURN_ORIGINAL_LOGPROB=1"
        )
    config = load_config(source)
    parallel = settings.get("radix_cache_backend") == wire.NAME
    context = longest = int(settings["max_req_input_len"])
    if parallel and settings.get("context_length"):  # may be more than the model has positions
        context = min(context, config.get("max_position_embeddings") or context)
    info = Info(
        model=served,
        tokenizer=source,
        context=context,
        vocabulary=max(len(ours), config.get("vocab_size") or 0),
        reproducible=_reproducible(settings),
        grammar=str(config.get("reason_grammar") or ""),
        tokens=ours.tokens,
        ends=ours.ends(config),
        fingerprint=f"{said['model_path']}@{said.get('weight_version')} {settings.get('dtype')}",
    )
    low_first = settings["schedule_low_priority_values_first"]
    priority = (-1 if low_first else 1) if settings["enable_priority_scheduling"] else 0
    return Greeted(
        info,
        ours,
        bool(settings["incremental_streaming_output"]),
        settings["grammar_backend"] != "none",
        priority,
        parallel,
        longest,
    )


def _behind(router: Server, headers: Mapping[str, str]) -> Server:
    found = router.ask("/workers", optional=True)
    if found is None:
        raise BackendError(f"{router.url} is neither an SGLang server nor an sglang-router")
    urls = [worker["url"] for worker in found["workers"] if worker["is_healthy"]]
    if not urls:
        raise BackendError(f"the router at {router.url} has no healthy worker")
    return Server(urls[0], timeout=HANDSHAKE, patience=0, headers=headers)


def _compare(url: str, served: str, worker: Server, source: str, ours: Tokenizer) -> None:
    """Refuse a tokenizer that reads a probe otherwise than the server does."""
    theirs = worker.ask("/tokenize", {"prompt": PROBE, "add_special_tokens": False})["tokens"]
    here = ours.ids(PROBE)
    if theirs != here:
        raise UsageError(
            f"the tokenizer {source} is not that of {url}, which serves {served}: {PROBE!r} is "
            f"{here[:8]}… here, {theirs[:8]}… there"
        )


def _own_logprobs(worker: Server, tokenizer: Tokenizer) -> bool:
    """Whether the logprobs of tokens sampled hot are those which scoring them gives.

    Raises BackendError of a server that tells none.
    """
    ids = tokenizer.ids(PROBE)

    def ask(more: list[int], tokens: int) -> Any:
        sampling = {"temperature": 2.0, "max_new_tokens": tokens, "ignore_eos": True}
        body = {"input_ids": [*ids, *more], "sampling_params": sampling, "return_logprob": True}
        return worker.ask("/generate", {**body, "logprob_start_len": len(ids) - 1})["meta_info"]

    try:
        sampled = ask([], SAMPLED).get("output_token_logprobs") or []
        tokens = [of[1] for of in sampled]
        scored = ask(tokens, 0).get("input_token_logprobs") or [] if tokens else []
    except BackendError as error:
        if isinstance(error, Refused) and error.status not in BUSY:
            raise
        return True  # too busy to be asked
    if not (sampled and len(scored) >= len(sampled)):
        raise BackendError(f"{worker.url} returns no log-probabilities, which every method needs")
    pairs = zip(sampled, scored[-len(sampled) :], strict=True)
    return all(abs(one[0] - other[0]) < 0.1 for one, other in pairs)


def _reproducible(settings: Mapping[str, Any]) -> Literal["always", "greedy", "never"]:
    if settings["enable_deterministic_inference"]:
        return "always"
    return "greedy" if settings["attention_backend"] == "torch_native" else "never"


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)
