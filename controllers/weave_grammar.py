"""ThreadWeaver's blocks as grammars that a backend can enforce while it samples.

EBNF as xgrammar reads it. A tag of the format cannot stand anywhere else, so that in text outside
no `<` or `</` is followed by P, O or T, however many of them stand in a row.
"""

import json

from controllers.grammar import ThreadFormat
from reason.types import Grammar

_TEXT = 'text ::= ([^<] | "<" ("<" | "/<")* ([^</POT] | "/" [^<POT]))*'


def outlining(form: ThreadFormat, most: int, ended: bool) -> Grammar:
    """A turn of the parent: text, then maybe a block of up to `most` outlines, numbered from 1; no
    block if that is 0.

    `ended`: whether it begins with the end of the block before.
    """
    before, between, after = form.outline
    begin = f"{_quoted(form.block_end)} " if ended else ""
    if not most:
        return Grammar("ebnf", f"root ::= {begin}text\n{_TEXT}")
    rules = [f"root ::= {begin}text block?", _TEXT]
    rules.append(f"block ::= {_quoted(form.block)} part1 {_quoted(form.outlines_end)}")
    for number in range(1, most + 1):
        further = f" part{number + 1}?" if number < most else ""
        head = _quoted(f"{before}{number}{between}")
        rules.append(f"part{number} ::= {head} [^<]+ {_quoted(after)}{further}")
    return Grammar("ebnf", "\n".join(rules))


def threading(form: ThreadFormat) -> Grammar:
    """A thread: text without a block in it, and its end."""
    return Grammar("ebnf", f"root ::= text {_quoted(form.thread_end)}\n{_TEXT}")


def _quoted(text: str) -> str:
    return json.dumps(text)
