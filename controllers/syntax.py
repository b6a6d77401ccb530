"""The grammars there are, by name."""

from controllers.countdown import CountdownSyntax
from controllers.grammar import Syntax
from controllers.lookup import LookupSyntax
from controllers.plain import PlainSyntax
from controllers.tags import TagSyntax
from reason.errors import UsageError

SYNTAXES: dict[str, Syntax] = {
    "tags": TagSyntax(),
    "plain": PlainSyntax(),
    "countdown": CountdownSyntax(),
    "lookup": LookupSyntax(),
}


def syntax_of(name: str) -> Syntax:
    """The grammar of that name. Raises UsageError naming those that exist."""
    if name not in SYNTAXES:
        raise UsageError(f"no syntax is called {name!r}; there is: {', '.join(SYNTAXES)}")
    return SYNTAXES[name]
