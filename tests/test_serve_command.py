"""`reason serve` as a command: what it takes, what it says, and its figures for Prometheus."""

import asyncio
import json
import signal
from typing import Any
from urllib.request import Request, urlopen

import pytest

from reason.backends.scripted import ScriptedBackend
from reason.ledger import Budget
from tests.console import reason, tiny
from tests.served import hosting, service, serving_command
from tests.test_serve_refusals import CHAT, posted
from tests.test_serve_soak import figures


@pytest.mark.parametrize(
    "words, message",
    [
        (["-c", "best"], "no controller is called 'best'; there is: apr, "),
        (["-c", "apr", "n=3"], "unknown key n"),
        (["methods.pdr.width2=3"], "unknown key width2 (did you mean width?)"),
        (["methods.none.width=3"], "no controller is called 'none'"),
        (["budget.tokens=3"], "unknown key budget.tokens"),
        (["budget=3"], "budget has keys of its own: give budget.KEY=VALUE, not '3'"),
        (["--port", "70000"], "port must be in 0..65535, got 70000"),
        (["--threads", "0"], "threads must be more than 0, got 0"),
        (["--api-keys", "/nowhere/keys"], "cannot read the keys in /nowhere/keys"),
        (["-b", tiny(), "--host", "203.0.113.1"], "cannot listen on 203.0.113.1:8000"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_served(words: list[str], message: str) -> None:
    result = reason("serve", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("reason:") == 1


def test_options_and_tables_become_limits_and_settings() -> None:
    held = service(
        ScriptedBackend(lambda context, params: ""),
        threads=5,
        total_tokens="4k",
        seconds=9.0,
        budget={"threads": 3, "critical_path": "1k"},
        methods={"pdr": {"rounds": [2]}},
        controller="apr",
        width=2,
    )
    assert held.limits.budget == Budget(4000, 1000, threads=3, seconds=9.0)
    assert held.settings("pdr") == {"rounds": [2], "controller": "pdr"}
    assert held.settings(None) == held.settings("apr") == {"width": 2, "controller": "apr"}
    assert held.limits.allowed(Budget(), 3).threads == 1


def test_the_shipped_model_is_served_until_ctrl_c() -> None:
    with serving_command("mine", "-c", "apr", "width=4") as (url, process):
        chat = [{"role": "user", "content": "make 24 from 3 5 7 8"}]
        body = {"model": "mine", "messages": chat}
        with urlopen(Request(f"{url}/v1/chat/completions", json.dumps(body).encode())) as answer:
            said: dict[str, Any] = json.load(answer)
        assert said["choices"][0]["message"]["content"] == "7 * (8 - 5) + 3"
        assert said["usage"]["reason"]["threads"] == 5
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


async def test_figures_for_prometheus() -> None:
    held = service(ScriptedBackend(lambda context, params: "<think>a</think>bc"))
    async with hosting(held) as url:
        assert (await posted(url, CHAT))[0] == 200
        assert (await posted(url, {**CHAT, "model": "no"}))[0] == 404
        told = await asyncio.to_thread(figures, url)
    kept = {
        name: value
        for name, value in told.items()
        if not name.endswith("_created") and "_created{" not in name and "_seconds" not in name
    }
    assert kept == {
        'reason_requests_total{endpoint="chat",method="single",status="200"}': 1,
        'reason_requests_total{endpoint="chat",method="",status="404"}': 1,
        'reason_tokens_total{kind="prompt"}': 15,
        'reason_tokens_total{kind="cached"}': 0,
        'reason_tokens_total{kind="answer"}': 2,
        'reason_tokens_total{kind="reasoning"}': 16,
        "reason_threads_total": 1,
        "reason_requests_in_flight": 0,
        "reason_threads_writing": 0,
    }
    assert told['reason_time_to_first_token_seconds_count{method="single"}'] == 1
