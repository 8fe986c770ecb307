"""Every configuration that stands in the documentation can be used as it stands there.

`docs/writing-a-filter.md` has tests of its own, as its blocks belong together.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gatewayd.cli.inspection import compiled
from gatewayd.config.load import load
from gatewayd.config.schema import PipelineConfig
from tests.support.asking import on_this_machine
from tests.support.plugins import plugins_with
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = REPOSITORY / "plugins" / "gatewayd-example"
PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "plugins").glob("*/README.md")),
]
ELSEWHERE = {"writing-a-filter.md"}
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


class Block(NamedTuple):
    """A configuration in a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of TOML in a page."""
    text = page.read_text()
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[1])
        for found in re.finditer(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


BLOCKS = [block for page in PAGES if page.name not in ELSEWHERE for block in blocks_of(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
async def test_a_configuration_can_be_used(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(PLUGIN)
    maintenance = importlib.import_module("gatewayd_example.maintenance").Maintenance
    path = tmp_path / "gateway.toml"
    path.write_text(on_this_machine(block.text, tmp_path))
    async with compiled(load(path, environ={}, plugins=plugins_with(maintenance))) as generation:
        assert generation.loaded.config.pipeline.filters


def test_the_pipeline_with_another_filter_is_the_default_one() -> None:
    page = REPOSITORY / "docs" / "rate-limits.md"
    (names,) = (
        tomllib.loads(block.text)["pipeline"]["filters"]
        for block in blocks_of(page)
        if "[pipeline]" in block.text
    )
    default = PipelineConfig().filters
    assert [name for name in names if name != "concurrency_limit"] == default
    assert names.index("concurrency_limit") < names.index("retry")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_what_a_page_refers_to_is_there(page: Path) -> None:
    assert [to for to in LINK.findall(page.read_text()) if not (page.parent / to).exists()] == []


REFERENCE = (REPOSITORY / "docs" / "configuration.md").read_text()
WORDS = [
    word
    for row in re.findall(
        r"^\|(.*)\|$", (REPOSITORY / "docs/coming-from.md").read_text(), re.MULTILINE
    )[2:]
    for word in re.findall(r"`([^`]+)`", row.rpartition("|")[2])
]


@pytest.mark.parametrize("word", sorted(set(WORDS)))
def test_what_others_call_otherwise_is_called_so_here(word: str) -> None:
    if word.startswith("gatewayd "):
        command = [sys.executable, "-m", *word.split(), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return
    *_, key = word.split(".")
    forms = (f"`{word}`", f"| `{key}` |", f"`[filters.{key}]`")
    assert word == "filters.NAME" or any(form in REFERENCE for form in forms)
