"""From a user's words to a backend.

countdown-apr, countdown-draft, lookup           a model that ships with the package
hf:PATH_OR_HUB_ID?dtype=bfloat16&device=cuda
sglang://host:port                               a server that runs; several, with commas
sglang://launch?model=PATH_OR_HUB_ID&tp=2        one that is started, and stopped at the end
reward://host:port                               a reward model on SGLang, for scorer=ROLE
openai://host:port/v1                            vLLM, llama.cpp, …: any that takes token ids
openai:https://host/v1?model=NAME&chat=1         a chat API without them
"""

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl, urlsplit

from reason.backends.base import Backend
from reason.backends.pool import Pool
from reason.config import convert, unknown_key
from reason.errors import UsageError
from reason.extras import extra

SHIPPED = "countdown-apr"
"""The model that is taken where none is named."""
MODELS = Path(__file__).parent.parent / "models"
"""Models that come with the package, by name."""
HIDDEN = ("name", "say", "server")
"""Parameters of backends that are not for users."""


Say = Callable[[str], object]
"""Is told what is being waited for."""


def connect(spec: str = "", say: Say = lambda line: None) -> Backend:
    """The backend that `spec` names: a model that ships with the package by its name alone, and
    without any name the one that everything here is shown with.

    Raises UsageError for what does not exist, naming what does.
    """
    named, _, asked = spec.partition("?")
    folder = MODELS / (named or SHIPPED)
    if re.fullmatch(r"[\w.-]*", named) and folder.is_dir():
        return _hf(str(folder), _options(spec, asked), say)
    if not spec:
        raise UsageError("no model ships with this copy; give one with --backend hf:PATH")
    scheme, colon, rest = spec.partition(":")
    if not colon or scheme not in _LOADERS:
        forms = ", ".join(f"{name}:{form}" for name, (_, form) in _LOADERS.items())
        ours = ", ".join(sorted(path.name for path in MODELS.iterdir() if path.is_dir()))
        raise UsageError(
            f"no backend is called {spec!r}; a backend is written {forms}, or is a model that "
            f"ships: {ours}"
        )
    place, _, query = rest.removeprefix("//").partition("?")
    load, form = _LOADERS[scheme]
    if not place:
        raise UsageError(f"{spec!r} names no model; a backend is written {scheme}:{form}")
    return load(place, _options(spec, query), say)


def _options(spec: str, query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise UsageError(
            f"the options of {spec!r} must read key=value&key=value, got {query!r}"
        ) from None


def _hf(place: str, options: dict[str, str], say: Say) -> Backend:
    say("loading the model")
    with extra("hf"):
        from reason.backends.context_store import default_folder
        from reason.backends.hf import HFBackend
    options = {"contexts": str(default_folder()), **options}
    return HFBackend.load(place, **_typed(options, HFBackend.load, HFBackend.__init__))


def _sglang(place: str, options: dict[str, str], say: Say) -> Backend:
    with extra("client"):
        from reason.backends.sglang import SGLangBackend
        from reason.backends.sglang_launch import LaunchedSGLang
    if place == "launch":
        if "model" not in options:
            raise UsageError("which model? sglang://launch?model=PATH_OR_HUB_ID")
        known = _hints(LaunchedSGLang.__init__, SGLangBackend.__init__)
        own = {name: value for name, value in options.items() if name in known}
        flags = {name: value for name, value in options.items() if name not in known}
        typed = _converted(own, known)
        return LaunchedSGLang(typed.pop("model"), say=say, server=flags, **typed)
    typed = _typed(options, SGLangBackend.__init__)
    say(f"connecting to {place}")
    urls = [_url(address.rstrip("/")) for address in place.split(",")]
    workers = [SGLangBackend(url, **typed) for url in urls]
    return workers[0] if len(workers) == 1 else Pool(workers)


def _reward(place: str, options: dict[str, str], say: Say) -> Backend:
    with extra("client"):
        from reason.backends.reward import RewardModel
    say(f"connecting to {place}")
    return RewardModel(_url(place.rstrip("/")), **_typed(options, RewardModel.__init__))


def _openai(place: str, options: dict[str, str], say: Say) -> Backend:
    with extra("client"):
        from reason.backends.openai import OpenAIBackend
        from reason.backends.openai_chat import ChatBackend
        from reason.backends.openai_handshake import NoCompletions
    known = {**_hints(OpenAIBackend.__init__), "chat": bool}
    unknown_key(options, known)
    typed = _converted(options, known)
    chat = typed.pop("chat", None)
    say(f"connecting to {place}")
    urls = [_api(address) for address in place.split(",")]
    if not chat:
        try:
            workers = [OpenAIBackend(url, **typed) for url in urls]
            return workers[0] if len(workers) == 1 else Pool(workers)
        except NoCompletions as error:
            if chat is not None:
                raise
            warnings.warn(f"{error}. It is used as a chat", stacklevel=2)
    if len(urls) > 1:
        raise UsageError(f"a chat API has one address, got {place}")
    if typed.pop("tokenizer", None):
        raise UsageError("a chat API takes no tokenizer: its threads are text")
    return ChatBackend(urls[0], **typed)


def _api(address: str) -> str:
    """The base of an OpenAI-compatible API, /v1 unless another path is given."""
    if not address.startswith(("http://", "https://")):
        host, slash, path = address.partition("/")
        address = _url(host) + slash + path
    return address if urlsplit(address).path.strip("/") else f"{address.rstrip('/')}/v1"


def _url(address: str) -> str:
    """http:// before what has no scheme; a port is not optional there."""
    if address.startswith(("http://", "https://")):
        return address
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()) or "://" in host:
        raise UsageError(f"a server is written host:port, or https://host/path, got {address!r}")
    return f"http://{address}"


_Loader = Callable[[str, dict[str, str], Say], Backend]
_LOADERS: dict[str, tuple[_Loader, str]] = {
    "hf": (_hf, "PATH_OR_HUB_ID"),
    "sglang": (_sglang, "//HOST:PORT"),
    "reward": (_reward, "//HOST:PORT"),
    "openai": (_openai, "//HOST:PORT/v1"),
}


def _typed(options: dict[str, str], *functions: Callable[..., Any]) -> dict[str, Any]:
    """The options as the keywords of these functions that they are."""
    hints = _hints(*functions)
    unknown_key(options, hints)
    return _converted(options, hints)


def _hints(*functions: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters that a user may name."""
    hints: dict[str, Any] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name not in HIDDEN:
                hints[name] = get_type_hints(function)[name]
    return hints


def _converted(options: dict[str, str], hints: dict[str, Any]) -> dict[str, Any]:
    return {name: convert(hints[name], value, name) for name, value in options.items()}
