"""How the commands of a command line end: one line on stderr for a mistake, and an exit code."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from reason.errors import ReasonError, UsageError

MISTAKE, FAILED, STOPPED = 2, 1, 130


class Commands(TyperGroup):
    """A group whose commands return their exit code, or None for 0.

    A mistake of the user's is one line and exit code 2, another error raised on purpose one line
    and 1, Ctrl-C 130 and what was kept. A bug keeps its traceback.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name. Raises UsageError naming those that exist."""
        if cmd_name not in self.commands:
            known = ", ".join(self.commands)
            raise UsageError(f"no command is called {cmd_name!r}; there is: {known}")
        return self.commands[cmd_name]

    def invoke(self, ctx: Any) -> Any:
        """Run a command, whose own word on Ctrl-C goes first."""
        with stoppable(str):
            return super().invoke(ctx)

    def main(self, *args: Any, **extra: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # for terminals that lack our characters
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except Stopped as stop:
            code = _complain(f"stopped{stop}", STOPPED)
        except UsageError as error:
            code = _complain(str(error), MISTAKE)
        except ReasonError as error:
            code = _complain(str(error), FAILED)
        except Exception as error:
            # typer may keep a click of its own: know its errors by what they offer
            if not hasattr(error, "format_message") or not hasattr(error, "show"):
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                code = MISTAKE
            else:
                words = args[0] if args else extra.get("args") or sys.argv[1:]
                code = _complain(_message(error, words), MISTAKE)
        sys.exit(code if isinstance(code, int) else 0)


def group(help: str) -> typer.Typer:
    """A group of commands that end as `Commands` says."""
    return typer.Typer(
        cls=Commands,
        help=help,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


class Stopped(Exception):
    """Ctrl-C, and what is left of the work."""


@contextmanager
def stoppable(kept: Callable[[], str]) -> Iterator[None]:
    """While inside, Ctrl-C ends the command with a line that says what was kept."""
    try:
        yield
    except KeyboardInterrupt:
        said = kept()
        raise Stopped(f"; {said}" if said else "") from None


def _message(error: Any, words: Sequence[str]) -> str:
    """What typer says of a wrong option; of one that does not exist, what was probably meant."""
    if type(error).__name__ != "NoSuchOption":
        return str(error.format_message())
    name = error.option_name
    wrong = f"no option is called {name}"
    if error.ctx and hasattr(error.ctx.command, "commands"):
        return f"{wrong}; options stand after the command"
    if not name.startswith("--"):
        return f"{wrong}; a problem with a dash in it is put in quotes"
    if error.possibilities:
        wrong += f" (did you mean {error.possibilities[0]}?)"
    given = [*words, "VALUE"]
    at = next((i for i, word in enumerate(given) if word.partition("=")[0] == name), -2)
    value = given[at].partition("=")[2] or given[at + 1]
    key = name.removeprefix("--").replace("-", "_")
    return (
        f"{wrong}; fields of a method, its budget or a recipe are given as key=value: {key}={value}"
    )


def _complain(message: str, code: int) -> int:
    """One line; the lines of a log, which a colon at the end of that announces, stay lines."""
    first, _, log = message.partition(":\n")
    if log:
        message = f"{first}:"
    print("reason:", " ".join(message.split()), file=sys.stderr)
    if log:
        print(log, file=sys.stderr)
    return code
