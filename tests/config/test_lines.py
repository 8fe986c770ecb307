"""Every key path that tomllib yields has the line on which it stands."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.lines import toml_lines

if TYPE_CHECKING:
    from gatewayd.config.places import KeyPath

CONFIGURATIONS = sorted((Path(__file__).parents[2] / "conf").rglob("*.toml"))

TABLE: list[tuple[str, str, dict[KeyPath, int]]] = [
    ("plain keys", "a = 1\n\n# comment\nb = 2", {("a",): 1, ("b",): 4}),
    ("tables", "[a]\nb = 1\n[c]\nd = 1", {("a",): 1, ("a", "b"): 2, ("c",): 3, ("c", "d"): 4}),
    ("dotted header", "[a.b]\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 2}),
    ("dotted key", "a . b.c = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1}),
    ("quoted keys", "\"a.b\".'c\"' = 1", {("a.b",): 1, ("a.b", 'c"'): 1}),
    ("escaped key", '"a\\u0062" = 1', {("ab",): 1}),
    ("empty key", '"" = 1', {("",): 1}),
    ("array", "a = [1,\n 2, # two\n\n 3,\n]", {("a",): 1, ("a", 0): 1, ("a", 1): 2, ("a", 2): 4}),
    ("empty array", "a = [ # none\n]\nb = []", {("a",): 1, ("b",): 3}),
    ("nested array", "a = [[1],\n[2]]", {("a", 0, 0): 1, ("a", 1): 2, ("a", 1, 0): 2}),
    ("inline table", "a = { b = 1, c.d = [{ e = 1 }] }",
     {("a", "b"): 1, ("a", "c", "d", 0, "e"): 1}),
    ("inline tables in an array", "a = [\n{ b = 1 },\n{ b = 2 }]",
     {("a", 0, "b"): 2, ("a", 1, "b"): 3}),
    ("arrays of tables", "[[a]]\nb = 1\n[[a]]\nb = 2",
     {("a", 0, "b"): 2, ("a", 1): 3, ("a", 1, "b"): 4}),
    ("table below an array", "[[a]]\n[[a]]\n[a.b]\nc = 1",
     {("a", 1, "b"): 3, ("a", 1, "b", "c"): 4}),
    ("arrays in arrays", "[[a]]\n[[a.b]]\n[[a.b]]\n[[a]]\n[[a.b]]",
     {("a", 0, "b", 1): 3, ("a", 1): 4, ("a", 1, "b", 0): 5}),
    ("multi-line strings", 'a = """\n[x]\ny = 1"""\nb = \'\'\'\n"""\'\'\'\nc = 1',
     {("a",): 1, ("b",): 4, ("c",): 6}),
    ("quotes at the end of a string",
     'a = """x"""""\nb = \'\'\'y\'\'\'\'\nc = 1', {("b",): 2, ("c",): 3}),
    ("escaped quotes", 'a = "\\"]"\nb = """\\"""\n"""\nc = 1', {("b",): 2, ("c",): 4}),
    ("brackets in strings", "a = ['[', \"}\", '#']\nb = 1", {("a", 2): 1, ("b",): 2}),
    ("times", "a = [1979-05-27 07:32:00,\n07:32:00]\nb = 1", {("a", 1): 2, ("b",): 3}),
    ("carriage returns", "a = 1\r\n[b]\r\nc = '''\r\n'''\r\nd = 2\r\n", {("b",): 2, ("b", "d"): 5}),
    ("a table twice", "[a.b]\n[a]\nc = 1", {("a",): 1, ("a", "c"): 3}),
]  # fmt: skip


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    below: set[KeyPath] = {path} if path else set()
    if isinstance(value, dict):
        below |= {found for key in value for found in paths_of(value[key], (*path, key))}
    if isinstance(value, list):
        below |= {found for i, item in enumerate(value) for found in paths_of(item, (*path, i))}
    return below


@pytest.mark.parametrize(
    ("text", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_lines_of_keys(text: str, expected: dict[KeyPath, int]) -> None:
    lines = toml_lines(text)
    assert {path: lines.get(path) for path in expected} == expected


@pytest.mark.parametrize("text", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])
def test_finds_the_paths_that_tomllib_finds_and_no_others(text: str) -> None:
    assert set(toml_lines(text)) == paths_of(tomllib.loads(text))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_finds_every_path_of_our_own_files(path: Path) -> None:
    text = path.read_text("utf-8")
    assert set(toml_lines(text)) == paths_of(tomllib.loads(text))


def test_what_is_not_toml_is_not_scanned_for_ever() -> None:
    with pytest.raises(ValueError, match="not TOML at offset 0"):
        toml_lines("= 1")


# Any text in every kind of string and comment: what could be mistaken for structure is in them.
_TEXT = st.text(alphabet="ab[]{}=,.#\"'\\ \n\té", max_size=12)
_KEYS = st.one_of(st.sampled_from(["a", "b", "c-d", "1"]), _TEXT.map(lambda text: text[:4]))


def _basic(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("\t", "\\t") + '"'


def _multi_line(text: str) -> str:
    return '"""' + text.replace("\\", "\\\\").replace('"""', '""\\"').removesuffix('"') + '"""'


def _scalar(text: str) -> str:
    return _multi_line(text) if len(text) % 2 else _basic(text)


_VALUES = st.recursive(
    st.one_of(_TEXT.map(_scalar), st.sampled_from(["1", "true", "1.5", "2024-01-01 10:00:00"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # ]\n" + ",\n".join(items) + "\n]"),
        st.dictionaries(_KEYS, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{_basic(k)} = {v}" for k, v in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)
_TABLES = st.dictionaries(_KEYS, _VALUES, max_size=4).map(
    lambda table: "".join(f"{_basic(key)} = {value} # x = [\n" for key, value in table.items())
)


@settings(max_examples=150, deadline=None)
@given(first=_TABLES, others=st.lists(st.tuples(_KEYS, st.booleans(), _TABLES), max_size=4))
def test_finds_every_path_of_any_document(first: str, others: list[tuple[str, bool, str]]) -> None:
    text = first
    for index, (key, is_array, table) in enumerate(others):
        # An array of tables may come again; a table may not, so it has the index in its name.
        header = _basic(f"array {key}") if is_array else _basic(f"table {index} {key}")
        text += f"[[{header}]]\n{table}" if is_array else f"[{header}]\n{table}"
    lines = toml_lines(text)
    assert set(lines) == paths_of(tomllib.loads(text))
    shown = text.split("\n")
    keys = [(line, _basic(path[-1])) for path, line in lines.items() if isinstance(path[-1], str)]
    assert [(line, key) for line, key in keys if key not in shown[line - 1]] == []
