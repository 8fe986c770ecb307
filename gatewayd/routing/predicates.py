"""What a route asks of a request beside its path: hosts, header fields, query parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from gatewayd.headers import CONNECTION_LEVEL, field_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd.headers import Headers

# Routes are matched for every request; an expression longer than this belongs into the origin.
MAX_REGEX_LENGTH = 1024

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|[0-9a-f]{{0,4}}(?::[0-9a-f]{{0,4}}){{2,7}}")


def compile_regex(source: str, what: str = "regular expression") -> re.Pattern[str]:
    r"""Compile an operator's expression; ``\d`` and ``\w`` are ASCII only, as origins assume.

    Raises:
        ValueError: it is too long or not valid.

    """
    if len(source) > MAX_REGEX_LENGTH:
        raise ValueError(f"the {what} is longer than {MAX_REGEX_LENGTH} characters")
    try:
        return re.compile(source, re.ASCII)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"not a valid {what}: {source!r}: {error}") from error


def host_name(host: str) -> str:
    """Return a host as it is compared: lower case, without port, final dot and brackets."""
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host.lower().removesuffix(".")


def host_pattern(text: str) -> str:
    """Return a configured host, ``*.`` before it for any name below, as it is compared.

    Raises:
        ValueError: it is not a host name, an IP address or such a wildcard.

    """
    pattern = text.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(pattern):
        raise ValueError(
            f"expected a host name or *.name, without port, in its ASCII form, not {text!r}"
        )
    return pattern


def host_patterns(host: str) -> list[str]:
    """Return what covers a host or a host pattern, the most specific first: ``""`` covers all."""
    _, *above = host.split(".")
    wildcards = ["*." + ".".join(above[place:]) for place in range(len(above))]
    return list(dict.fromkeys([host, *wildcards, ""]))


def host_rank(pattern: str) -> tuple[int, int]:
    """Return what sorts host patterns, the most specific first."""
    if pattern.startswith("*."):
        return (1, -pattern.count("."))
    return (0, 0) if pattern else (2, 0)


class ValueTest:
    """A test of one value: ``*`` is any value, ``~regex`` matches all of it, else it is equal.

    Raises:
        ValueError: the regular expression is not valid.

    """

    __slots__ = ("_fullmatch", "kind", "text")

    EXACT, REGEX, ANY = range(3)

    def __init__(self, text: str) -> None:
        self.text = text
        self._fullmatch = None
        self.kind = self.ANY if text == "*" else self.EXACT
        if text.startswith("~"):
            self.kind = self.REGEX
            self._fullmatch = compile_regex(text[1:]).fullmatch

    def accepts(self, value: str) -> bool:
        """Whether the value passes."""
        if self._fullmatch is not None:
            return self._fullmatch(value) is not None
        return self.kind == self.ANY or value == self.text

    def covers(self, other: ValueTest) -> bool:
        """Whether all values that ``other`` accepts pass here, as far as can be told."""
        if self.text == other.text or self.kind == self.ANY:
            return True
        return other.kind == self.EXACT and self.accepts(other.text)

    def excludes(self, other: ValueTest) -> bool:
        """Whether no value can pass both tests, as far as can be told."""
        if other.kind == self.EXACT:
            return not self.accepts(other.text)
        return self.kind == self.EXACT and not other.accepts(self.text)


class Query:
    """The query parameters of one request, parsed when first asked for."""

    __slots__ = ("_raw", "_values")

    def __init__(self, raw: str | None) -> None:
        self._raw = raw
        self._values: dict[str, list[str]] | None = None

    def values(self, name: str) -> Iterator[str]:
        """Yield all values of a parameter, decoded; none where it is absent."""
        if self._values is None:
            self._values = {}
            for part in (self._raw or "").split("&"):
                key, _, value = part.partition("=")
                self._values.setdefault(_form_decoded(key), []).append(value)
        return map(_form_decoded, self._values.get(name, ()))


def _form_decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _field(name: str) -> str:
    lower = field_name(name)
    if lower in CONNECTION_LEVEL or lower == b"expect":
        raise ValueError(f"{name} ends at the gateway's connection: no request has it here")
    return lower.decode()


class Predicate:
    """A header field or query parameter that must be there, with a test of its value.

    Args:
        where: ``header`` or ``query``.
        name: Name of the field (in any case) or the parameter.
        text: The test; see :class:`ValueTest`. Of several parameters of that name one must pass;
            several lines of a field are one value, joined with ``, ``.

    Attributes:
        subject: What it asks about; the same for the same field or parameter.

    Raises:
        ValueError: the name is not that of a field that routes can see, or the test is not valid.

    """

    __slots__ = ("name", "subject", "test", "where")

    def __init__(self, where: str, name: str, text: str) -> None:
        self.where = where
        self.name = name
        self.test = ValueTest(text)
        self.subject = (where, _field(name) if where == "header" else name)

    def accepts(self, headers: Headers | None, query: Query) -> bool:
        """Whether the request has what is asked for."""
        if self.where == "query":
            return any(map(self.test.accepts, query.values(self.name)))
        value = None if headers is None else headers.get(self.name)
        return value is not None and self.test.accepts(value)

    def __str__(self) -> str:
        return f"{self.where} {self.name} = {self.test.text!r}"
