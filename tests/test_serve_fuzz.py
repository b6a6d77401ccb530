"""The server against its own description: nothing that is sent to it makes it fail."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from controllers.methods import METHODS, method_named
from reason.backends.scripted import ScriptedBackend
from reason.knobs import knobs_of
from reason.serve.document import document
from reason.types import SamplingParams
from tests.served import hosting_apart, service

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
MODELS = ["scripted", *(f"scripted+{name}" for name in METHODS), *METHODS]
DESCRIBED = document(MODELS)
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
OPERATIONS = [
    (path, method)
    for path, item in DESCRIBED["paths"].items()
    for method in item
    if method in ("get", "post")
]


def script(context: str, params: SamplingParams) -> str:
    return "so it is \\boxed{4}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    held = service(ScriptedBackend(script), seconds=5.0, threads=8, total_tokens=4000)
    with hosting_apart(held) as found:
        yield found
    assert (held.runs, held.limits.in_flight) == ({}, 0)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["8", "4k", "1e9", "inf", "nan", "@/etc/passwd", "[1,2]", "apr", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def knobs(draw: st.DrawFn) -> dict[str, Any]:
    """A method, with one or two of its keys set to anything at all."""
    name = draw(st.sampled_from(list(METHODS)))
    keys = [knob.key for knob in knobs_of(method_named(name))]
    found: dict[str, Any] = {"controller": name}
    for key in draw(st.lists(st.sampled_from([*keys, "budget.threads", "events"]), max_size=2)):
        *path, last = key.split(".")
        table = found
        for each in path:
            below = table.setdefault(each, {})
            table = below if isinstance(below, dict) else {}
        table[last] = draw(VALUES)
    return found


@given(own=knobs(), stream=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_knob_makes_it_fail(url: str, own: dict[str, Any], stream: bool) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "2+2?"}]}
    request = Request(
        f"{url}/v1/chat/completions", json.dumps({**body, "stream": stream, "reason": own}).encode()
    )
    try:
        with urlopen(request, timeout=30) as answer:
            said = answer.read()
            assert b"internal_error" not in said
    except HTTPError as error:
        assert error.code == 400, error.read()


def test_it_describes_itself(url: str) -> None:
    with urlopen(f"{url}/openapi.json", timeout=10) as answer:
        assert json.load(answer) == json.loads(json.dumps(DESCRIBED))


@pytest.mark.parametrize(
    "path, asked",
    [
        ("/v1/completions", {"prompt": "2+2?"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "2+2?"}]}),
    ],
)
def test_a_stream_is_what_it_describes(url: str, path: str, asked: dict[str, Any]) -> None:
    body = {"model": "scripted+single", "stream": True, **asked}
    response = SCHEMA[path]["post"].Case(body=body, media_type="application/json").call(url)
    assert response.headers["content-type"][0].startswith("text/event-stream")
    assert response.content.endswith(b"data: [DONE]\n\n")
    SCHEMA[path]["post"].Case(body=body).validate_response(response, checks=CHECKS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path, method", OPERATIONS)
def test_nothing_makes_it_fail(url: str, path: str, method: str, mode: Any) -> None:
    if mode is GenerationMode.NEGATIVE and method == "get":
        return  # there is nothing to get wrong

    @given(case=SCHEMA[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        response = case.call(base_url=url)
        case.validate_response(response, checks=CHECKS)

    ask()
