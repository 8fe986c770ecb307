"""Where settings come from: the file and line, environment variable or flag behind each key.

A merged configuration is plain mappings and lists. Beside it stands one :class:`Origins`, which
knows for subtrees of it the :class:`Source` that they were taken from and the key path they had
there; everything below inherits. Lines are looked for only when somebody asks, which is when there
is an error: a correct configuration of ten thousand routes pays nothing for them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""The keys and indices that lead to a value: ``("routes", 2, "timeout")``."""


def dotted(path: KeyPath) -> str:
    """Return a key path as it is written in errors: ``routes[2].timeout``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Source:
    """One thing that settings come from: a file, an environment variable, the command line.

    Args:
        name: How errors call it, such as ``conf/gateway.toml``.
        line: Line of the whole where it is known; 0 where it has none.
        find_lines: Maps the key paths of a file to lines; called once, when a line is asked for.

    Attributes:
        secret: Key paths whose values must not be shown.
        broken: Key paths whose values could not be resolved; reported already.

    """

    def __init__(
        self, name: str, *, line: int = 0, find_lines: Callable[[], Mapping[KeyPath, int]] = dict
    ) -> None:
        self.name = name
        self.secret: set[KeyPath] = set()
        self.broken: set[KeyPath] = set()
        self._line = line
        self._find_lines = find_lines

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        return self._find_lines()

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return self._line

    def __getstate__(self) -> dict[str, object]:
        """Return what another process gets: the lines themselves, not what finds them."""
        return {**self.__dict__, "_find_lines": dict, "_lines": self._lines}

    def __repr__(self) -> str:
        return f"<source {self.name}>"


class Origins:
    """The sources of a merged configuration, by key path."""

    def __init__(self) -> None:
        self._origins: dict[KeyPath, tuple[Source, KeyPath]] = {}
        # The keys of _origins below each path, some of which may be gone again.
        self._below: dict[KeyPath, list[KeyPath]] = {}

    def set(self, path: KeyPath, source: Source, source_path: KeyPath) -> None:
        """Say that ``path`` and all below it stands in ``source`` at ``source_path``."""
        if path not in self._origins:
            for length in range(len(path)):
                self._below.setdefault(path[:length], []).append(path)
        self._origins[path] = (source, source_path)

    def replace(self, path: KeyPath, source: Source) -> None:
        """Say that ``path`` is what ``source`` gives as a whole, whatever was there before."""
        for below in self._below.pop(path, ()):
            self._origins.pop(below, None)
        self.set(path, source, ())

    def derive(self, path: KeyPath, other: KeyPath) -> None:
        """Say that ``path`` was made of what stands at ``other``."""
        origin = self.of(other)
        if origin is not None:
            self.set(path, *origin)

    def of(self, path: KeyPath) -> tuple[Source, KeyPath] | None:
        """Return the source of a key and its path there; ``None`` for what no source gives."""
        for length in range(len(path), -1, -1):
            origin = self._origins.get(path[:length])
            if origin is not None:
                return origin[0], origin[1] + path[length:]
        return None

    def where(self, path: KeyPath) -> tuple[str, int]:
        """Return the source's name and the line of a key, ``("", 0)`` where there is none."""
        origin = self.of(path)
        return (origin[0].name, origin[0].line(origin[1])) if origin else ("", 0)

    def is_secret(self, path: KeyPath) -> bool:
        """Whether a key holds a secret or stands within one."""
        origin = self.of(path)
        return origin is not None and any(
            origin[1][:length] in origin[0].secret for length in range(len(origin[1]) + 1)
        )

    def near_secret(self, path: KeyPath) -> bool:
        """Whether a key holds a secret, stands within one, or has one below it."""
        return any(
            _related(mark, source_path)
            for source, source_path in self._at_and_below(path)
            for mark in source.secret
        )

    def near_broken(self, path: KeyPath) -> bool:
        """Whether the value of a key, or one around or below it, could not be resolved."""
        return any(
            _related(mark, source_path)
            for source, source_path in self._at_and_below(path)
            for mark in source.broken
        )

    def _at_and_below(self, path: KeyPath) -> Iterator[tuple[Source, KeyPath]]:
        here = self.of(path)
        if here is not None:
            yield here
        for below in self._below.get(path, ()):
            if below in self._origins:
                yield self._origins[below]


def _related(one: KeyPath, other: KeyPath) -> bool:
    """Whether one path is the other or leads to it."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]
