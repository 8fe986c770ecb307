"""Path patterns: what a route's ``path`` and ``match`` mean.

A pattern is a list of segments (literal, ``{param:regex}`` or ``{param}``), and it is either
closed, so that it matches paths of just these segments, or open, so that it matches what lies below
as well (``match = "prefix"``, or a final ``{rest...}``). ``match = "regex"`` is one expression
instead.

A trailing slash of a prefix says nothing: ``/docs/`` is ``/docs``. In an exact pattern it counts,
and ``/docs/`` is then the segments ``docs`` and an empty one. A parameter is never empty.

Everything here works on the matching form of paths (see :mod:`gatewayd.routing.escapes`); a
``{param:regex}`` sees the decoded segment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gatewayd.routing.escapes import canonical, decode, decode_segments, matching
from gatewayd.routing.predicates import compile_regex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LITERAL, REGEX, PARAM, OPEN_END = range(4)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

SortKey: TypeAlias = tuple[tuple[int, int, str], ...]


class Segment(NamedTuple):
    """One segment of a pattern.

    Attributes:
        kind: ``LITERAL``, ``REGEX`` or ``PARAM``.
        text: The literal in matching form, or the source of the expression.
        name: Name of the parameter.
        regex: The compiled expression of a ``REGEX``.

    """

    kind: int
    text: str = ""
    name: str = ""
    regex: re.Pattern[str] | None = None

    def accepts(self, segment: str) -> bool:
        """Whether a segment of a path matches."""
        if self.kind == LITERAL:
            return segment == self.text
        if self.regex is not None:
            return bool(segment) and self.regex.fullmatch(decode(segment)) is not None
        return bool(segment)

    def covers(self, other: Segment) -> bool:
        """Whether it accepts whatever ``other`` does, as far as can be told."""
        if other.kind == LITERAL:
            return self.accepts(other.text)
        return self.kind == PARAM or (self.kind, self.text) == (other.kind, other.text)


class PathPattern:
    """A compiled path pattern.

    Args:
        path, match: As in :class:`gatewayd.config.schema.RouteConfig`.

    Attributes:
        segments: The segments; empty for a regular expression.
        open: Whether paths below match as well.
        rest: Name of the final ``{rest...}`` parameter, or ``""``.
        regex: The expression of ``match = "regex"``, or ``None``.
        names: Names of the parameters that are one segment.
        long_names: Names of those that may be several: ``{rest...}`` and groups of expressions.

    Raises:
        ValueError: the path is no pattern.

    """

    __slots__ = ("_places", "long_names", "names", "open", "regex", "rest", "segments", "text")

    def __init__(self, path: str, match: str = "prefix") -> None:
        self.text = path
        self.segments: tuple[Segment, ...] = ()
        self._places: tuple[tuple[int, str], ...] = ()
        self.open = match == "prefix"
        self.rest = ""
        self.regex: re.Pattern[str] | None = None
        if match == "regex":
            self.regex = compile_regex(path)
            self.names: frozenset[str] = frozenset()
            self.long_names = frozenset(self.regex.groupindex)
            return
        segments = list(_parse(path))
        if segments and segments[-1].kind == OPEN_END:
            self.rest = segments.pop().name
            self.open = True
        elif self.open and segments[-1] == Segment(LITERAL):
            segments.pop()
        self.segments = tuple(segments)
        self._places = tuple(
            (place, segment.name) for place, segment in enumerate(segments, start=1) if segment.name
        )
        self._check()
        self.names = frozenset(segment.name for segment in segments if segment.name)
        self.long_names = frozenset({self.rest} - {""})

    @property
    def has_params(self) -> bool:
        """Whether it has parameters of any kind."""
        return bool(self.names or self.long_names)

    def _check(self) -> None:
        if any(segment.kind == OPEN_END for segment in self.segments):
            raise ValueError("{rest...} stands at the end of a path")
        if Segment(LITERAL) in self.segments[: None if self.open else -1]:
            raise ValueError("a path has no empty segments; use match = 'regex' to match them")
        names = [segment.name for segment in self.segments if segment.name]
        names += [self.rest] if self.rest else []
        if len(set(names)) < len(names):
            raise ValueError("a path has each parameter only once")

    @property
    def literal(self) -> str | None:
        """The one path that matches, where it is only one."""
        if self.open or self.regex is not None or self.names:
            return None
        return "/" + "/".join(segment.text for segment in self.segments)

    @property
    def sort_key(self) -> SortKey:
        """The more specific of two patterns has the lower key; see :mod:`gatewayd.routing.table`.

        Of two patterns of one kind at the same place, the longer expression is taken for the more
        specific one. Names of parameters do not count.
        """
        if self.literal is not None:
            return ((0, 0, ""),)
        if self.regex is not None:
            return ((1, -len(self.text), self.text),)
        end = ((2, OPEN_END, ""),) if self.open else ()
        return tuple(self._segment_keys()) + end

    def _segment_keys(self) -> Iterator[tuple[int, int, str]]:
        yield (2, 0, "")
        for segment in self.segments:
            if segment.kind == REGEX:
                yield (REGEX, -len(segment.text), segment.text)
            else:
                yield (segment.kind, 0, "")

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for patterns that match the same paths but for the names of parameters."""
        if self.regex is not None:
            return (self.text,)
        return (self.open, *((segment.kind, segment.text) for segment in self.segments))

    def matches(self, path: str) -> bool:
        """Whether a path matches. For explanations: lookup goes through the tree instead."""
        if self.regex is not None:
            return self.regex.fullmatch(path) is not None
        segments = path.split("/")[1:]
        if len(segments) < len(self.segments):
            return False
        if len(segments) > len(self.segments) and not self.open:
            return False
        pairs = zip(self.segments, segments, strict=False)
        return path.startswith("/") and all(mine.accepts(theirs) for mine, theirs in pairs)

    def params(self, path: str) -> dict[str, str]:
        """Return the decoded parameters of a path that matches."""
        if self.regex is not None:
            match = self.regex.fullmatch(path)
            groups = match.groupdict("") if match else {}
            return {name: decode_segments(value) for name, value in groups.items()}
        parts = path.split("/", len(self.segments) + 1)
        params = {name: decode(parts[place]) for place, name in self._places}
        if self.rest:
            params[self.rest] = decode_segments("/".join(parts[len(self.segments) + 1 :]))
        return params

    def below(self, path: str) -> str:
        """Return what of a matching path lies below the pattern: ``""``, or from a slash on."""
        parts = path.split("/", len(self.segments) + 1)
        return "/" + parts[-1] if len(parts) > len(self.segments) + 1 else ""

    def __repr__(self) -> str:
        return f"PathPattern({self.text!r})"


