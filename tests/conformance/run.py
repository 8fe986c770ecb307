"""Runs one case against one proxy and says what was seen.

After the case's own steps the connection is put to the test: if the proxy says that it goes on,
one more request (the *probe*) must get its own answer, so that bytes left over from the case show
up as what they are, the start of a smuggled request. Then a request on a fresh connection must get
its own answer too, which it does not where the case has poisoned a pooled connection to the origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Observation
from tests.conformance.client import Session
from tests.conformance.origin import PROBE_TARGET

if TYPE_CHECKING:
    from tests.conformance.case import Case
    from tests.conformance.origin import Origin
    from tests.conformance.wire import Message

PROBE = b"GET " + PROBE_TARGET + b" HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"
PROBE_ANSWER = b"GET " + PROBE_TARGET
EVIDENCE_BYTES = 2000


async def run(case: Case, port: int, origin: Origin, patience: float) -> Observation:
    """Return what a proxy makes of a case.

    Parameters
    ----------
    port: Where the proxy listens, on 127.0.0.1.
    origin: What the proxy forwards to.
    patience: Seconds to wait for what should come; longer is only paid by what fails.

    """
    origin.begin(case.replies)
    session = await Session(case.methods, patience).connect(port, case.peer)
    for step in case.steps:
        if isinstance(step, bytes):
            await session.send(step)
        else:
            await step(session, origin)
    await session.until(
        lambda: session.ended or 0 < case.responses <= session.complete,
        f"{case.responses} responses" if case.responses else "the end",
    )
    before_probe = len(session.responses)
    closed = await _finish(session, probe=case.probe)
    problems = _session_problems(session, before_probe)
    await session.close()
    problems += await _origin_problems(origin, patience)
    requests = [request for request in origin.requests if request.target != PROBE_TARGET]
    evidence = _evidence(session, origin)
    problems += await _fresh_request_problems(port, origin, patience)
    if problems:
        await origin.drop_connections()
    return Observation(
        responses=session.responses[:before_probe],
        interim=session.interim,
        tunnel=bytes(session.tunnel),
        requests=requests,
        closed=closed,
        problems=problems,
        evidence=evidence,
    )


async def _finish(session: Session, *, probe: bool) -> bool:
    """Bring the connection to its end; return whether the proxy has closed it by itself."""
    last = session.responses[-1] if session.responses else None
    if last is not None and not last.keeps_alive:
        await session.until(lambda: session.ended, "the end that the response announces")
    if session.ended:
        return True
    if session.stalled or session.half_closed or not probe:
        session.half_close()
        await session.watch.until(lambda: session.ended, 1.0)
        return False
    answers = session.complete
    await session.send(PROBE)
    await session.until(lambda: session.complete > answers or session.ended, "the probe's answer")
    return session.complete == answers


def _session_problems(session: Session, before_probe: int) -> list[str]:
    problems = [f"waited in vain for {what}" for what in session.stalled]
    problems += [f"to the client: {fault}" for fault in session.faults]
    after = session.responses[before_probe:]
    if after and not _is_probe_answer(after[0]):
        problems.append(f"an answer to nothing: {after[0].start!r} {bytes(after[0].body[:60])!r}")
    return problems


def _is_probe_answer(response: Message) -> bool:
    return response.status == 200 and response.body == PROBE_ANSWER


async def _origin_problems(origin: Origin, patience: float) -> list[str]:
    problems = []
    if not await origin.settled(patience):
        problems.append("a connection to the origin is left in the midst of a message")
    for request in origin.requests:
        problems += [f"to the origin: {fault}" for fault in request.faults]
    return problems


async def _fresh_request_problems(port: int, origin: Origin, patience: float) -> list[str]:
    origin.begin(())
    session = await Session((), patience).connect(port, "127.0.0.1")
    await session.send(PROBE)
    await session.until(lambda: session.complete > 0 or session.ended, "a fresh request's answer")
    await session.close()
    if len(session.responses) == 1 and _is_probe_answer(session.responses[0]):
        return []
    got = [(response.start, bytes(response.body[:60])) for response in session.responses]
    return [f"the next client's request got {got!r}"]


def _evidence(session: Session, origin: Origin) -> str:
    parts = [("client sent", bytes(session.sent)), ("client got", bytes(session.wire.raw))]
    parts += [("origin got", raw) for raw in origin.raw]
    return "\n".join(f"{name}: {_shortened(raw)!r}" for name, raw in parts)


def _shortened(raw: bytes) -> bytes:
    if len(raw) <= EVIDENCE_BYTES:
        return raw
    return raw[:EVIDENCE_BYTES] + b"... (%d bytes)" % len(raw)
