"""Rewrites and redirects: paths that are made of configured text and of what the client sent.

The client's part is inserted encoded, so that it stays where the operator has put it: a parameter
cannot add a segment, a query or a header line, and cannot become (a part of) the host.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from gatewayd.errors import Reject
from gatewayd.routing.escapes import RAW_IN_SEGMENT, RESERVED, canonical, encode, matching
from gatewayd.routing.predicates import compile_regex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.config.schema import RedirectConfig, RewriteConfig
    from gatewayd.routing.pattern import PathPattern

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_AUTHORITY = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_HOST_FIELD = re.compile(_AUTHORITY)
_ORIGIN = re.compile(rf"https?://{_AUTHORITY}")
# RFC 3986 appendix A; "%" begins an escape, and is the operator's business.
_NOT_IN_URI = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")


class Template:
    """Text with ``{name}`` placeholders.

    Args:
        text: The text.
        names: Names that it may use.

    Raises:
        ValueError: it uses another name, or a brace that belongs to no placeholder.

    """

    __slots__ = ("_pieces",)

    def __init__(self, text: str, names: frozenset[str]) -> None:
        # Split with a group: literal text at the even places, names at the odd ones.
        self._pieces = _PLACEHOLDER.split(text)
        if any("{" in piece or "}" in piece for piece in self.literals):
            raise ValueError("a brace belongs to no {placeholder}")
        for name in self._pieces[1::2]:
            if name not in names:
                known = ", ".join(f"{{{name}}}" for name in sorted(names)) or "none"
                raise ValueError(f"unknown placeholder {{{name}}}; there are: {known}")

    @property
    def literals(self) -> list[str]:
        """The text between the placeholders."""
        return self._pieces[::2]

    @property
    def names(self) -> frozenset[str]:
        """The names that it uses."""
        return frozenset(self._pieces[1::2])

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with its placeholders replaced."""
        pieces = self._pieces[:]
        pieces[1::2] = [values[name] for name in pieces[1::2]]
        return "".join(pieces)


def _fill(
    template: Template,
    pattern: PathPattern,
    params: Mapping[str, str],
    *,
    raw: str = "",
    **more: str,
) -> str:
    """Fill in the parameters, encoded, and ``more`` as it is.

    Raises:
        Reject: 400 ``bad_path``: a parameter cannot be encoded.

    """
    values = dict(more)
    try:
        for name in template.names - more.keys():
            segments = name in pattern.long_names
            values[name] = encode(params.get(name, ""), raw=raw, segments=segments)
    except ValueError as error:
        raise Reject(400, "bad_path", f"The path cannot be rewritten: {error}.") from error
    return template.fill(values)


class Rewrite:
    """How the path changes on its way upstream.

    Args:
        config: The settings.
        pattern: The route's path pattern, whose parameters may be used.

    Attributes:
        host: Host field to send upstream, or ``None`` to send the client's.

    Raises:
        ValueError: the settings contradict each other, or make no path.

    """

    __slots__ = ("_pattern", "_prefix", "_regex", "_replacement", "_strip", "_template", "host")

    def __init__(self, config: RewriteConfig, pattern: PathPattern) -> None:
        self._pattern = pattern
        self.host = config.host
        if self.host is not None and not _HOST_FIELD.fullmatch(self.host):
            raise ValueError(f"host: expected host or host:port, not {self.host!r}")
        self._strip = matching(_prefix(config.strip_prefix))
        self._prefix = _prefix(config.prefix)
        self._regex, self._replacement = _substitution(config.regex, config.replacement)
        self._template = None
        if config.path is not None:
            if not (config.strip_prefix is config.prefix is config.regex is None):
                raise ValueError("path excludes strip_prefix, prefix and regex")
            self._template = Template(config.path, pattern.names | pattern.long_names)
            canonical(self._template.fill(dict.fromkeys(self._template.names, "x")))

    def apply(self, path: str, params: Mapping[str, str]) -> str:
        """Return the path to send upstream, in canonical form.

        Raises:
            Reject: 400 ``bad_path``: what comes out is no path, or has dot segments.

        """
        if self._template is not None:
            return _checked(_fill(self._template, self._pattern, params, raw=RAW_IN_SEGMENT))
        if self._strip:
            path = self._stripped(path)
        path = self._prefix + path or "/"
        return path if self._regex is None else self._substituted(self._regex, path)

    def _substituted(self, regex: re.Pattern[str], path: str) -> str:
        path, found = regex.subn(self._replacement, path, count=1)
        if not found and regex.search(matching(path)):
            # The route was found by this spelling, and must not be had without its rewrite.
            detail = "The path cannot be rewritten: it is spelled in an unusual way."
            raise Reject(400, "bad_path", detail)
        return _checked(path)

    def _stripped(self, path: str) -> str:
        # Compared as routes are, so that no other spelling of the prefix stays on.
        depth = self._strip.count("/")
        parts = path.split("/", depth + 1)
        if matching("/".join(parts[: depth + 1])) != self._strip:
            return path
        return "/" + parts[-1] if len(parts) > depth + 1 else ""


