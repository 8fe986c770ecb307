"""Secrets and other values that stand outside the files: ``"${NAME}"`` and ``{ file = "..." }``.

They are resolved file by file, right after parsing, so that a reference means the same wherever its
file is included, and what it resolves to is not looked at again: a password may contain ``${``.
Every resolved value is marked secret in its source; it is in no error message and no listing.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from gatewayd.config.documents import read_bounded
from gatewayd.config.places import dotted
from gatewayd.errors import ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatewayd.config.documents import Document
    from gatewayd.config.places import KeyPath

MAX_SECRET_BYTES = 64 * 1024
"""Largest file that a setting may be read from; certificates with their chains fit."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?")


class SecretResolver:
    """Replaces references by what they stand for.

    Args:
        variables: What ``${NAME}`` may name.

    Attributes:
        issues: References that could not be resolved. Their places are marked as broken.
        files: Files that values were read from.

    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.issues: list[ConfigIssue] = []
        self.files: list[Path] = []

    def resolve(self, document: Document) -> None:
        """Resolve every reference of a document, in place."""
        document.values.update(self._value(document.values, (), document))

    def _value(self, value: Any, path: KeyPath, document: Document) -> Any:
        if isinstance(value, str):
            return self._text(value, path, document) if "${" in value else value
        if isinstance(value, list):
            return [self._value(item, (*path, i), document) for i, item in enumerate(value)]
        if isinstance(value, dict):
            if _is_file_reference(value, path):
                return self._file(value["file"], path, document)
            return {key: self._value(item, (*path, key), document) for key, item in value.items()}
        return value

    def _text(self, text: str, path: KeyPath, document: Document) -> str:
        def replacement(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            document.source.secret.add(path)
            if found["name"] in self._variables:
                return self._variables[found["name"]]
            self._fail(path, document, *self._why_not(found["name"]))
            return ""

        return _REFERENCE.sub(replacement, text)

    def _why_not(self, name: str | None) -> tuple[str, str]:
        if name is None:
            return "expected ${NAME}, a name of letters, digits and _", "write $${ for a plain ${"
        nearest = difflib.get_close_matches(name, self._variables, n=1)
        hint = f"did you mean ${{{nearest[0]}}}?" if nearest else ""
        return f"${{{name}}} is set neither in the environment nor in the .env file", hint

    def _file(self, name: str, path: KeyPath, document: Document) -> str:
        document.source.secret.add(path)
        file = document.path.parent / self._text(name, path, document)
        if path in document.source.broken:
            return ""
        try:
            text = read_bounded(file, MAX_SECRET_BYTES).decode()
        except OSError as error:
            self._fail(path, document, f"file {name!r} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._fail(path, document, f"file {name!r} is not UTF-8")
        except ValueError as error:
            self._fail(path, document, f"file {name!r} is {error}")
        else:
            self.files.append(file)
            return text.removesuffix("\n").removesuffix("\r")
        return ""

    def _fail(self, path: KeyPath, document: Document, message: str, hint: str = "") -> None:
        document.source.broken.add(path)
        line = document.source.line(path)
        self.issues.append(
            ConfigIssue(message, key=dotted(path), file=document.source.name, line=line, hint=hint)
        )


def _is_file_reference(table: dict[str, Any], path: KeyPath) -> bool:
    """Whether a table stands for a file's content; never where the schema has a table."""
    if table.keys() != {"file"} or not isinstance(table["file"], str):
        return False
    match path:
        case () | (_,) | ("filters" | "services" | "routes", _):
            return False
        case ("services" | "routes", _, "filters", _):
            return False
    return True
