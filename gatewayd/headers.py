"""Header fields as they are on the wire: ordered, byte-exact, looked up without regard to case.

The gateway forwards most fields untouched, so the truth is the list of (name, value) pairs as
received; a lookup index over it is built on first use and dropped on mutation. Values are bytes
because RFC 9110 section 5.5 allows obs-text: decoding and encoding again as UTF-8 would change it.
The ``str`` methods use latin-1, which maps every byte to one character and back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# RFC 9110 section 5.6.2.
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 5.5: what may never stand in a value; CR, LF and NUL are how responses are split.
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# Fields that end at each hop or frame the message (RFC 9110 section 7.6.1, RFC 9112 section 6).
# They never stand in the headers that filters see: the server and the upstream client write them.
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
CONNECTION_LEVEL = HOP_BY_HOP | {b"content-length"}


@lru_cache(maxsize=1024)
def field_name(name: str) -> bytes:
    """Return ``name`` as lower-case bytes, the form that the index is keyed with.

    Raises:
        ValueError: ``name`` is not a token (RFC 9110 section 5.6.2).

    """
    raw = name.encode("ascii", "replace")
    if not TOKEN.fullmatch(raw):
        raise ValueError(f"not a header field name: {name!r}")
    return raw.lower()


def _line(name: str, value: str) -> tuple[bytes, bytes]:
    if field_name(name) in CONNECTION_LEVEL:
        raise ValueError(f"{name} is written by the gateway, from the body and the connection")
    raw = value.encode("latin-1").strip(b" \t")
    if _FORBIDDEN_IN_VALUE.search(raw):
        raise ValueError("control characters in a header field value")
    return name.encode("ascii"), raw


def _without(encoded: bytes, lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Cut lines out of encoded ones, which is faster than to encode all others again."""
    encoded = b"\r\n" + encoded  # so that a line is found where it begins, not within another
    for name, value in lines:
        encoded = encoded.replace(b"\r\n" + name + b": " + value + b"\r\n", b"\r\n", 1)
    return encoded[2:]


class Headers:
    """The header (or trailer) fields of one message.

    A copy shares everything with its original until one of them changes, so that the fields of a
    message seen before cost nothing but the object.
    """

    __slots__ = ("_encoded", "_index", "_raw", "_shared")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._raw: list[tuple[bytes, bytes]] = list(raw)
        self._index: dict[bytes, bytes] | None = None
        self._encoded: bytes | None = None
        self._shared = False

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Build from text pairs; names and values are checked as in :meth:`add`."""
        headers = cls()
        for name, value in fields:
            headers.add(name, value)
        return headers

    @property
    def raw(self) -> Sequence[tuple[bytes, bytes]]:
        """The (name, value) pairs in wire order; not to be changed."""
        return self._raw

    @property
    def index(self) -> Mapping[bytes, bytes]:
        """Lower-case name to value; lines of the same name are joined with ``, ``.

        Joining is what RFC 9110 section 5.2 says that several lines mean, and it is the safe
        reading: a second ``X-API-Key`` line makes the key wrong instead of being overlooked.
        """
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self._raw:
                key = name.lower()
                index[key] = index[key] + b", " + value if key in index else value
        return index

    @property
    def encoded(self) -> bytes:
        """All field lines as they go on the wire, each with its CRLF."""
        encoded = self._encoded
        if encoded is None:
            lines = [name + b": " + value + b"\r\n" for name, value in self._raw]
            encoded = self._encoded = b"".join(lines)
        return encoded

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the combined value of ``name``, or ``default`` where it is absent."""
        value = self.index.get(field_name(name))
        return default if value is None else value.decode("latin-1")

    def get_all(self, name: str) -> list[str]:
        """Return the value of every line of ``name``, in order."""
        key = field_name(name)
        return [value.decode("latin-1") for other, value in self._raw if other.lower() == key]

    def add(self, name: str, value: str) -> None:
        """Append a line.

        Raises:
            ValueError: the name is not a token, or it is one that frames the message or ends at
                this hop, or the value holds control characters.

        """
        self.extend((_line(name, value),))

    def extend(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        """Append lines that the caller vouches for: they are not checked."""
        if self._shared:
            self._raw = self._raw.copy()
            self._index = None if self._index is None else self._index.copy()
            self._shared = False
        index = self._index
        for name, value in lines:
            self._raw.append((name, value))
            if index is not None:
                key = name.lower()
                index[key] = index[key] + b", " + value if key in index else value
            if self._encoded is not None:
                self._encoded += name + b": " + value + b"\r\n"

    def put(self, key: bytes, name: bytes, value: bytes) -> None:
        """Append a line of a name that is not there yet; a third of the time of :meth:`set`.

        Args:
            key: The name in lower case. The caller vouches that ``index`` does not have it, and for
                the rest.
            name: The name as it goes on the wire.
            value: The value.

        """
        if self._shared:
            self._raw = self._raw.copy()
            self._index = None if self._index is None else self._index.copy()
            self._shared = False
        self._raw.append((name, value))
        if self._index is not None:
            self._index[key] = value
        if self._encoded is not None:
            self._encoded = b"%b%b: %b\r\n" % (self._encoded, name, value)

    def extend_with(self, other: Headers) -> None:
        """Append the lines of other headers; half the time of :meth:`extend` where prepared."""
        if self._index is None or not self._index.keys().isdisjoint(other.index):
            self.extend(other._raw)
            return
        if self._shared:
            self._raw = self._raw.copy()
            self._index = self._index.copy()
            self._shared = False
        self._raw += other._raw
        self._index.update(other.index)
        if self._encoded is not None:
            self._encoded += other.encoded

    def set(self, name: str, value: str) -> None:
        """Replace every line of ``name`` with one; raises as :meth:`add` does."""
        line = _line(name, value)  # first, so that a bad one changes nothing
        if field_name(name) in self.index:
            self.remove(name)
        self.extend((line,))

    def remove(self, *names: str) -> None:
        """Drop every line of these names; an absent name is no error."""
        index = self.index
        keys = {key for name in names if (key := field_name(name)) in index}
        if keys:
            kept: list[tuple[bytes, bytes]] = []
            gone: list[tuple[bytes, bytes]] = []
            for pair in self._raw:
                (gone if pair[0].lower() in keys else kept).append(pair)
            self._raw = kept
            self._index = index = dict(index)
            for key in keys:
                del index[key]
            if self._encoded is not None:
                self._encoded = _without(self._encoded, gone)
            self._shared = False

    def prepare(self) -> None:
        """Make what is otherwise made when asked for, so that all copies share it."""
        _ = self.index, self.encoded

    def copy(self) -> Headers:
        """Return headers that can be changed without changing these."""
        twin = Headers.__new__(Headers)
        twin._raw = self._raw
        twin._index = self._index
        twin._encoded = self._encoded
        twin._shared = self._shared = True
        return twin

    def __contains__(self, name: str) -> bool:
        return field_name(name) in self.index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in self._raw:
            yield name.decode("latin-1"), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self._raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._raw == other._raw

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        # Names only: values hold credentials, and a repr ends up in logs.
        return f"Headers({[name.decode('latin-1') for name, _ in self._raw]})"
