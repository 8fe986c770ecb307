"""YAML as older gateways use it: ``routes.yaml`` and ``services.yaml``.

The values are built from libyaml's events instead of by PyYAML's constructors, because those follow
YAML 1.1: ``no`` and ``on`` would be booleans, ``12:30:00`` a number, ``010`` eight, and a key that
stands twice would silently win. Here the core schema of YAML 1.2 (section 10.3.2) holds, without
infinities; tags, merge keys and several documents are refused; what aliases expand to is bounded.

A route has no ``name`` in this form, so it gets one from its path and methods: ``/projects`` with
``[GET, POST]`` is ``projects-get-post``. A second route that would have the same name gets ``-2``.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd.config.places import KeyPath

MAX_ALIASED_VALUES = 10_000
"""Values that aliases of one file may expand to; a "billion laughs" stops here."""

# libyaml where PyYAML was built with it: ten times as fast, the same events.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False,
            "FALSE": False}  # fmt: skip
# Digits are bounded: longer ones are no setting, and int() takes quadratic time for them.
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL = re.compile(r"0o[0-7]{1,20}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}\.[0-9]{0,40}|[0-9]{1,40}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?"
)

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")


def read_yaml(text: str, name: str, *, max_depth: int) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Parse a YAML file into its values and the line of each key path.

    Args:
        text: The file's content.
        name: The file's name, for errors.
        max_depth: Deepest nesting that is read.

    Raises:
        ConfigError: it is not YAML, or uses what configuration files should not.

    """
    builder = _Builder(text, name, max_depth)
    try:
        values = builder.document()
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_issue(error, text, name)) from error
    _name_routes(values)
    return values, builder.lines


def _syntax_issue(error: yaml.YAMLError, text: str, name: str) -> ConfigIssue:
    line, problem = 0, "cannot be parsed"
    if isinstance(error, yaml.MarkedYAMLError):
        if error.problem_mark is not None:
            line = error.problem_mark.line + 1
        problem = error.problem or problem
    elif isinstance(error, yaml.reader.ReaderError):  # knows an offset only, in bytes
        line = text.encode()[: error.position].count(b"\n") + 1
        problem = error.reason
    return ConfigIssue(f"not YAML: {problem}", file=name, line=line)


class _Builder:
    """Builds values from the event stream, bounded in depth and in what aliases expand to."""

    def __init__(self, text: str, name: str, max_depth: int) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._name = name
        self._max_depth = max_depth
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._anchors: dict[str, Any] = {}
        self._aliased = 0

    def document(self) -> dict[str, Any]:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return {}
        event = next(self._events)
        values = self._value(event, ())
        next(self._events)  # the end of the document
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            self._refuse("a second document; one file holds one", following)
        if values is None:
            return {}
        if not isinstance(values, dict):
            self._refuse("expected a table of keys at the top", event)
        return values

    def _value(self, event: Any, path: KeyPath) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            self._refuse(f"the tag {event.tag!r} is not used in configuration files", event)
        if len(path) > self._max_depth:
            self._refuse("nested too deep", event)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = _plain(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _sequence(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            element = (*path, len(items))
            self.lines[element] = _line(event)
            items.append(self._value(event, element))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        table: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                self._refuse("a key must be a plain word or a string", event)
            key = event.value
            entry = (*path, key)
            if key == "<<" and event.implicit[0]:
                self._refuse("merge keys (<<) are not supported", event)
            if key in table:
                self._refuse(f"key {key!r} stands twice, first on line {self.lines[entry]}", event)
            self.lines[entry] = _line(event)
            table[key] = self._value(next(self._events), entry)
        return table

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            self._refuse(f"unknown alias {event.anchor!r}, or one within what it names", event)
        value = self._anchors[event.anchor]
        self._aliased += _size(value)
        if self._aliased > MAX_ALIASED_VALUES:
            self._refuse(f"aliases expand to more than {MAX_ALIASED_VALUES} values", event)
        return deepcopy(value)

    def _refuse(self, message: str, event: Any) -> NoReturn:
        raise ConfigError(ConfigIssue(message, file=self._name, line=_line(event)))


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1  # PyYAML counts from 0
    return line


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _plain(text: str) -> str | int | float | bool | None:
    """Resolve an unquoted scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _name_routes(values: dict[str, Any]) -> None:
    """Give every route that has no name one that is unique within the file."""
    routes = values.get("routes")
    if not isinstance(routes, list):
        return
    tables = [route for route in routes if isinstance(route, dict)]
    taken = {str(route["name"]) for route in tables if "name" in route}
    for route in tables:
        if "name" not in route:
            route["name"] = _free_name(_route_name(route), taken)
            taken.add(route["name"])


def _route_name(route: dict[str, Any]) -> str:
    methods = route.get("methods")
    words = [str(route.get("path", "")).strip("/") or "root"]
    words += [str(method).lower() for method in methods] if isinstance(methods, list) else []
    return _NOT_IN_NAMES.sub("-", "-".join(words)).strip("-.")[:120] or "route"


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
