from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gatewayd import Headers
from gatewayd.headers import CONNECTION_LEVEL, field_name

ACCEPT = [(b"Accept", b"text/html"), (b"ACCEPT", b"text/plain")]


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "a\n", "\x00", "caf\xe9", "\u20ac", '"a"', "a/b"]
)
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"not a header field name: {name!r}")):
        field_name(name)
    for use in (Headers().get, Headers().get_all, Headers().remove, Headers().__contains__):
        with pytest.raises(ValueError, match="not a header field name"):
            use(name)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "\r", "a\x00", "\x0b", "\x7f", "a\x1fb", "€"])
def test_a_value_has_no_control_characters_and_is_latin_1(value: str) -> None:
    headers = Headers.of([("A", "1")])
    for change in (headers.add, headers.set):
        with pytest.raises(ValueError, match=r"control|latin-1"):
            change("A", value)
    assert list(headers) == [("A", "1")]


@pytest.mark.parametrize(
    "line", [(b"A", b"1\r\nB: 2"), (b"A", b"\n"), (b"A", b"\r"), (b"A\r\nB", b"1")]
)
def test_what_the_caller_vouches_for_is_one_line_all_the_same(line: tuple[bytes, bytes]) -> None:
    headers = Headers.of([("C", "3")])
    with pytest.raises(ValueError, match="line end"):
        headers.extend([line])
    assert list(headers) == [("C", "3")]
    assert not headers.value(b"a")


@pytest.mark.parametrize("name", sorted(CONNECTION_LEVEL))
def test_what_frames_the_message_is_not_for_filters(name: bytes) -> None:
    text = name.decode().title()
    headers = Headers.of_lines([(name, b"x")])
    for change in (headers.add, headers.set):
        with pytest.raises(ValueError, match="written by the gateway"):
            change(text, "y")
    assert headers.raw == [(name, b"x")]


@pytest.mark.parametrize(
    ("value", "raw"),
    [(" a\t", b"a"), ("a\tb", b"a\tb"), ("", b""), ("caf\xe9", b"caf\xe9"), ("\xff", b"\xff")],
)
def test_a_value_is_stripped_of_white_space_and_otherwise_kept(value: str, raw: bytes) -> None:
    headers = Headers.of([("A", value)])
    assert headers.raw == [(b"A", raw)]
    assert headers.get("a") == raw.decode("latin-1")


def test_lines_are_looked_up_without_regard_to_case_and_kept_as_they_are() -> None:
    headers = Headers.of_lines(ACCEPT)
    assert headers.get("accept") == "text/html, text/plain"
    assert headers.get_all("aCCept") == ["text/html", "text/plain"]
    assert "ACCEPT" in headers
    assert headers.encoded == b"Accept: text/html\r\nACCEPT: text/plain\r\n"
    assert list(headers) == [("Accept", "text/html"), ("ACCEPT", "text/plain")]
    assert len(headers) == 2


def test_what_is_absent() -> None:
    headers = Headers.of_lines(ACCEPT)
    headers.remove("Cookie")
    assert headers.get("Cookie") is None
    assert headers.get("Cookie", "none") == "none"
    assert headers.get_all("Cookie") == []
    assert "Cookie" not in headers
    assert headers.raw == ACCEPT


def test_set_replaces_every_line() -> None:
    headers = Headers.of_lines([*ACCEPT, (b"Via", b"x")])
    headers.set("accept", "*/*")
    assert headers.raw == [(b"Via", b"x"), (b"accept", b"*/*")]


def test_extend_does_not_check() -> None:
    headers = Headers()
    headers.extend([(b"Connection", b"close"), (b"A", b"\x01")])
    assert headers.encoded == b"Connection: close\r\nA: \x01\r\n"


def test_equal_means_the_same_lines_in_the_same_order() -> None:
    assert Headers.of_lines(ACCEPT) == Headers.of_lines(ACCEPT)
    assert Headers.of_lines(ACCEPT) != Headers.of_lines(ACCEPT[::-1])
    assert Headers.of_lines(ACCEPT) != ACCEPT


def test_a_repr_has_names_only() -> None:
    assert repr(Headers.of_lines([(b"Authorization", b"secret")])) == "Headers(['Authorization'])"


NAMES = st.sampled_from(["A", "a", "B", "X-Long-Name"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))


