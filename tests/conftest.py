"""Servers and a browser that several test files share, one per configuration and run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import reported, tiny
from tests.browser import Browser, browsing
from tests.serving import COUNTDOWN, llama_cpp, serving

# Beside a server on the same cores, threads of one operation only wait for each other.
torch.set_num_threads(1)
# Where tests run in the background of a shell, they and what they start would not hear Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def countdown_server() -> Iterator[str]:
    """URL of a server of the model that ships with the package."""
    with serving(COUNTDOWN) as server:
        yield server.url


@pytest.fixture(scope="session")
def qwen3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of a random Qwen3 with a tokenizer of a few words."""
    folder: Path = tmp_path_factory.mktemp("qwen3")
    words = tiny.words(eos=True)
    model = tiny.model("qwen3", kv_heads=4, seed=1, eos_token_id=words.eos_token_id)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    with serving(str(folder)) as server:
        yield server.url


@pytest.fixture(scope="session")
def chatter_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of a chat model that says anything, and hardly ever ends."""
    folder: Path = tmp_path_factory.mktemp("general")
    tiny.general(folder)
    with serving(str(folder), max_total_tokens="60000") as server:
        yield server.url


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama.cpp's server of a random model of ASCII text, as a value of --backend."""
    folder: Path = tmp_path_factory.mktemp("llama_cpp")
    with llama_cpp(folder, tiny.letters(ascii=True)) as url:
        yield f"openai:{url}?tokenizer={folder}"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with browsing() as found:
        yield found


@pytest.fixture(scope="session")
def page() -> Path:
    """The page of a report on three methods."""
    return reported.page()
