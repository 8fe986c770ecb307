"""Path normalisation: what paths become, what is refused, and what no path gets past."""

from __future__ import annotations

import itertools
import re
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.schema import RoutingConfig
from gatewayd.errors import Reject
from gatewayd.routing.normalise import PathPolicy

DEFAULT = PathPolicy(RoutingConfig())


def policy(**config: str) -> PathPolicy:
    return PathPolicy(RoutingConfig.model_validate(config))


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        pytest.param("/", "/", id="root"),
        pytest.param("/a/b", "/a/b", id="ordinary"),
        pytest.param("/a/b/", "/a/b/", id="trailing-slash-stays"),
        pytest.param("/a.b/.well-known/...", "/a.b/.well-known/...", id="dots-that-are-names"),
        pytest.param("/!$&'()*+,=:@-._~", "/!$&'()*+,=:@-._~", id="all-that-may-stand-raw"),
        pytest.param("/%41%7e%2D%5f", "/A~-_", id="unreserved-is-decoded"),
        pytest.param("/%c3%a9%3a%2b", "/%C3%A9%3A%2B", id="other-escapes-get-upper-case"),
        pytest.param("/caf\xc3\xa9", "/caf%C3%A9", id="raw-octets-are-encoded"),
        pytest.param("/%ff%fe", "/%FF%FE", id="not-utf-8-stays-encoded"),
        pytest.param("/%20%22", "/%20%22", id="what-may-not-stand-raw-stays-encoded"),
        pytest.param('/"<>^`{|}[]', "/%22%3C%3E%5E%60%7B%7C%7D%5B%5D", id="raw-illegal-is-encoded"),
        pytest.param("/a//b///c", "/a/b/c", id="slashes-are-merged"),
        pytest.param("//a", "/a", id="leading-slashes-are-merged"),
        pytest.param("/a/./b", "/a/b", id="dot"),
        pytest.param("/a/../b", "/b", id="dot-dot"),
        pytest.param("/a/b/..", "/a/", id="final-dot-dot"),
        pytest.param("/a/.", "/a/", id="final-dot"),
        pytest.param("/a/..", "/", id="up-to-the-root"),
        pytest.param("/a/%2e%2E/b", "/b", id="encoded-dot-dot"),
        pytest.param("/a/.%2e/b", "/b", id="half-encoded-dot-dot"),
        pytest.param("/a//../b", "/b", id="merged-before-resolved"),
        pytest.param("/a;v=1/b;w", "/a;v=1/b;w", id="parameters"),
        pytest.param("/app/;jsessionid=1", "/app/;jsessionid=1", id="final-empty-with-parameter"),
        pytest.param("/100%25", "/100%25", id="percent-sign"),
        pytest.param("/%25zz", "/%25zz", id="percent-sign-before-no-digits"),
    ],
)
def test_makes_one_form(raw: str, normalised: str) -> None:
    assert DEFAULT.normalise(raw) == normalised


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("", id="empty"),
        pytest.param("*", id="asterisk"),
        pytest.param("a/b", id="relative"),
        pytest.param("/a#b", id="fragment"),
        pytest.param("/a?b", id="query"),
        pytest.param("/a b", id="space"),
        pytest.param("/a\tb", id="tab"),
        pytest.param("/a\r\nb", id="line-break"),
        pytest.param("/a\x00b", id="nul"),
        pytest.param("/a\x7fb", id="delete"),
        pytest.param("/\u0101", id="not-latin-1"),
        pytest.param("/%", id="lone-percent"),
        pytest.param("/%4", id="short-escape"),
        pytest.param("/%zz", id="no-digits"),
        pytest.param("/%u002e", id="iis-escape"),
        pytest.param("/%00", id="encoded-nul"),
        pytest.param("/%0d%0a", id="encoded-line-break"),
        pytest.param("/%1F", id="encoded-control"),
        pytest.param("/%7f", id="encoded-delete"),
        pytest.param("/..", id="above-the-root"),
        pytest.param("/a/../../b", id="above-the-root-later"),
        pytest.param("/%2e%2e/", id="above-the-root-encoded"),
        pytest.param("//..", id="slashes-do-not-count-as-levels"),
        pytest.param("/a%2fb", id="encoded-slash"),
        pytest.param("/a%5Cb", id="encoded-backslash"),
        pytest.param("/a\\b", id="backslash"),
        pytest.param("/%252e", id="double-encoding"),
        pytest.param("/%25%32%65", id="double-encoding-encoded"),
        pytest.param("/%25252e", id="triple-encoding"),
        pytest.param("/..;/admin", id="dots-before-parameter"),
        pytest.param("/a/.;x=1/admin", id="dot-before-parameter"),
        pytest.param("/a/%2e%2e;/admin", id="encoded-dots-before-parameter"),
        pytest.param("/a/..%3b/admin", id="dots-before-encoded-semicolon"),
        pytest.param("/;x/admin", id="nothing-before-parameter"),
        pytest.param("/%c0%ae%c0%ae/admin", id="overlong-dots"),
        pytest.param("/..%C1%9Cadmin", id="overlong-backslash"),
        pytest.param("/%e0%80%af", id="overlong-in-three-bytes"),
        pytest.param("/%F0%80%80%AE", id="overlong-in-four-bytes"),
        pytest.param("/%f8%80%80%80%af", id="overlong-in-five-bytes"),
        pytest.param("/%FC%80%80%80%80%AE", id="overlong-in-six-bytes"),
    ],
)
def test_refuses_by_default(raw: str) -> None:
    with pytest.raises(Reject) as caught:
        DEFAULT.normalise(raw)
    assert (caught.value.status, caught.value.code) == (400, "bad_path")


