"""What a case is: bytes to send, how the origin answers, and which outcomes are right.

The specifications often permit several answers, so a case lists *outcomes*; one that fits is
enough. ``accept`` is what RFCs or security demand of any proxy and what the peers are judged by;
``ours`` is the narrower choice that gatewayd has made among them, where it has made one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conformance.client import Step
    from tests.conformance.origin import Reply
    from tests.conformance.wire import Message


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one case at one proxy.

    Attributes:
        responses: Final responses to the case's requests.
        interim: Interim responses.
        tunnel: Bytes that came behind 101.
        requests: What the origin received on behalf of the case.
        closed: Whether the proxy closed the connection by itself.
        problems: What is wrong whatever the case: ambiguous bytes, answers to requests that nobody
            sent, a connection that hangs, a later request that gets another one's answer.
        evidence: The raw bytes, for whoever has to find the defect.

    """

    responses: list[Message]
    interim: list[Message]
    tunnel: bytes
    requests: list[Message]
    closed: bool
    problems: list[str]
    evidence: str

    @property
    def complete_requests(self) -> list[Message]:
        """The requests that arrived whole."""
        return [request for request in self.requests if request.complete]


Check = Callable[[Observation], str | None]
"""Returns what is wrong, ``None`` where nothing is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One right way to handle a case.

    Attributes:
        text: How it is named in the table.
        statuses: For each final response the status codes that fit.
        closed: Whether the connection must be closed, or ``None`` where both are right.
        requests: How many whole requests the origin gets, ``None`` for any number.
        aborted: Whether the last response must break off visibly.
        checks: What else must hold.

    """

    text: str
    statuses: tuple[frozenset[int], ...]
    closed: bool | None = None
    requests: int | None = None
    aborted: bool = False
    checks: tuple[Check, ...] = ()

    def mismatches(self, seen: Observation) -> list[str]:
        """Return in which ways an observation differs from this outcome."""
        wrong = [self._statuses(seen), self._requests(seen), self._end(seen)]
        wrong += [check(seen) for check in self.checks]
        return [text for text in wrong if text]

    def _statuses(self, seen: Observation) -> str | None:
        statuses = [response.status for response in seen.responses]
        fits = len(statuses) == len(self.statuses) and all(
            status in allowed for status, allowed in zip(statuses, self.statuses, strict=True)
        )
        expected = ", ".join("/".join(map(str, sorted(one))) for one in self.statuses)
        return None if fits else f"statuses {statuses}, expected [{expected}]"

    def _requests(self, seen: Observation) -> str | None:
        number = len(seen.complete_requests)
        if self.requests is None or number == self.requests:
            return None
        return f"{number} whole requests at the origin, expected {self.requests}"

    def _end(self, seen: Observation) -> str | None:
        incomplete = [response for response in seen.responses if not response.complete]
        if bool(incomplete) != self.aborted:
            return "the response breaks off" if incomplete else "the response looks whole"
        if self.closed is not None and seen.closed != self.closed:
            return "the connection is closed" if seen.closed else "the connection stays open"
        return None


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        id: Unique, for pytest and the table.
        title: What is special about it.
        source: The section that it follows from.
        steps: What the client does.
        accept: Outcomes that are right for any proxy.
        ours: Outcomes among them that gatewayd has chosen; the same where ``None``.
        replies: What the origin answers, in order of requests; it echoes where they run out.
        methods: Methods of the requests where some are HEAD.
        responses: How many final responses the case waits for.
        probe: Whether the connection may be tested with one more request at the end. Not where the
            proxy may take those bytes for the rest of a request's body.
        peer: Loopback address that the client connects from.
        gatewayd_only: Whether it is about something that the peers do not have.

    """

    id: str
    title: str
    source: str
    steps: tuple[Step, ...]
    accept: tuple[Outcome, ...]
    ours: tuple[Outcome, ...] | None = None
    replies: tuple[Reply, ...] = ()
    methods: tuple[str, ...] = ()
    responses: int = 1
    probe: bool = True
    peer: str = "127.0.0.1"
    gatewayd_only: bool = False

    def outcomes(self, *, ours: bool) -> tuple[Outcome, ...]:
        """Return the right outcomes, for gatewayd or for a peer."""
        return self.ours if ours and self.ours is not None else self.accept

    def problems(self, seen: Observation, *, ours: bool) -> list[str]:
        """Return what is wrong with an observation; of the outcomes, the nearest one counts.

        gatewayd's own errors must be problem documents, whatever the case.
        """
        mismatches = [outcome.mismatches(seen) for outcome in self.outcomes(ours=ours)]
        documents = [text for one in seen.responses if (text := _undocumented(one))] if ours else []
        return seen.problems + documents + min(mismatches, key=len)


_MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}
_FIRST_ERROR = 400


def _undocumented(response: Message) -> str | None:
    """Return what an error response lacks to be a problem document (RFC 9457) of gatewayd's."""
    from_origin = response.header("X-Origin") is not None
    if response.status < _FIRST_ERROR or from_origin or response.framing == "none":
        return None
    if response.header("Content-Type") != b"application/problem+json":
        return f"Content-Type of the {response.status}: {response.header('Content-Type')!r}"
    document = json.loads(response.body)
    document.pop("trace_id", None)  # of what came as far as `tracing`
    if set(document) != _MEMBERS or document["status"] != response.status:
        return f"problem document: {document!r}"
    return None if document["code"] and document["request_id"] else "no code or no request id"
