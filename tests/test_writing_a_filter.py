"""docs/writing-a-filter.md: what stands there works."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Filter, Response
from gatewayd.testing import Recorder, contract, in_memory
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (REPOSITORY / "docs" / "writing-a-filter.md").read_text()
BLOCKS = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
TWO_FILTERS = """
pipeline.filters = ["route_match", "tenant", "capitals", "balancer", "upstream"]
services.shop.instances = [{ url = "http://127.0.0.1:9101" }]
routes = [{ name = "shop", service = "shop" }]
"""
FILTERS = {"stopwatch": "Stopwatch", "tenant": "Tenant", "capitals": "Capitals"}


def load(folder: Path, module: str) -> type[Filter[Any]]:
    """Import a block of the page, and return its filter."""
    path = folder / f"{module}.py"
    path.write_text(BLOCKS[path.name])
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    plugin: type[Filter[Any]] = getattr(loaded, FILTERS[module])
    return plugin


@pytest.fixture
def filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, type[Filter[Any]]]:
    for module in FILTERS:
        monkeypatch.setitem(sys.modules, module, sys)  # is removed again after the test
    return {module: load(tmp_path, module) for module in FILTERS}


def test_every_block_is_named() -> None:
    assert len(BLOCKS) == PAGE.count("```") // 2


@pytest.mark.parametrize("name", FILTERS)
async def test_filters_keep_the_contract(name: str, filters: dict[str, type[Filter[Any]]]) -> None:
    await contract(filters[name])


async def test_the_configuration_does_what_the_page_says(
    filters: dict[str, type[Filter[Any]]],
) -> None:
    async with in_memory(BLOCKS["gateway.toml"], filters=[filters["stopwatch"]]) as gateway:
        shop = await gateway.send("GET", "/cart")
        images = await gateway.send("GET", "/images/1")
    assert shop.headers.get("Server-Timing") == "shop;dur=0.0"
    assert "Server-Timing" not in images.headers


async def test_other_filters_run_in_a_pipeline(filters: dict[str, type[Filter[Any]]]) -> None:
    upstream = Recorder(Response(200, body=b"hello"))
    plugins = [filters["tenant"], filters["capitals"]]
    async with in_memory(TWO_FILTERS, upstream=upstream, filters=plugins) as gateway:
        named = await gateway.send("GET", "/", headers={"X-Tenant": "blue"})
        nameless = await gateway.send("GET", "/")
    assert (named.status, named.body) == (200, b"HELLO")
    assert nameless.status == 400
    assert len(upstream.exchanges) == 1


def test_its_test_passes(tmp_path: Path) -> None:
    for name in ("stopwatch.py", "test_stopwatch.py", "pyproject.toml"):
        (tmp_path / name).write_text(BLOCKS[name])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_what_its_test_needs_is_in_a_group() -> None:
    group = tomllib.loads(BLOCKS["pyproject.toml"])["dependency-groups"]["test"]
    assert group == ["pytest", "pytest-asyncio"]


def test_the_entry_point_names_the_filter() -> None:
    project = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    ((name, value),) = project["entry-points"]["gatewayd.filters"].items()
    module, _, attribute = value.partition(":")
    classes = [node.name for node in ast.walk(ast.parse(BLOCKS[f"{module}.py"]))
               if isinstance(node, ast.ClassDef)]  # fmt: skip
    assert attribute in classes
    assert name == module