@pytest.mark.parametrize(
    ("config", "raw", "normalised"),
    [
        ({"dot_segments": "reject"}, "/a/../b", None),
        ({"dot_segments": "reject"}, "/a/%2e", None),
        ({"dot_segments": "reject"}, "/.a/..b", "/.a/..b"),
        ({"duplicate_slashes": "keep"}, "/a//b", "/a//b"),
        ({"duplicate_slashes": "keep"}, "/a//../b", "/a/b"),
        ({"duplicate_slashes": "reject"}, "/a//b", None),
        ({"encoded_slashes": "keep"}, "/a%2fb%5c", "/a%2Fb%5C"),
        ({"encoded_slashes": "keep"}, "/a/..%2fb", None),
        ({"encoded_slashes": "keep"}, "/a%2f..", None),
        ({"encoded_slashes": "keep"}, "/a%5c%2e/b", None),
        ({"encoded_slashes": "keep"}, "/a%2f..;x", None),
        ({"encoded_slashes": "decode"}, "/a%2fb", "/a/b"),
        ({"encoded_slashes": "decode"}, "/a%2f%2e%2e%2Fb", "/b"),
        ({"encoded_slashes": "decode"}, "/a%5cb", None),
        ({"encoded_slashes": "decode", "backslashes": "decode"}, "/a%5c..%5Cb", "/b"),
        ({"backslashes": "decode"}, "/a\\b", "/a/b"),
        ({"backslashes": "decode"}, "/a\\..\\b", "/b"),
        ({"backslashes": "decode"}, "/a%5cb", None),
        ({"double_encoding": "keep"}, "/%252e", "/%252e"),
        ({"path_parameters": "reject"}, "/a;b", None),
        ({"path_parameters": "reject"}, "/a%3bb", "/a%3Bb"),
    ],
)
def test_does_what_the_policy_says(
    config: dict[str, str], raw: str, normalised: str | None
) -> None:
    if normalised is not None:
        assert policy(**config).normalise(raw) == normalised
        return
    with pytest.raises(Reject) as caught:
        policy(**config).normalise(raw)
    assert (caught.value.status, caught.value.code) == (400, "bad_path")


def test_an_ordinary_path_is_returned_as_it_is() -> None:
    path = "/api/v1/users/12345"
    assert DEFAULT.normalise(path) is path


def test_the_refusal_repeats_nothing_of_the_path() -> None:
    with pytest.raises(Reject) as caught:
        DEFAULT.normalise("/secret%00")
    assert "secret" not in caught.value.detail


PIECES = [
    "/", "//", ".", "..", "%2e", "%2E", "%2f", "%5C", "\\", ";", "%3b", "%25", "%252e", "%25%32",
    "2", "e", "F", "a", "%61", "\xe9", "%c3%a9", "%ff", "+", "%2B", "%", " ", "%00", "~", "%7e",
]  # fmt: skip
PATHS = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces))
POLICIES = [
    policy(
        dot_segments=dots,
        duplicate_slashes=slashes,
        encoded_slashes=encoded,
        double_encoding=double,
        backslashes=backslashes,
    )
    for dots, slashes, encoded, double, backslashes in itertools.product(
        ["resolve", "reject"],
        ["merge", "keep", "reject"],
        ["reject", "keep", "decode"],
        ["reject", "keep"],
        ["reject", "decode"],
    )
]


def accepted(one: PathPolicy, raw: str) -> str | None:
    try:
        return one.normalise(raw)
    except Reject:
        return None


@given(raw=PATHS, one=st.sampled_from(POLICIES))
@settings(deadline=None, max_examples=500)
def test_a_normalised_path_is_normal(raw: str, one: PathPolicy) -> None:
    path = accepted(one, raw)
    if path is not None:
        assert one.normalise(path) == path


@given(raw=PATHS, one=st.sampled_from(POLICIES))
@settings(deadline=None, max_examples=500)
def test_nothing_but_canonical_characters_and_segments_comes_out(raw: str, one: PathPolicy) -> None:
    path = accepted(one, raw)
    if path is not None:
        assert re.fullmatch(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*", path)
        assert not {".", ".."} & set(path.split("/"))


def as_lenient_origins_see(path: str) -> list[str]:
    """Decode twice, take backslashes for slashes, and cut path parameters off."""
    decoded = unquote(unquote(path, "latin-1"), "latin-1").replace("\\", "/")
    return [segment.partition(";")[0] for segment in decoded.split("/")[1:]]


@given(raw=PATHS)
@settings(deadline=None, max_examples=1000)
def test_no_origin_reads_another_path_out_of_it(raw: str) -> None:
    path = accepted(DEFAULT, raw)
    if path is not None:
        segments = as_lenient_origins_see(path)
        assert len(segments) == path.count("/")
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1]
        once = unquote(path, "latin-1")
        assert unquote(once, "latin-1") == once
