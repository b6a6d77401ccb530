"""The keys of `reason serve`."""

from dataclasses import dataclass
from pathlib import Path

from reason.errors import UsageError
from reason.keys import BACKEND
from reason.options import option

HOST = option("127.0.0.1", "Address to listen on; 0.0.0.0 for all", metavar="ADDRESS")
PORT = option(8000, "Port to listen on, 0 for a free one", "-p")
DEFAULT = option(
    "", "The method of the model's name alone [single, with nothing added]", "-c", metavar="NAME"
)
API_KEYS = option(
    None, "Keys that open it, one on a line; or REASON_API_KEYS, with commas", metavar="FILE"
)
REQUESTS = option(256, "How many requests at the same time; more get 429")
MOST_THREADS = option(1024, "Threads of one request, at most")
MOST_TOKENS = option(131072, "Sampled tokens of one request, at most")
MOST_SECONDS = option(600.0, "Seconds of one request, at most")
MOST_BYTES = option(1 << 20, "Bytes of one request, at most")


@dataclass(frozen=True)
class Serve:
    """Keys of `reason serve`, beside those of its method, of `methods.NAME` and of `budget`."""

    model: str = ""
    """What clients call the model, if not by its own name."""
    backend: str = BACKEND
    host: str = HOST
    port: int = PORT
    controller: str = DEFAULT
    api_keys: Path | None = API_KEYS
    requests: int = REQUESTS
    threads: int = MOST_THREADS
    total_tokens: int = MOST_TOKENS
    seconds: float = MOST_SECONDS
    body: int = MOST_BYTES

    def check(self) -> None:
        """Raises UsageError for a limit under which nothing could be served."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be in 0..65535, got {self.port}")
        for name in ("requests", "threads", "total_tokens", "seconds", "body"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be more than 0, got {getattr(self, name)}")