def is_consistent(headers: Headers, lines: list[tuple[bytes, bytes]]) -> None:
    """Check everything that headers tell of themselves against the lines that they should have."""
    assert list(headers.raw) == lines
    fresh = Headers.of_lines(lines)
    assert headers.encoded == fresh.encoded
    assert headers.index == fresh.index
    for key in (b"a", b"b", b"absent"):
        assert headers.value(key) == fresh.index.get(key)
        assert headers.lacks({key}) == (key not in fresh.index)
    assert headers == fresh


class CopiesAreIndependent(RuleBasedStateMachine):
    """Whatever is done to headers changes those, and no copy of them nor what they are a copy of.

    Each one is kept beside the list of lines that it should have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: list[tuple[Headers, list[tuple[bytes, bytes]]]] = []

    numbers = Bundle[int]("numbers")

    def keep(self, headers: Headers, lines: list[tuple[bytes, bytes]]) -> int:
        self.known.append((headers, lines))
        return len(self.known) - 1

    @rule(target=numbers, fields=st.lists(st.tuples(NAMES, VALUES), max_size=4))
    def make(self, fields: list[tuple[str, str]]) -> int:
        headers = Headers.of(fields)
        return self.keep(headers, list(headers.raw))

    @rule(target=numbers, number=numbers)
    def copy(self, number: int) -> int:
        headers, lines = self.known[number]
        return self.keep(headers.copy(), list(lines))

    @rule(number=numbers, name=NAMES, value=VALUES)
    def add(self, number: int, name: str, value: str) -> None:
        headers, lines = self.known[number]
        headers.add(name, value)
        lines.append((name.encode(), value.strip(" \t").encode("latin-1")))

    @rule(number=numbers, name=NAMES, value=VALUES)
    def set(self, number: int, name: str, value: str) -> None:
        headers, lines = self.known[number]
        headers.set(name, value)
        lines[:] = [line for line in lines if line[0].lower() != name.lower().encode()]
        lines.append((name.encode(), value.strip(" \t").encode("latin-1")))

    @rule(number=numbers, names=st.lists(NAMES, max_size=2))
    def remove(self, number: int, names: list[str]) -> None:
        headers, lines = self.known[number]
        headers.remove(*names)
        gone = {name.lower().encode() for name in names}
        lines[:] = [line for line in lines if line[0].lower() not in gone]

    @rule(number=numbers, values=st.lists(st.binary(max_size=3), max_size=3))
    def extend(self, number: int, values: list[bytes]) -> None:
        headers, lines = self.known[number]
        added = [(b"E", value) for value in values]
        if any(b"\r" in value or b"\n" in value for value in values):
            with pytest.raises(ValueError, match="line end"):
                headers.extend(added)
        else:
            headers.extend(added)
            lines.extend(added)

    @rule(number=numbers, fields=st.lists(st.tuples(NAMES, VALUES), max_size=3))
    def extend_with(self, number: int, fields: list[tuple[str, str]]) -> None:
        headers, lines = self.known[number]
        other = Headers.of(fields)
        headers.extend_with(other)
        lines.extend(other.raw)
        is_consistent(other, list(Headers.of(fields).raw))

    @rule(number=numbers, name=NAMES, value=VALUES)
    def put(self, number: int, name: str, value: str) -> None:
        headers, lines = self.known[number]
        line = name.encode(), value.strip(" \t").encode("latin-1")
        headers.put(line[0].lower(), line[1], b"%b: %b\r\n" % line)
        lines.append(line)

    @rule(number=numbers, count=st.integers(8, 20))
    def add_many(self, number: int, count: int) -> None:
        headers, lines = self.known[number]
        for value in map(str, range(count)):
            headers.add("B", value)
            lines.append((b"B", value.encode()))

    # What is made when asked for is made at different times, before and after copying.
    @rule(number=numbers)
    def ask_index(self, number: int) -> None:
        assert set(self.known[number][0].index) <= {b"a", b"b", b"e", b"x-long-name"}

    @rule(number=numbers)
    def ask_encoded(self, number: int) -> None:
        assert self.known[number][0].encoded.count(b"\r\n") >= len(self.known[number][1])

    @invariant()
    def lines_are_those_of_the_model(self) -> None:
        for headers, lines in self.known:
            assert list(headers.raw) == lines

    def teardown(self) -> None:
        for headers, lines in self.known:
            is_consistent(headers, lines)


TestCopiesAreIndependent = CopiesAreIndependent.TestCase


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_text_and_bytes_agree(fields: list[tuple[str, str]]) -> None:
    headers = Headers.of(fields)
    is_consistent(headers, [(n.encode(), v.strip(" \t").encode("latin-1")) for n, v in fields])
    for name, _ in fields:
        assert headers.get(name) == ", ".join(headers.get_all(name))