def _prefix(text: str | None) -> str:
    return "" if text is None else canonical(text).rstrip("/")


def _substitution(regex: str | None, replacement: str | None) -> tuple[re.Pattern[str] | None, str]:
    if regex is None or replacement is None:
        if regex != replacement:
            raise ValueError("regex and replacement go together")
        return None, ""
    compiled = compile_regex(regex)
    try:
        compiled.sub(replacement, "")
    except (re.error, IndexError) as error:
        raise ValueError(f"not a valid replacement: {replacement!r}: {error}") from error
    return compiled, replacement


def _checked(path: str) -> str:
    try:
        return canonical(path)
    except ValueError as error:
        raise Reject(400, "bad_path", f"The path cannot be rewritten: {error}.") from error


class Redirect:
    """An answer that sends the client elsewhere.

    ``{rest}`` is what lies below an open pattern, from its slash on, and ``{query}`` is ``?`` and
    the query, or nothing; a parameter of the same name takes precedence.

    Args:
        config: The settings.
        pattern: The route's path pattern, whose parameters may be used.

    Attributes:
        status: Status code of the answer.

    Raises:
        ValueError: the target is neither ``http://host...``, ``https://host...`` nor a path, or
            has placeholders where they would choose the host.

    """

    __slots__ = ("_absolute", "_own", "_pattern", "_template", "status")

    def __init__(self, config: RedirectConfig, pattern: PathPattern) -> None:
        self.status = config.status
        self._pattern = pattern
        params = pattern.names | pattern.long_names
        self._own = frozenset({"query", "rest"} if pattern.open else {"query"}) - params
        self._template = Template(config.to, params | self._own)
        if match := _NOT_IN_URI.search("".join(self._template.literals)):
            raise ValueError(f"{match[0]!r} may not stand in a URI")
        self._absolute = _is_absolute(config.to, self._own)

    def location(self, path: str, params: Mapping[str, str], query: str | None) -> str:
        """Return the target for a request.

        Args:
            path: The request's path, normalised.
            params: Its path parameters, decoded.
            query: Its query, ``None`` where it has none.

        Raises:
            Reject: 400 ``bad_path``: a parameter cannot be encoded.

        """
        own = {}
        if "rest" in self._own:
            own["rest"] = quote(self._pattern.below(path), safe=RESERVED + "/%")
        if "query" in self._own:
            own["query"] = self._query(query)
        location = _fill(self._template, self._pattern, params, **own)
        # "//host" would be another origin (RFC 3986 section 4.2).
        return location if self._absolute else "/" + location.lstrip("/")

    def _query(self, query: str | None) -> str:
        if query is None:
            return ""
        mark = "&" if any("?" in text for text in self._template.literals) else "?"
        return mark + quote(query, safe=RESERVED + "/?%", encoding="latin-1", errors="replace")


def _is_absolute(to: str, own: frozenset[str]) -> bool:
    """Whether a redirect's target names its host; ``own`` are the placeholders of redirects."""
    if origin := _ORIGIN.match(to):
        # What may follow without becoming a part of the host: {rest} begins with a slash.
        if to[origin.end() :].startswith(("/", "?", "#", *(f"{{{name}}}" for name in own))):
            return True
        if origin.end() == len(to):
            return True
    elif re.match(r"/(?!/)", to) or ("rest" in own and to.startswith("{rest}")):
        return False
    raise ValueError("expected http://host/..., https://host/... or /..., with a literal host")
