"""Token ids to text, a few at a time: streams of text, and stop strings found in them."""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_WINDOW = 24
_OVERLAP = 8
_RUN = 32
_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Decodes a growing list of ids; the pieces join to `decode(all ids)`.

    Only the last few ids are decoded again for each piece, so that the cost does not grow with the
    length. Characters whose bytes are incomplete are held back until they are whole, or until
    `last`.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._sent = 0

    def push(self, ids: Sequence[int], last: bool = False) -> str:
        """The text that `ids` add. With `last`, also what was held back."""
        self._window += ids
        if not self._window:
            return ""
        text = self._decode(self._window)
        end = len(text) if last else len(text) - _unfinished(text)
        new = text[self._sent : end]
        self._sent = max(self._sent, end)
        held = len(text) - self._sent
        if len(self._window) > _WINDOW and held < _OVERLAP // 2:
            self._window, rest = self._shorter()
            self._sent = len(rest) - held
        return new

    def _shorter(self) -> tuple[list[int], str]:
        """The end of the window and its text: joining spaces depend on what is to the left, and
        bytes on where their character began."""
        for overlap in range(_OVERLAP, 2 * _OVERLAP):
            window = self._window[-overlap:]
            text = self._decode(window)
            if not text.startswith(_REPLACEMENT):
                break
        return window, text


def _unfinished(text: str) -> int:
    """How many characters at the end may still change as bytes arrive."""
    held = len(text) - len(text.rstrip(_REPLACEMENT))
    # A long run is not a character in the making but bytes that never were UTF-8; only its last
    # character can still change then.
    return held if held <= _RUN else 3


class StopStrings:
    """Finds the first of some strings that the text of a growing list of ids completes."""

    def __init__(self, stop: Sequence[str], decode: Decode) -> None:
        self._stop = stop
        self._text = Detokenizer(decode)
        self._tail = ""
        self._keep = max(map(len, stop)) - 1

    def push(self, token: int) -> str | None:
        """The stop string that this token completes; the earliest to end, then the longest."""
        text = self._tail + self._text.push((token,))
        found = [
            (text.find(stop) + len(stop), -len(stop), stop) for stop in self._stop if stop in text
        ]
        self._tail = text[-self._keep :] if self._keep else ""
        return min(found)[2] if found else None


class StopWatch:
    """Finds stop strings in text that has been decoded already, and then where the ids end."""

    def __init__(self, stop: Sequence[str], decode: Decode) -> None:
        self._stop, self._decode = stop, decode
        self._keep = max(map(len, stop), default=1) - 1
        self._tail = ""

    def push(self, text: str, ids: Sequence[int]) -> tuple[int, str] | None:
        """How many of all `ids` the answer has and the stop string that ends it, if `text`, the
        newest piece, completes one."""
        seen = self._tail + text
        self._tail = seen[-self._keep :] if self._keep else ""
        if not any(stop in seen for stop in self._stop):
            return None
        strings = StopStrings(self._stop, self._decode)
        for place, id in enumerate(ids, 1):
            if (found := strings.push(id)) is not None:
                return place, found
        return None