def _parse(path: str) -> Iterator[Segment]:
    if not path.startswith("/"):
        raise ValueError(f"a path begins with a slash, not {path!r}")
    for part in _split(path[1:]):
        if ";" in part and "{" not in part:
            raise ValueError("routes are matched without path parameters (;name=value)")
        if "{" not in part and "}" not in part:
            yield Segment(LITERAL, matching(canonical("/" + part))[1:])
        elif part.startswith("{") and part.endswith("}"):
            yield _parameter(part[1:-1])
        else:
            raise ValueError(
                f"a parameter is a whole segment; write {{name:regex}} instead of {part!r}"
            )


def _split(path: str) -> Sequence[str]:
    """Split at slashes outside of braces; a backslash in braces escapes a brace."""
    parts = [""]
    depth = 0
    for piece in re.findall(r"\\.|.", path, re.DOTALL):
        if piece == "/" and not depth:
            parts.append("")
            continue
        depth += {"{": 1, "}": -1}.get(piece, 0)
        parts[-1] += piece
    if depth:
        raise ValueError("a brace is not closed")
    return parts


def _parameter(text: str) -> Segment:
    name, colon, source = text.partition(":")
    kind = REGEX if colon else PARAM
    if not colon and name.endswith("..."):
        name, kind = name[:-3], OPEN_END
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"not a parameter: {{{text}}}; write {{name}}, {{name:regex}}, {{name...}}"
        )
    return Segment(kind, source, name, compile_regex(source) if colon else None)
