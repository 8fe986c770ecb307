"""Printing: tables that fit the terminal, plain columns for pipes, JSON for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd.errors import ConfigIssue


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    sys.stdout.write(text.decode() + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their column names: wrapped on a terminal, else one line for each row."""
    if sys.stdout.isatty():
        _print_on_terminal(columns, rows)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _print_on_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # Imported here: it takes longer than what most commands do.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # What is printed comes from configurations: brackets in it are no markup.
    Console(markup=False, highlight=False, emoji=False).print(table)


def print_markdown(text: str) -> None:
    """Print Markdown: rendered on a terminal, else as it is."""
    if not sys.stdout.isatty():
        print(text.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def issue_json(issue: ConfigIssue) -> dict[str, str | int]:
    """Return an issue for :func:`print_json`."""
    return {name: getattr(issue, name) for name in ("file", "line", "key", "message", "hint")}
