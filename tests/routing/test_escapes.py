"""Percent-encoding: the canonical and the matching form, and parameters there and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.routing.escapes import (
    canonical,
    decode,
    decode_segments,
    encode,
    is_ordinary,
    matching,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/my file", "/my%20file"),
        ("/caf\u00e9/\u4e2d", "/caf%C3%A9/%E4%B8%AD"),
        ("/%41%3a", "/A%3A"),
    ],
)
def test_configured_paths_become_canonical(path: str, expected: str) -> None:
    assert canonical(path) == expected


@pytest.mark.parametrize(
    "path",
    ["", "a", "/a/../b", "/..", "/%2e%2e/", "/..;x", "/a\\b", "/a?b", "/a#b", "/a\n", "/%0a", "/%"],
)
def test_configured_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        canonical(path)


@pytest.mark.parametrize("octet", range(256))
def test_only_escapes_that_no_policy_is_about_are_ordinary(octet: int) -> None:
    unreserved = octet < 128 and (chr(octet).isalnum() or chr(octet) in "-._~")
    plain = octet >= 0x20 and octet != 0x7F and chr(octet) not in "%/;\\" and not unreserved
    plain = plain and octet not in (
        0xC0,
        0xC1,
        0xE0,
        0xF0,
        0xF8,
        0xFC,
    )  # may begin an overlong form
    assert bool(is_ordinary(f"/a%{octet:02X}.b")) is plain
    assert bool(is_ordinary(f"/%{octet:02X}")) is plain


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "//",
        "/a//b",
        "/.",
        "/..",
        "/a/./b",
        "/a/..",
        "/..a",
        "/.;",
        "/a;b",
        "/a%2fb",
        "/%c3",
        "/%",
        "/a b",
    ],
)
def test_what_may_have_to_change_is_not_ordinary(path: str) -> None:
    assert not is_ordinary(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a", "/a"),
        ("/a%3Ab%40%2B%3B", "/a:b@+;"),
        ("/%2F%5C%25%20%C3%A9", "/%2F%5C%25%20%C3%A9"),
    ],
)
def test_routes_are_compared_with_reserved_characters_decoded(path: str, expected: str) -> None:
    assert matching(path) == expected


@pytest.mark.parametrize(
    ("text", "decoded"),
    [("a+b", "a+b"), ("a%20b", "a b"), ("%C3%A9", "\u00e9"), ("%FF", "\ufffd"), ("%2F", "/")],
)
def test_a_parameter_is_decoded(text: str, decoded: str) -> None:
    assert decode(text) == decoded


def test_segments_stay_apart_when_decoded() -> None:
    assert decode_segments("a%20b/c%2Fd%5C%25") == "a b/c%2Fd%5C%25"


@given(value=st.text())
@settings(deadline=None)
def test_an_encoded_parameter_decodes_to_itself(value: str) -> None:
    if "\ufffd" not in value and not any("\ud800" <= one <= "\udfff" for one in value):
        encoded = encode(value)
        assert decode(encoded) == value
        assert not set("/?#;&=\r\n ") & set(encoded)


@pytest.mark.parametrize("path", ["a/b", "a%20b/%C3%A9", "a%2Fb/%25", "%2F", ""])
def test_encoded_segments_are_what_they_were(path: str) -> None:
    assert encode(decode_segments(path), segments=True) == path


def test_a_parameter_that_lost_octets_is_not_sent() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        encode(decode("%FF"))
