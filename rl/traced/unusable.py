"""Why a chain or a run gives no example."""

from reason.errors import ReasonError


class Unusable(ReasonError):
    """What was read cannot be used. `reason` is one of few, to be counted; `detail` is for whoever
    looks at the row, and for the teacher when it is asked again."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
