"""Header fields as they are on the wire: ordered, byte-exact, looked up without regard to case.

The gateway forwards most fields untouched, so the truth is the lines as received.
Values are bytes because RFC 9110 section 5.5 allows obs-text: decoding and encoding again as UTF-8
would change it. The ``str`` methods use latin-1, which maps every byte to one character and back.

So headers are the bytes that go on the wire, and an index of them. Nearly every message has its
bytes and its index in common with one seen before, gets a line or two more, and is sent on without
anybody having asked for single lines: those are made from the bytes when somebody does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

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


# What a letter or a digit is not, CGI's variables (RFC 3875 section 4.1.18) have as "_".
_AS_CGI = bytes(
    ord(char.lower()) if char.isascii() and char.isalnum() else ord("-")
    for char in map(chr, range(256))
)


def as_cgi_reads(name: bytes) -> bytes:
    """Return the name, in lower case with ``-``, that CGI and its heirs take a field's name for.

    They cannot tell ``X_User_Id`` from ``X-User-Id``, and some of them not ``X.User.Id`` either.
    """
    return name.translate(_AS_CGI)


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


def _join(index: dict[bytes, bytes], key: bytes, value: bytes) -> None:
    # Joining is what RFC 9110 section 5.2 says that several lines mean, and it is the safe reading:
    # a second X-API-Key line makes the key wrong instead of being overlooked.
    index[key] = index[key] + b", " + value if key in index else value


@lru_cache(maxsize=1024)
def _lines_of(key: bytes) -> re.Pattern[bytes]:
    """Return what matches the field lines of a name in lower case."""
    return re.compile(rb"^%b:.*\n" % re.escape(key), re.IGNORECASE | re.MULTILINE)


class Headers(Struct, eq=False, kw_only=True):
    """The header (or trailer) fields of one message.

    A copy has everything in common with its original until one of them changes: neither bytes nor
    index are ever changed, but replaced. What changes them keeps both in step: the methods.

    Attributes:
        encoded: All field lines as they go on the wire, each with its CRLF.
        index: Lower-case name to value; lines of the same name are joined with ``, ``.

    """

    encoded: bytes = b""
    index: Mapping[bytes, bytes] = {}

    if TYPE_CHECKING:

        def copy(self) -> Headers:
            """Return headers that can be changed without changing these."""

    else:
        copy = Struct.__copy__  # what a struct has already, without a call of ours around it

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Build from text pairs; names and values are checked as in :meth:`add`."""
        return cls.of_lines([_line(name, value) for name, value in fields])

    @classmethod
    def of_lines(cls, lines: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Build from names and values that the caller vouches for, as with :meth:`extend`."""
        headers = cls()
        headers.extend(lines)
        return headers

    @property
    def raw(self) -> Sequence[tuple[bytes, bytes]]:
        """The (name, value) pairs in wire order."""
        pairs = (line.partition(b": ") for line in self.encoded.split(b"\r\n")[:-1])
        return [(name, value) for name, _, value in pairs]

    def value(self, key: bytes) -> bytes | None:
        """Return the combined value of a name in lower case, ``None`` where it is absent."""
        return self.index.get(key)

    def lacks(self, keys: AbstractSet[bytes]) -> bool:
        """Whether none of these names, in lower case, is there."""
        return keys.isdisjoint(self.index)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the combined value of ``name``, or ``default`` where it is absent."""
        value = self.value(field_name(name))
        return default if value is None else value.decode("latin-1")

    def get_all(self, name: str) -> list[str]:
        """Return the value of every line of ``name``, in order."""
        key = field_name(name)
        return [value.decode("latin-1") for other, value in self.raw if other.lower() == key]

    def add(self, name: str, value: str) -> None:
        """Append a line.

        Raises:
            ValueError: the name is not a token, or it is one that frames the message or ends at
                this hop, or the value holds control characters.

        """
        self.extend((_line(name, value),))

    def extend(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        """Append lines that the caller vouches for: only that each is one line is checked.

        Raises:
            ValueError: a name or value has a line end within, with which it would be two.

        """
        index = dict(self.index)
        encoded = []
        for name, value in lines:
            _join(index, name.lower(), value)
            encoded.append(b"%b: %b\r\n" % (name, value))
        added = b"".join(encoded)
        if not added.count(b"\r") == added.count(b"\n") == len(encoded):
            raise ValueError("a line end in a header field")
        self.index = index
        self.encoded += added

    def put(self, key: bytes, value: bytes, line: bytes) -> None:
        """Append a line that the caller has encoded; a third of the time of :meth:`add`.

        Args:
            key: The name in lower case.
            value: The value.
            line: The line as it goes on the wire, with its CRLF.

        """
        index = {**self.index}
        index[key] = index[key] + b", " + value if key in index else value
        self.index = index
        self.encoded += line

    def extend_with(self, other: Headers) -> None:
        """Append the lines of other headers."""
        index = {**self.index, **other.index}
        if len(index) < len(self.index) + len(other.index):  # some are in both
            index = {**self.index}
            for key, value in other.index.items():
                _join(index, key, value)
        self.index = index
        self.encoded += other.encoded

    def set(self, name: str, value: str) -> None:
        """Replace every line of ``name`` with one; raises as :meth:`add` does."""
        line = _line(name, value)  # first, so that a bad one changes nothing
        self.remove(name)
        self.extend((line,))

    def remove(self, *names: str) -> None:
        """Drop every line of these names; an absent name is no error."""
        present = [key for key in map(field_name, names) if key in self.index]
        if present:
            index = dict(self.index)
            for key in present:
                index.pop(key, None)  # named twice, it is gone already
                self.encoded = _lines_of(key).sub(b"", self.encoded)
            self.index = index

    def __contains__(self, name: str) -> bool:
        return self.value(field_name(name)) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in self.raw:
            yield name.decode("latin-1"), value.decode("latin-1")

    def __len__(self) -> int:
        return self.encoded.count(b"\r\n")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.encoded == other.encoded

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        # Names only: values hold credentials, and a repr ends up in logs.
        return f"Headers({[name.decode('latin-1') for name, _ in self.raw]})"
