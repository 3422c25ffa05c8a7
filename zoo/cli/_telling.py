"""What commands print."""

from __future__ import annotations

import sys

from zoo import registry


def tell(*texts: object, err: bool = False) -> None:
    """Print for people: names in others' tables cannot steer the terminal. JSON escapes them by itself."""
    for text in texts:
        print(*(registry.printable(line) for line in str(text).split("\n")), sep="\n", file=sys.stderr if err else None)


def tell_result(result, as_json: bool) -> None:
    """Print a `zoo.result.Result`, or what an evaluation found, for people or as one line of JSON."""
    if as_json:
        print(result.to_line())
    else:
        tell(result)
