"""``include``: one configuration from several files.

What several files say is put together, never fought over: tables are merged, ``routes`` are
concatenated, and anything else that two files set is an error that names both places, also where
one of them includes the other. A silent winner would depend on an order that nobody remembers; to
override is what environment and command line are for. A service belongs to one file as a whole.
"""

from __future__ import annotations

import glob
from os.path import realpath
from typing import TYPE_CHECKING, Any

from gatewayd.config.documents import is_file, read_document
from gatewayd.config.places import Origins, dotted
from gatewayd.config.secrets import SecretResolver
from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gatewayd.config.documents import Document
    from gatewayd.config.places import KeyPath, Source

MAX_INCLUDE_DEPTH = 8
"""Files that include each other in a row."""
MAX_FILES = 1000
"""Files of one configuration."""


class FileLayer:
    """The configuration as its files give it.

    Args:
        path: The first file.
        variables: What ``${NAME}`` may name.

    Attributes:
        values: The merged values, references resolved.
        origins: Where each of them stands.
        files: All files that were read.
        issues: What is wrong with the files' content.

    Raises:
        ConfigError: a file cannot be read or parsed, or is included twice.

    """

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        self.values: dict[str, Any] = {}
        self.origins = Origins()
        self.issues: list[ConfigIssue] = []
        self._read_by: dict[str, str] = {}  # real path of each file: what it was read for
        self._secrets = SecretResolver(variables)
        self._documents: list[Document] = []
        fatal = list(self._read(path, "the command line", 0))
        self.issues += self._secrets.issues
        if fatal:
            raise ConfigError([*fatal, *self.issues])

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that were read, those of secrets included."""
        return (*(document.path for document in self._documents), *self._secrets.files)

    def _read(self, path: Path, by: str, depth: int) -> Iterator[ConfigIssue]:
        """Read a file and what it includes; yields what keeps the configuration from being read."""
        self._read_by[realpath(path)] = by
        try:
            document = read_document(path)
        except ConfigError as error:
            yield from error.issues
            return
        self._documents.append(document)
        self._secrets.resolve(document)
        patterns = document.values.pop("include", [])
        self._merge(self.values, document.values, (), document.source)
        if not isinstance(patterns, list):
            yield _issue(document, ("include",), "expected an array of file names")
            return
        for index, pattern in enumerate(patterns):
            yield from self._include(document, index, pattern, depth + 1)

    def _include(
        self, document: Document, index: int, pattern: object, depth: int
    ) -> Iterator[ConfigIssue]:
        here: KeyPath = ("include", index)
        if not isinstance(pattern, str) or not pattern:
            yield _issue(document, here, "expected a file name")
        elif depth > MAX_INCLUDE_DEPTH:
            yield _issue(document, here, f"more than {MAX_INCLUDE_DEPTH} files include each other")
        elif here not in document.source.broken:
            # What a reference stands for is shown nowhere; a file that is there has a name.
            secret = here in document.source.secret
            try:
                found = _expand(document.path.parent, pattern)
            except OSError as error:
                shown = "what its reference names" if secret else repr(pattern)
                yield _issue(document, here, f"{shown} cannot be read: {error.strerror}")
                return
            if not found and not glob.has_magic(pattern):
                shown = "the file that its reference names" if secret else f"file {pattern!r}"
                yield _issue(document, here, f"{shown} does not exist")
            for path in found:
                yield from self._include_file(document, here, path, depth)

    def _include_file(
        self, document: Document, here: KeyPath, path: Path, depth: int
    ) -> Iterator[ConfigIssue]:
        before = self._read_by.get(realpath(path))
        if before is not None:
            yield _issue(document, here, f"{path} is read twice, first for {before}")
        elif len(self._read_by) >= MAX_FILES:
            yield _issue(document, here, f"{path} is one too many, at most {MAX_FILES} are read")
        else:
            by = f"{document.source.name}:{document.source.line(here)}"
            yield from self._read(path, by, depth)

    def _merge(
        self, into: dict[str, Any], table: dict[str, Any], path: KeyPath, source: Source
    ) -> None:
        for key, value in table.items():
            here = (*path, key)
            if key not in into:
                into[key] = value
                self.origins.set(here, source, here)
            elif here == ("routes",) and isinstance(into[key], list) and isinstance(value, list):
                for index in range(len(value)):
                    self.origins.set((*here, len(into[key]) + index), source, (*here, index))
                into[key] = [*into[key], *value]
            elif _is_mergeable(here) and isinstance(into[key], dict) and isinstance(value, dict):
                self._merge(into[key], value, here, source)
            else:
                self.issues.append(self._conflict(here, source))

    def _conflict(self, path: KeyPath, source: Source) -> ConfigIssue:
        first, first_line = self.origins.where(path)
        return ConfigIssue(
            f"is set in two files, first at {first}:{first_line}",
            key=dotted(path), file=source.name, line=source.line(path),
        )  # fmt: skip


def _is_mergeable(path: KeyPath) -> bool:
    return not (len(path) == 2 and path[0] == "services")  # services.NAME


def _expand(folder: Path, pattern: str) -> list[Path]:
    """Return the files that a pattern names, sorted; a name of a file needs no escaping."""
    if is_file(folder / pattern):
        return [folder / pattern]
    if not glob.has_magic(pattern):
        return []
    names = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207  # or absolute
    return sorted(path for name in names if is_file(path := folder / name))


def _issue(document: Document, path: KeyPath, message: str) -> ConfigIssue:
    line = document.source.line(path)
    return ConfigIssue(message, key=dotted(path), file=document.source.name, line=line)
