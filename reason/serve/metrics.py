"""Figures for Prometheus."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reason.serve.job import Job

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAST = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SLOW = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        names = ("endpoint", "method", "status")
        self._requests = Counter(
            "reason_requests", "Requests answered, or given up by clients (499)", names,
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "reason_request_seconds", "From a request to its end", ("method",),
            buckets=SLOW, registry=registry,
        )  # fmt: skip
        self._ttft = Histogram(
            "reason_time_to_first_token_seconds", "From a request to its first token", ("method",),
            buckets=FAST, registry=registry,
        )  # fmt: skip
        self._tokens = Counter(
            "reason_tokens", "Tokens: prompt, cached of these, answer, reasoning", ("kind",),
            registry=registry,
        )  # fmt: skip
        self._threads = Counter("reason_threads", "Lines of reasoning", registry=registry)
        self._in_flight = Gauge("reason_requests_in_flight", "Requests at work", registry=registry)
        self._writing = Gauge("reason_threads_writing", "Threads being written", registry=registry)

    def answered(
        self, endpoint: str, method: str, status: int, seconds: float, ttft: float | None
    ) -> None:
        """A request is over; `method` is empty where it came to none."""
        self._requests.labels(endpoint, method, str(status)).inc()
        if method:
            self._seconds.labels(method).observe(seconds)
        if ttft is not None:
            self._ttft.labels(method).observe(ttft)

    def spent(self, jobs: Sequence[Job]) -> None:
        """What these runs cost, however they ended."""
        for job in jobs:
            if job.engine is None:
                continue
            ledger, answer = job.engine.ledger, job.transcript.answer_tokens
            for kind, count in (
                ("prompt", ledger.prompt_tokens),
                ("cached", ledger.cached_tokens),
                ("answer", answer),
                ("reasoning", ledger.total_tokens - answer),
            ):
                self._tokens.labels(kind).inc(count)
            self._threads.inc(ledger.threads)

    def text(self, running: Sequence[Job], in_flight: int) -> bytes:
        """All of them now."""
        self._in_flight.set(in_flight)
        self._writing.set(sum(len(job.outbox.writing) for job in running))
        return generate_latest(self.registry)
