"""What an answer cost, as OpenAI counts it, and as this project does."""

from collections.abc import Sequence
from typing import Any

from reason.serve.job import Job


def usage_of(jobs: Sequence[Job]) -> dict[str, Any]:
    """Of all choices together. `prompt_tokens` is every context that was sent, of which a cache
    answered `cached_tokens`; what is no part of an answer was reasoning."""
    runs = [job.run for job in jobs if job.run]
    prompt = sum(run.ledger.prompt_tokens for run in runs)
    sampled = sum(run.ledger.total_tokens for run in runs)
    answers = sum(job.transcript.answer_tokens for job in jobs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": sampled,
        "total_tokens": prompt + sampled,
        "prompt_tokens_details": {"cached_tokens": sum(run.ledger.cached_tokens for run in runs)},
        "completion_tokens_details": {"reasoning_tokens": sampled - answers},
        "reason": {
            "critical_path": max((run.tree.critical_path for run in runs), default=0),
            "longest_sequence": max((run.tree.longest_sequence for run in runs), default=0),
            "threads": sum(run.ledger.threads for run in runs),
            "peak_threads": sum(run.ledger.peak_threads for run in runs),
        },
    }
