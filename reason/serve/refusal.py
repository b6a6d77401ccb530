"""What OpenAI's API has and this server does not: refused with a word on what to do instead."""

from typing import Any

from reason.serve.fault import Fault
from reason.serve.request import ChatRequest, CompletionRequest

NEUTRAL: dict[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), "methods call no tools; leave tools out"),
    "tool_choice": (("none", "auto"), "methods call no tools; leave tool_choice out"),
    "functions": (([],), "methods call no functions; leave functions out"),
    "function_call": (("none", "auto"), "methods call no functions; leave function_call out"),
    "presence_penalty": ((0,), "there are no penalties; leave presence_penalty out, or give 0"),
    "frequency_penalty": ((0,), "there are no penalties; leave frequency_penalty out, or give 0"),
    "logit_bias": (({},), "tokens have no bias; leave logit_bias out"),
    "top_logprobs": (
        (0,),
        "only the sampled token's log-probability is known; leave top_logprobs out, or give 0",
    ),
    "store": ((False,), "nothing is stored; leave store out, or give false"),
    "service_tier": (("auto", "default"), "there is one tier; leave service_tier out"),
    "modalities": ((["text"],), 'answers are text; leave modalities out, or give ["text"]'),
    "reasoning_effort": (
        (),
        "how much is thought is the method's matter: choose one by model=MODEL+METHOD, and its "
        "knobs and budget by the field `reason`",
    ),
    "verbosity": (("medium",), "there is no verbosity; leave it out, or ask for it in words"),
    "prediction": ((), "predictions are not used; leave prediction out"),
    "audio": ((), "answers are text; leave audio out"),
    "web_search_options": ((), "nothing is searched; leave web_search_options out"),
    "echo": ((False,), "the prompt is not repeated; leave echo out, or give false"),
    "suffix": (("",), "nothing can be written between two texts; leave suffix out"),
    "best_of": ((1,), "best_of has a method of its own: model=MODEL+best_of_n"),
}
"""Values that ask for nothing, beside null, and what to say of any other."""


def check_fields(request: ChatRequest | CompletionRequest) -> None:
    """Raise Fault for the first field that asks for what cannot be done."""
    for name, (neutral, why) in NEUTRAL.items():
        value = getattr(request, name, None)
        if value is not None and not any(value == each for each in neutral):
            raise Fault(400, f"{name} is not supported: {why}", param=name, code="unsupported")
    if request.stream_options is not None and not request.stream:
        raise Fault(400, "stream_options is for stream=true only", param="stream_options")
    if isinstance(request, CompletionRequest):
        if request.logprobs:
            why = "only the sampled token's log-probability is known; give logprobs=0"
            raise Fault(
                400, f"logprobs={request.logprobs} is not supported: {why}", param="logprobs"
            )
    elif request.top_logprobs is not None and not request.logprobs:
        raise Fault(400, "top_logprobs is for logprobs=true only", param="top_logprobs")
