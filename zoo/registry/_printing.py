"""What people read of a thing that somebody else named: short, on a line, and harmless to a terminal."""

from __future__ import annotations

import difflib
import html
import json
import numbers
import os
import unicodedata
from collections.abc import Iterable, Mapping


def printable(text: object) -> str:
    r"""A text as a terminal may show it, on one line: what steers a terminal, or turns the text around, is escaped.

    Names of columns, drugs and files are others' texts: they could clear the screen, or hide what stands before them.

    >>> printable("\x1b[2Jaspirin\n81 mg")
    '\\x1b[2Jaspirin\\n81 mg'
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in STEERING else _escaped(c) for c in text)


STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control, format (writing from right to left, no width), half of a character, separators."""


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class UserError(ValueError):
    """A mistake that the person at the keyboard can mend: says what is wrong, where, and how to mend it."""

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in super().__str__().split("\n"))


UserError.__module__ = "zoo.registry"  # a traceback names it by where it is imported from


LONGEST = 120
"""Of a value that is repeated in a message."""
PLAIN = (str, bytes, bool, numbers.Number, type(None), type, os.PathLike)


def shown(value: object) -> str:
    """A value as a message repeats it: like `repr`, but short, and never what a table or another object holds.

    >>> shown("gru"), shown([1, None]), shown(object()), len(shown("x" * 10_000)) < 200
    ("'gru'", '[1, None]', 'a value of type object', True)
    """
    try:
        text = repr(value) if _is_plain(value) else f"a value of type {type(value).__name__}"
    except Exception:  # integers of 5,000 digits, lists within lists within lists, and others' classes
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(part) for pair in list(value.items())[:LONGEST] for part in pair)
    if type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(part) for part in list(value)[:LONGEST])
    return isinstance(value, PLAIN)


def as_setting(value: object) -> str:
    """A value as ``--set`` takes it.

    >>> as_setting("adam"), as_setting(None), as_setting(0.5)
    ('adam', 'null', '0.5')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def called(thing: type, **parameters: object) -> str:
    """A thing as it would be called, such as ``Readmission(days=30)``.

    >>> from zoo.registry import Registry
    >>> called(Registry, noun="model")
    "Registry(noun='model')"
    """
    return printable(f"{thing.__name__}({', '.join(f'{n}={shown(v)}' for n, v in parameters.items())})")


def html_table(title: str, rows: Mapping[str, object], below: Iterable[str] = ()) -> str:
    """What a notebook shows of a thing: a title, a small table of names and values, and lines below."""
    left = "style='text-align:left'"
    cells = "".join(
        f"<tr><th {left}>{_html(name)}</th><td {left}>{_html(value)}</td></tr>" for name, value in rows.items()
    )
    lines = "<br>".join(_html(line) for line in below)
    return f"<div><strong>{_html(title)}</strong><table>{cells}</table><small>{lines}</small></div>"


def _html(text: object) -> str:
    return html.escape(printable(text))


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "sample"), counted(2_000, "sample")
    ('1 sample', '2000 samples')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are near to a name that is not known.

    >>> nearest("readmision", ["los", "readmission"])
    "did you mean 'readmission'? Known: los, readmission"
    """
    known = sorted(known)
    by_lower = {k.lower(): k for k in known}
    wanted = str(name).lower()
    alike = {c: difflib.SequenceMatcher(None, c, wanted).ratio() for c in by_lower}
    best = max(alike.values(), default=0.0)
    close = [by_lower[c] for c in sorted(alike, key=alike.get, reverse=True) if alike[c] >= max(0.5, best - 0.1)][:3]
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}"
