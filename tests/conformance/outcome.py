"""Outcomes and checks by name, the vocabulary of the case tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Observation, Outcome

if TYPE_CHECKING:
    from tests.conformance.case import Check
    from tests.conformance.wire import Message


def refused(*statuses: int, text: str = "") -> Outcome:
    """Return the outcome: an error response, the connection closed, nothing whole upstream."""
    codes = statuses or (400,)
    name = text or "/".join(map(str, codes))
    return Outcome(name, (frozenset(codes),), closed=True, requests=0)


def answered(*statuses: int, closed: bool | None = None, checks: tuple[Check, ...] = ()) -> Outcome:
    """Return the outcome: the proxy answers by itself and may keep the connection."""
    name = "/".join(map(str, statuses))
    return Outcome(name, (frozenset(statuses),), closed=closed, requests=0, checks=checks)


def forwarded(
    *checks: Check,
    statuses: tuple[int, ...] = (200,),
    requests: int | None = None,
    closed: bool | None = None,
    text: str = "forwarded",
) -> Outcome:
    """Return the outcome: as many answers of the origin as there are ``statuses``."""
    number = len(statuses) if requests is None else requests
    expected = tuple(frozenset({status}) for status in statuses)
    return Outcome(text, expected, closed=closed, requests=number, checks=checks)


def then_refused(*statuses: int, before: int = 1) -> Outcome:
    """Return the outcome: ``before`` requests are served, the next one is refused."""
    served = (frozenset({200}),) * before
    text = f"{before} served, then {'/'.join(map(str, statuses))}"
    return Outcome(text, (*served, frozenset(statuses)), closed=True, requests=before)


def served_and_closed(served: int = 1, *checks: Check) -> Outcome:
    """Return the outcome: so many requests are served, then the connection is closed."""
    text = f"{served} served, closed"
    return Outcome(text, (frozenset({200}),) * served, closed=True, requests=served, checks=checks)


DROPPED = Outcome("closed unanswered", (), closed=True, requests=0)
"""The connection is closed without an answer."""

UNANSWERED = Outcome("closed unanswered", (), closed=True)
"""Likewise, though the origin may have seen the request."""

MALFORMED = (refused(400), DROPPED)
"""A malformed request: RFC 9112 section 2.2 says SHOULD respond with 400."""

ABORTED = Outcome("breaks off", (frozenset(range(200, 600)),), closed=True, aborted=True)
"""The response breaks off so that the client sees that it is not whole."""


def bad_gateway(*statuses: int) -> Outcome:
    """Return the outcome: what the origin sent is not passed on; 502 unless told otherwise."""
    codes = statuses or (502,)
    name = "/".join(map(str, codes))
    return Outcome(name, (frozenset(codes),), checks=(not_from_origin,))


def not_from_origin(seen: Observation) -> str | None:
    """Check that the last response was not made by the origin."""
    leaked = seen.responses and seen.responses[-1].header("X-Origin") is not None
    return "a field of the bad response was passed on" if leaked else None


def content(expected: bytes) -> Check:
    """Check the body of the last response."""

    def check(seen: Observation) -> str | None:
        got = bytes(seen.responses[-1].body) if seen.responses else b""
        return None if got == expected else f"response body {got[:60]!r}"

    return check


def client_field(name: str, *expected: bytes | None) -> Check:
    """Check a field of the last response: one of these values; ``None`` is absence."""

    def check(seen: Observation) -> str | None:
        got = seen.responses[-1].header(name) if seen.responses else None
        return None if got in expected else f"response {name}: {got!r}"

    return check


def client_lines(name: str, *expected: bytes) -> Check:
    """Check that a field of the last response stands on exactly these lines."""

    def check(seen: Observation) -> str | None:
        got = seen.responses[-1].values(name) if seen.responses else []
        return None if got == list(expected) else f"response {name} lines: {got!r}"

    return check


def client_has(name: str) -> Check:
    """Check that the last response has a field."""

    def check(seen: Observation) -> str | None:
        there = seen.responses and seen.responses[-1].header(name)
        return None if there else f"no {name} in the response"

    return check


def interim(*statuses: int) -> Check:
    """Check which interim responses came, in order."""

    def check(seen: Observation) -> str | None:
        got = tuple(response.status for response in seen.interim)
        return None if got == statuses else f"interim responses {got}"

    return check


def tunnel(*checks: Check) -> Outcome:
    """Return the outcome: a tunnel that has carried bytes until both sides closed."""
    return Outcome("tunnel", (), closed=True, checks=checks)


def tunnelled(expected: bytes) -> Check:
    """Check what came through the tunnel."""

    def check(seen: Observation) -> str | None:
        return None if seen.tunnel == expected else f"through the tunnel: {seen.tunnel[:60]!r}"

    return check


def _last(seen: Observation) -> Message | None:
    return seen.complete_requests[-1] if seen.complete_requests else None


def origin_field(name: str, *expected: bytes | None) -> Check:
    """Check a field of the last request at the origin: one of these values; ``None`` is absence."""

    def check(seen: Observation) -> str | None:
        request = _last(seen)
        got = request.header(name) if request else None
        return None if got in expected else f"{name} at the origin: {got!r}"

    return check


def origin_lacks(name: str, *needles: bytes) -> Check:
    """Check that no request at the origin has these bytes in a field or trailer of this name.

    Without ``needles`` the field must be absent. Underscores count as hyphens, as CGI takes them
    (RFC 3875 section 4.1.18).
    """
    key = name.lower().encode()

    def check(seen: Observation) -> str | None:
        for request in seen.requests:
            for other, value in request.fields + request.trailers:
                same = other.lower().replace(b"_", b"-") == key
                if same and (not needles or any(needle in value for needle in needles)):
                    return f"{other.decode()}: {value!r} at the origin"
        return None

    return check


def origin_has(name: str, needle: bytes = b"") -> Check:
    """Check that the last request at the origin has a field that contains these bytes."""

    def check(seen: Observation) -> str | None:
        request = _last(seen)
        got = request.header(name) if request else None
        return None if got is not None and needle in got else f"{name} at the origin: {got!r}"

    return check


def origin_content(*expected: bytes) -> Check:
    """Check the bodies of the requests at the origin, in order."""

    def check(seen: Observation) -> str | None:
        got = tuple(bytes(request.body) for request in seen.complete_requests)
        return None if got == expected else f"bodies at the origin: {[one[:60] for one in got]!r}"

    return check


def origin_targets(*expected: bytes) -> Check:
    """Check the targets of the requests at the origin, in order."""

    def check(seen: Observation) -> str | None:
        got = tuple(request.target for request in seen.complete_requests)
        return None if got == expected else f"targets at the origin: {got!r}"

    return check


def origin_methods(*expected: bytes) -> Check:
    """Check the methods of the requests at the origin, in order."""

    def check(seen: Observation) -> str | None:
        got = tuple(request.method for request in seen.complete_requests)
        return None if got == expected else f"methods at the origin: {got!r}"

    return check


def order(*expected: bytes) -> Check:
    """Check the bodies of all final responses, in order."""

    def check(seen: Observation) -> str | None:
        got = tuple(bytes(response.body) for response in seen.responses)
        return None if got == expected else f"responses {[one[:60] for one in got]!r}"

    return check


def problem(code: str) -> Check:
    """Check the stable code of gatewayd's problem document."""
    needle = f'"code":"{code}"'.encode()

    def check(seen: Observation) -> str | None:
        got = bytes(seen.responses[-1].body) if seen.responses else b""
        return None if needle in got else f"not the problem {code}: {got[:200]!r}"

    return check
