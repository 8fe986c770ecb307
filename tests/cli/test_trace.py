"""gatewayd trace."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from gatewayd.cli import main
from gatewayd.signed_header import check_header

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a key of the operator"


def run(monkeypatch: pytest.MonkeyPatch, file: Path, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gatewayd", "trace", "header", "-c", str(file), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_prints_a_field_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'filters.tracing.force_key = "{KEY}"\n')
    assert run(monkeypatch, file, "--ttl", "60") == 0
    name, _, value = capsys.readouterr().out.strip().partition(": ")
    assert name == "X-Gatewayd-Trace"
    assert check_header(KEY.encode(), "trace", value.encode(), time.time())
    assert not check_header(KEY.encode(), "trace", value.encode(), time.time() + 61)


def test_without_a_key_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    assert run(monkeypatch, file) == 1
    assert "force_key" in capsys.readouterr().err
