from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gatewayd.cli.output import print_markdown, print_table

if TYPE_CHECKING:
    import pytest

COLUMNS = ("name", "value")
ROWS = [("first", "[bold]1[/bold] " + "x " * 50), ("second", "2")]


def pretend_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")  # no colours, and 80 columns
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_table_in_a_pipe_has_one_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name    value"
    assert lines[1].startswith("first   [bold]1[/bold] x x")
    assert lines[2] == "second  2"


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [])
    assert capsys.readouterr().out == "name  value\n"


def test_a_table_on_a_terminal_fits_and_takes_brackets_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_terminal(monkeypatch)
    print_table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("[bold]1[/bold]" in line for line in lines)


def test_markdown_is_rendered_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_terminal(monkeypatch)
    print_markdown("# Title\n\n`code`")
    shown = capsys.readouterr().out
    assert "#" not in shown
    assert "Title" in shown
