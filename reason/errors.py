"""Errors this project raises on purpose.

* ReasonError
  - UsageError          a request that cannot be carried out as it stands: a wrong name, key,
                        value or file; the message says what would be right
  - BackendError        the model failed or refused; the thread closes with "error"
    + Unsupported       this backend cannot do what was asked; the message names those that can
  - TrainingError       a training run cannot go on
  - ThreadCancelled     somebody stopped this thread from outside
  - BudgetExceeded      a limit of the run's budget was reached; the run ends, with all it has

Anything else is a bug and is never caught. Of those, ThreadStateError is for methods: a verb was
used on a thread that is busy, or over.
"""

import asyncio

from reason.types import Finish


class ReasonError(Exception):
    """The base of every error raised on purpose."""


class UsageError(ReasonError):
    """The request cannot be carried out as it stands."""


class BackendError(ReasonError):
    """The model failed or refused."""


class Unsupported(BackendError):
    """This backend cannot do what was asked."""


class TrainingError(ReasonError):
    """A training run cannot go on."""


class ThreadCancelled(ReasonError):
    """Somebody stopped this thread from outside its method."""


class ThreadStateError(RuntimeError):
    """The thread is busy, or has ended: a bug of the method that asked for more."""


class BudgetExceeded(ReasonError):
    """A limit of the run's budget was reached. `limit` names the field of Budget."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


def finish_of(error: BaseException) -> Finish:
    """How a thread ends that is ended by this error."""
    if isinstance(error, BudgetExceeded):
        return "budget"
    if isinstance(error, ThreadCancelled | asyncio.CancelledError):
        return "cancelled"
    return "error"
