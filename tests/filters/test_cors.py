"""cors: who may read what, by the rules of the Fetch standard."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatewayd import Headers, Reject, Response
from gatewayd.pipeline import link
from gatewayd.testing import Recorder, make_exchange, running
from gatewayd_filters.cors import Cors, CorsConfig

APP = "https://app.example.org"
ALLOW = "Access-Control-Allow-Origin"


async def ask(
    settings: dict[str, object], origin: str | None, upstream: Recorder | None = None
) -> Response:
    """Send a GET of this origin through a cors filter."""
    headers = {} if origin is None else {"Origin": origin}
    async with running(Cors, settings) as cors:
        return await cors(make_exchange(headers=headers), upstream or Recorder())


async def preflight(
    settings: dict[str, object], origin: str = APP, **headers: str
) -> tuple[Response, Recorder]:
    """Send a preflight of this origin for a PUT through a cors filter."""
    upstream = Recorder()
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT", **headers}
    async with running(Cors, settings) as cors:
        response = await cors(make_exchange("OPTIONS", headers=asked), upstream)
    return response, upstream


@pytest.mark.parametrize(
    ("allowed", "origin", "granted"),
    [
        (APP, APP, True),
        (APP, "http://app.example.org", False),
        (APP, "https://app.example.org:8443", False),
        (APP, "https://app.example.org.evil.test", False),
        (APP, "https://evil.test", False),
        (APP, "null", False),
        ("HTTPS://App.Example.Org", APP, True),
        ("null", "null", True),
        ("https://*.example.org", APP, True),
        ("https://*.example.org", "https://a.b-c.example.org", True),
        ("https://*.example.org", "https://example.org", False),
        ("https://*.example.org", "https://.example.org", False),
        ("https://*.example.org", "https://badexample.org", False),
        ("https://*.example.org", "https://evil.test/.example.org", False),
        ("https://*.example.org", "https://evil.test#.example.org", False),
        ("https://*.example.org", "https://a.example.org:8443", False),
        ("https://*.example.org", "https://a.example.org.evil.test", False),
        ("https://*.example.org", "https://*.example.org", False),
        ("http://*.test:8080", "http://a.test:8080", True),
        (r"~https://[a-z]+-preview\.example\.org", "https://new-preview.example.org", True),
        (r"~https://[a-z]+-preview\.example\.org", "https://new-preview.example.org.evil", False),
        (r"~https://[a-z]+-preview\.example\.org", "xhttps://new-preview.example.org", False),
        ("~https://.*", "https://b\xfccher.example", True),
        ("~.*", "null", False),
        ("~.*", "https://" + "a" * 300, False),
    ],
)
async def test_grants_only_allowed_origins(allowed: str, origin: str, granted: bool) -> None:
    response = await ask({"allow_origins": [APP + ":1", allowed]}, origin)
    assert response.headers.get_all(ALLOW) == ([origin] if granted else [])


# A cache may give the response to who sends no origin to a page that does.
@pytest.mark.parametrize("origin", [APP, "null", None])
async def test_a_star_grants_all_and_varies_with_nothing(origin: str | None) -> None:
    answer = Response(200, Headers.of([(ALLOW, "https://evil.test")]))
    response = await ask({"allow_origins": ["*"]}, origin, Recorder(answer))
    assert response.headers.get_all(ALLOW) == ["*"]
    assert (response.headers.get(ALLOW), "Vary" in response.headers) == ("*", False)


async def test_an_origin_that_is_sent_twice_is_no_origin() -> None:
    exchange = make_exchange(headers=[("Origin", APP), ("Origin", APP)])
    async with running(Cors, {"allow_origins": [APP]}) as cors:
        response = await cors(exchange, Recorder())
    assert ALLOW not in response.headers


async def test_marks_responses_for_an_allowed_origin() -> None:
    settings = {
        "allow_origins": [APP],
        "allow_credentials": True,
        "expose_headers": ["X-Total", "ETag"],
    }
    response = await ask(settings, APP)
    assert list(response.headers) == [
        (ALLOW, APP),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Total, ETag"),
        ("Vary", "Origin"),
    ]


@pytest.mark.parametrize("origin", [APP, "https://evil.test"])
async def test_the_upstream_does_not_speak_for_the_gateway(origin: str) -> None:
    answer = Response(200, Headers.of([(ALLOW, "*"), ("ACCESS-CONTROL-ALLOW-CREDENTIALS", "true")]))
    response = await ask({"allow_origins": [APP]}, origin, Recorder(answer))
    assert response.headers.get_all(ALLOW) == ([APP] if origin == APP else [])
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["Origin"]),
        (["Accept-Encoding"], ["Accept-Encoding", "Origin"]),
        (["accept, origin"], ["accept, origin"]),
        (["Accept", "ORIGIN"], ["Accept", "ORIGIN"]),
        (["X-Origin"], ["X-Origin", "Origin"]),
        (["*"], ["*"]),
    ],
)
@pytest.mark.parametrize("origin", [APP, "https://evil.test", None])
async def test_caches_are_told_that_the_origin_matters(
    origin: str | None, before: list[str], after: list[str]
) -> None:
    answer = Response(200, Headers.of([("Vary", value) for value in before]))
    response = await ask({"allow_origins": [APP]}, origin, Recorder(answer))
    assert response.headers.get_all("Vary") == after


async def test_refusals_can_be_read_by_the_page() -> None:
    exchange = make_exchange(headers={"Origin": APP})
    async with running(Cors, {"allow_origins": [APP]}) as cors:
        response = await link([cors], Recorder(Reject(401, "no_credentials")))(exchange)
    assert (response.status, response.headers.get(ALLOW)) == (401, APP)


async def test_answers_a_preflight() -> None:
    settings = {
        "allow_origins": [APP],
        "allow_methods": ["GET", "PUT"],
        "allow_headers": ["Content-Type", "X-API-Key"],
        "max_age": 300,
    }
    response, upstream = await preflight(settings)
    assert (response.status, response.body) == (204, b"")
    assert list(response.headers) == [
        (ALLOW, APP),
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "Content-Type, X-API-Key"),
        ("Access-Control-Max-Age", "300"),
        ("Vary", "Origin"),
    ]
    assert not upstream.exchanges


async def test_refuses_the_preflight_of_another_origin() -> None:
    with pytest.raises(Reject) as caught:
        await preflight({"allow_origins": [APP]}, "https://evil.test")
    reject = caught.value
    assert (reject.status, reject.code, reject.headers) == (
        403,
        "cors_denied",
        [("Vary", "Origin")],
    )


@pytest.mark.parametrize(("allowed", "granted"), [(True, "true"), (False, None)])
async def test_grants_private_networks_if_told_so(allowed: bool, granted: str | None) -> None:
    response, _ = await preflight(
        {"allow_origins": [APP], "allow_private_network": allowed},
        **{"Access-Control-Request-Private-Network": "true"},
    )
    assert response.headers.get("Access-Control-Allow-Private-Network") == granted


async def test_does_not_mention_private_networks_unasked() -> None:
    response, _ = await preflight({"allow_origins": [APP], "allow_private_network": True})
    assert "Access-Control-Allow-Private-Network" not in response.headers


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"Origin": APP}),
        ("OPTIONS", {"Access-Control-Request-Method": "PUT"}),
        ("GET", {"Origin": APP, "Access-Control-Request-Method": "PUT"}),
    ],
)
async def test_what_is_no_preflight_goes_on(method: str, headers: dict[str, str]) -> None:
    upstream = Recorder()
    async with running(Cors, {"allow_origins": [APP]}) as cors:
        await cors(make_exchange(method, headers=headers), upstream)
    assert len(upstream.exchanges) == 1


async def test_without_origins_services_handle_cors_themselves() -> None:
    answer = Response(204, Headers.of([(ALLOW, APP)]))
    upstream = Recorder(answer)
    headers = {"Origin": APP, "Access-Control-Request-Method": "PUT"}
    async with running(Cors) as cors:
        response = await cors(make_exchange("OPTIONS", headers=headers), upstream)
    assert list(response.headers) == [(ALLOW, APP)]


async def test_without_origins_a_preflight_that_cannot_go_on_is_refused() -> None:
    headers = {"Origin": APP, "Access-Control-Request-Method": "PUT"}
    exchange = make_exchange("OPTIONS", headers=headers, values={"preflight": True})
    async with running(Cors) as cors:
        with pytest.raises(Reject) as caught:
            await cors(exchange, Recorder())
    assert (caught.value.status, caught.value.code) == (403, "cors_denied")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"allow_origins": ["https://example.org/"]}, id="trailing slash"),
        pytest.param({"allow_origins": ["example.org"]}, id="no scheme"),
        pytest.param({"allow_origins": ["https://"]}, id="no host"),
        pytest.param({"allow_origins": ["https://a*.example.org"]}, id="star within a label"),
        pytest.param({"allow_origins": ["https://*"]}, id="star alone"),
        pytest.param({"allow_origins": ["https://user@example.org"]}, id="user"),
        pytest.param({"allow_origins": ["https://example.org:443"]}, id="default port"),
        pytest.param({"allow_origins": ["https://example.org:99999"]}, id="bad port"),
        pytest.param({"allow_origins": ["https://b\xfccher.example"]}, id="not in xn-- form"),
        pytest.param({"allow_origins": ["~("]}, id="bad regex"),
        pytest.param({"allow_origins": [""]}, id="empty"),
        pytest.param({"allow_headers": ["X Y"]}, id="bad field name"),
        pytest.param({"allow_methods": ["get"]}, id="lower-case method"),
        pytest.param({"allow_origins": ["*"], "allow_credentials": True}, id="star, credentials"),
        pytest.param(
            {"allow_origins": [APP], "allow_headers": ["*"], "allow_credentials": True},
            id="star among the fields, credentials",
        ),
        pytest.param(
            {"allow_origins": [APP, "null"], "allow_credentials": True}, id="null, credentials"
        ),
        pytest.param({"allow_origins": ["~.*"], "allow_credentials": True}, id="any, credentials"),
        pytest.param(
            {"allow_origins": ["~https://.+"], "allow_credentials": True},
            id="any of https, credentials",
        ),
    ],
)
def test_refuses_settings_that_cannot_work(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CorsConfig.model_validate(settings)
