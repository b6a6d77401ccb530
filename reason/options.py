"""A command's dataclass as its command line: every field is an option, a `key=value` word and a
key of the TOML file, all under the same name and stated once."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import typer

from reason.config import Values, given_twice
from reason.settings import command_of, gather, split_words

T = TypeVar("T")
Work = Callable[[T, Values], int]
"""What a command does with its own keys and with all that was given; the exit code."""


def option(default: Any, help: str, *flags: str, metavar: str | None = None) -> Any:
    """A field with what the command line says of it; `flags` beside `--its-name`."""
    if type(default) in (int, float):
        metavar = "N"
    return dataclasses.field(
        default=default, metadata={"help": help, "flags": flags, "metavar": metavar}
    )


def command(
    app: typer.Typer, name: str, schema: type[T], words: str, *, toml: bool = True, epilog: str = ""
) -> Callable[[Work[T]], Work[T]]:
    """Add a command whose options are the fields of `schema`.

    The first field is what is said in plain words, one by one if it is a tuple; a first word that
    ends in .toml is taken for `--config`, unless `toml` is false. `words` describes them in the
    help.
    """
    first, *others = dataclasses.fields(schema)  # type: ignore[arg-type]
    hints = get_type_hints(schema)
    annotations: dict[str, Any] = {
        "words": Annotated[list[str] | None, typer.Argument(metavar=words, hidden=True)],
        **{field.name: _annotation(field, hints[field.name]) for field in others},
    }
    if toml:
        file = typer.Option("--config", metavar="FILE", help="TOML file with any of these names")
        annotations["config"] = Annotated[list[Path] | None, file]

    def register(work: Work[T]) -> Work[T]:
        def run(**given: Any) -> int:
            said, settings = split_words(given.pop("words") or [])
            given = {name: _once(name, values) for name, values in given.items()}
            config = given.pop("config", None)
            if toml and config is None and said and said[0].endswith(".toml"):
                config = Path(said.pop(0))
            plain = said if get_origin(hints[first.name]) is tuple else " ".join(said)
            tables = gather(config, settings, {first.name: plain or None, **given})
            return work(command_of(schema, tables), tables)

        run.__doc__ = work.__doc__
        run.__annotations__ = annotations
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
                )
                for key, annotation in annotations.items()
            ]
        )
        app.command(name, epilog=epilog or None)(run)
        return work

    return register


def _once(name: str, given: Any) -> Any:
    """The one value of an option. Raises UsageError for two; a switch may be said again."""
    if not isinstance(given, list):
        return given
    if len(given) > 1:
        flag = f"--{name.replace('_', '-')}"
        raise given_twice(flag, *(f"{flag} {value}" for value in given[:2]))
    return given[0] if given else None


def _annotation(field: "dataclasses.Field[Any]", hint: Any) -> Any:
    flags = (f"--{field.name.replace('_', '-')}", *field.metadata["flags"])
    told = hint is not bool and field.default not in ("", None, ())
    help = field.metadata["help"] + (f" [{field.default}]" if told else "")
    # Read by reason.config as words and files are, whose errors are ours.
    kind: Any = bool if hint is bool else list[str]  # all that are given, to notice a second
    return Annotated[
        kind | None, typer.Option(*flags, help=help, metavar=field.metadata["metavar"])
    ]
