"""Reading one configuration file, TOML or YAML, into plain values with known lines."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from gatewayd.config.lines import toml_lines
from gatewayd.config.places import Source
from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Largest configuration file; ten thousand routes take about one."""
MAX_DEPTH = 64
"""Deepest nesting of values; no setting needs a tenth of it."""

_YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_TOML_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its values as they stand there, and where each of them stands."""

    path: Path
    values: dict[str, Any]
    source: Source


def read_document(path: Path) -> Document:
    """Read a file; ``.yaml`` and ``.yml`` are YAML, everything else is TOML.

    Raises:
        ConfigError: it cannot be read, is too large or too deep, or is not what it should be.

    """
    text = _text(path)
    name = str(path)
    if path.suffix in _YAML_SUFFIXES:
        from gatewayd.config.yaml_form import read_yaml  # here: few have such files

        values, lines = read_yaml(text, name, max_depth=MAX_DEPTH)
        source = Source(name, find_lines=lambda: lines)
    else:
        values = _toml(text, name)
        source = Source(name, find_lines=lambda: toml_lines(text))
    if depth_of(values) > MAX_DEPTH:
        raise ConfigError(ConfigIssue("nested too deep", file=name))
    return Document(path, values, source)


def is_file(path: Path) -> bool:
    """Whether there is such a file; raises :class:`OSError` where that cannot be known.

    :meth:`pathlib.Path.is_file` says no then, from Python 3.14 on.
    """
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # of a zero byte
        return False


def read_bounded(path: Path, limit: int, *, pipes: bool = False) -> bytes:
    """Read a file of at most ``limit`` bytes.

    Args:
        path: The file.
        limit: Most bytes.
        pipes: Whether it may be a pipe or a device, which is waited for as long as it takes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, or is no regular file.

    """
    # Where pipes are refused, without waiting for who writes to it before it is seen to be one.
    with path.open("rb") if pipes else open(path, "rb", opener=_open_at_once) as file:
        if not pipes and not S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"larger than {limit} bytes")
    return data


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _text(path: Path) -> str:
    name = str(path)
    try:
        # The first file may come from another program; those that are included are regular files.
        data = read_bounded(path, MAX_FILE_BYTES, pipes=True)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(ConfigIssue(message, file=name)) from error
    except ValueError as error:
        raise ConfigError(ConfigIssue(str(error), file=name)) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(ConfigIssue("not UTF-8", file=name, line=line)) from error


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _TOML_PLACE.search(message)
        line = text.count("\n") + 1 if place is None or not place["line"] else int(place["line"])
        issue = ConfigIssue(f"not TOML: {_TOML_PLACE.sub('', message)}", file=name, line=line)
        raise ConfigError(issue) from error
    except RecursionError as error:
        raise ConfigError(ConfigIssue("nested too deep", file=name)) from error


def depth_of(value: object) -> int:
    """Return how deep values are nested, no further than just beyond :data:`MAX_DEPTH`."""
    depth = 0
    layer = [value]
    while layer and depth <= MAX_DEPTH:
        depth += 1
        layer = [child for parent in layer for child in _children(parent)]
    return depth


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
