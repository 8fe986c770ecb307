"""The operations of the admin API: what each takes, asks the workers, and gives.

Each is a function of the API and of its checked input, and stands in :mod:`gatewayd.admin.table`;
HTTP is the business of :mod:`gatewayd.admin.listener`. Those that change something are recorded in
the audit trail there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import orjson

from gatewayd._version import __version__
from gatewayd.admin import models
from gatewayd.admin.commands.steering import our_loggers
from gatewayd.errors import GatewayError, Reject
from gatewayd.telemetry.exposition import snapshot
from gatewayd.telemetry.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayd.process.node import Answer, Node

_SECONDS = 5.0
_SEND_SECONDS = 60.0
RELOAD_SECONDS = 110.0
"""How long a reload is waited for. Many workers may take longer, one after the other."""

_NODE = -1  # the place of the supervisor's own numbers among those of the workers


class AdminApi:
    """The API of one node.

    Args:
        node: The node.

    Attributes:
        node: The same.
        totals: What all workers have counted.

    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.totals = Totals()
        self._asked = itertools.count()
        self._started_at = time.monotonic()

    @property
    def uptime(self) -> float:
        """Seconds since the node started."""
        return round(time.monotonic() - self._started_at, 3)

    async def ask(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        seconds: float = _SECONDS,
        lasting: str = "",
    ) -> list[Answer]:
        """Ask all workers; return those that answered, one at least.

        Raises:
            Reject: a worker refuses the arguments (400), fails at them (500), or none answers
                (503).

        """
        answers = await self.node.ask(name, arguments or {}, seconds=seconds, lasting=lasting)
        for answer in answers:
            _raise_if_told(answer)
        useful = [answer for answer in answers if not answer.error]
        if not useful:
            reasons = "; ".join(sorted({answer.error for answer in answers}))
            raise Reject(503, "no_worker", f"No worker answers: {reasons}")
        return useful

    async def refresh(self) -> None:
        """Bring the totals up to date; a worker that does not answer keeps what it told before."""
        asked = next(self._asked)
        for answer in await self.node.ask("metrics", {}, seconds=_SECONDS):
            if not answer.error:
                await self.totals.update(answer.worker, answer.incarnation, answer.result, asked)
        await self.totals.update(_NODE, 0, await snapshot(self.node.metrics), asked)


def _raise_if_told(answer: Answer) -> None:
    """Raise :class:`Reject` where a worker has answered that it does not do it, or failed at it."""
    if answer.refused:
        raise Reject(400, "refused", answer.error)
    if answer.faulty:
        detail = f"Worker {answer.worker} failed at it; its log says why."
        raise Reject(500, "internal_error", detail)


async def health(_api: AdminApi, _body: None, _path: Mapping[str, str]) -> dict[str, Any]:
    """Tell that the process answers."""
    return {"status": "ok"}


async def ready(api: AdminApi, _body: None, _path: Mapping[str, str]) -> dict[str, Any]:
    """Tell whether some worker is ready."""
    workers = []
    for answer in await api.node.ask("ready", {}, seconds=_SECONDS):
        report = answer.result or {"status": "unknown", "checks": {}}
        workers.append({"worker": answer.worker, **report})
    some = any(worker["status"] == "ready" for worker in workers)
    return {"status": "ready" if some else "not_ready", "workers": workers}


async def status(api: AdminApi, _body: None, _path: Mapping[str, str]) -> dict[str, Any]:
    """Tell what runs."""
    loaded = api.node.loaded
    answers = await api.node.ask("status", {}, seconds=_SECONDS)
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime": api.uptime,
        "files": [str(path) for path in loaded.files],
        "env": loaded.env,
        "digest": loaded.digest,
        "workers": [
            models.WorkerStatus(
                worker=one.worker, pid=one.pid, error=one.error, **(one.result or {})
            ).model_dump()
            for one in answers
        ],
    }


async def routes(api: AdminApi, _body: None, _path: Mapping[str, str]) -> list[Any]:
    """Tell the routes; all workers have the same."""
    told: list[Any] = (await api.ask("routes"))[0].result
    return told


async def route(api: AdminApi, _body: None, path: Mapping[str, str]) -> dict[str, Any]:
    """Tell one route."""
    return _named(await routes(api, None, {}), path["name"], "route")


async def services(api: AdminApi, _body: None, _path: Mapping[str, str]) -> list[Any]:
    """Tell the services, with what the workers make of their instances."""
    answers = await api.ask("services")
    merged: dict[str, dict[str, Any]] = {}
    for answer in answers:
        for one in answer.result:
            service = merged.setdefault(
                one["name"],
                {
                    "name": one["name"],
                    "discovery": one["discovery"],
                    "workers": len(answers),
                    "instances": {},
                },
            )
            for instance in one["instances"]:
                _merge(service["instances"], instance)
    return [{**one, "instances": list(one["instances"].values())} for one in merged.values()]


def _merge(instances: dict[str, Any], told: dict[str, Any]) -> None:
    known = instances.get(told["url"])
    if known is None:
        instances[told["url"]] = {**told, "available": int(told["available"])}
        return
    known["available"] += int(told["available"])
    known["active"] += told["active"]
    known["checked"] = known["checked"] and told["checked"]
    known["ejected_for"] = max(known["ejected_for"], told["ejected_for"])


async def service(api: AdminApi, _body: None, path: Mapping[str, str]) -> dict[str, Any]:
    """Tell one service."""
    return _named(await services(api, None, {}), path["name"], "service")


def _named(all_of_them: Iterable[dict[str, Any]], name: str, kind: str) -> dict[str, Any]:
    for one in all_of_them:
        if one["name"] == name:
            return one
    raise Reject(404, "not_found", f"There is no {kind} of this name.")


async def breakers(api: AdminApi, _body: None, _path: Mapping[str, str]) -> list[Any]:
    """Tell the breakers that exist: one is made when its instance gets its first request."""
    return await _operate(api, "breakers.list", {})


async def reset_breakers(
    api: AdminApi, body: models.BreakerSelection, _path: Mapping[str, str]
) -> dict[str, Any]:
    """Close breakers."""
    return {"count": len(await _operate(api, "breakers.reset", body.model_dump()))}


async def peek_buckets(
    api: AdminApi, body: models.BucketSelection, _path: Mapping[str, str]
) -> list[Any]:
    """Tell what buckets hold, of callers that workers have seen lately."""
    return await _operate(api, "buckets.peek", body.model_dump())


async def reset_buckets(
    api: AdminApi, body: models.BucketSelection, _path: Mapping[str, str]
) -> dict[str, Any]:
    """Fill buckets."""
    return {"count": len(await _operate(api, "buckets.reset", body.model_dump()))}


async def _operate(api: AdminApi, name: str, arguments: dict[str, Any]) -> list[Any]:
    offered = (await api.ask("operations"))[0].result
    if name not in offered:
        return []  # none of the filters in use has such a thing
    answers = await api.ask("operate", {"name": name, "arguments": arguments})
    return [{"worker": one.worker, **item} for one in answers for item in one.result]


async def operate(
    api: AdminApi, body: models.OperationCall, path: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Run an operation that filters offer, those of plugins among them."""
    name = path["name"]
    offered = (await api.ask("operations"))[0].result
    if name not in offered:
        some = f"These are there: {', '.join(offered)}." if offered else "There is none."
        raise Reject(404, "not_found", f"No filter in use offers this operation. {some}")
    try:
        orjson.dumps(body.arguments)
    except TypeError as error:  # whole numbers of more than 64 bits
        raise Reject(422, "invalid_body", f"arguments: {error}") from None
    answers = await api.ask("operate", {"name": name, "arguments": body.arguments})
    return [{"worker": one.worker, "told": one.result} for one in answers]


async def reload(api: AdminApi, _body: None, _path: Mapping[str, str]) -> dict[str, Any]:
    """Load the configuration again."""
    try:
        async with asyncio.timeout(RELOAD_SECONDS):
            loaded = await api.node.reload()
    except GatewayError as error:
        raise Reject(422, "reload_refused", str(error)) from error
    except TimeoutError:
        detail = "The reload is still under way; the log and the audit trail tell how it ends."
        raise Reject(503, "reload_under_way", detail) from None
    return {"digest": loaded.digest}


async def log_level(
    api: AdminApi, body: models.LogLevelChange, _path: Mapping[str, str]
) -> dict[str, Any]:
    """Change from which severity on a logger writes, in the supervisor and in all workers."""
    # Before anything changes: names that nobody logs by would pile up. The supervisor has some that
    # workers have not, such as that of the admin API.
    known = {"gatewayd", *our_loggers(), *(await api.ask("loggers"))[0].result}
    if body.logger not in known:
        names = ", ".join(sorted(known))
        raise Reject(404, "not_found", f"There is no logger of this name, but these: {names}.")
    await api.ask("log_level", body.model_dump(), lasting=f"log_level {body.logger}")
    logging.getLogger(body.logger).setLevel(body.level.upper())  # of the supervisor
    return body.model_dump()


async def drain(api: AdminApi, body: models.Drain, _path: Mapping[str, str]) -> dict[str, Any]:
    """Take the node out of service, or put it back."""
    await api.ask("drain", body.model_dump(), lasting="drain")
    return body.model_dump()


async def explain(
    api: AdminApi, body: models.DescribedRequest, _path: Mapping[str, str]
) -> dict[str, Any]:
    """Tell what would become of a request, or send it and tell what became of it."""
    arguments = body.model_dump()
    answers = await api.node.ask("explain", arguments, seconds=_SEND_SECONDS, one=True)
    return {"explanation": _first(answers).result}


async def explained(api: AdminApi, _body: None, path: Mapping[str, str]) -> dict[str, Any]:
    """Tell what became of an exchange that was explained, by its request id."""
    answers = await api.node.ask("explained", {"id": path["id"]}, seconds=_SECONDS)
    for answer in answers:
        if not answer.error:
            return {"explanation": answer.result}
    raise Reject(404, "not_found", "There is no record of this exchange, or none any more.")


def _first(answers: Sequence[Answer]) -> Answer:
    answer = answers[0]
    _raise_if_told(answer)
    if answer.error:
        raise Reject(503, "no_worker", f"No worker answers: {answer.error}")
    return answer


async def traffic(api: AdminApi, _body: None, _path: Mapping[str, str]) -> dict[str, Any]:
    """Tell what routes and services have had."""
    await api.refresh()
    by_route: dict[str, dict[str, Any]] = {}
    for (name, _, _, code), (count,) in api.totals.cells("gatewayd_requests"):
        told = by_route.setdefault(
            name, {"route": name, "requests": 0, "refused": 0, "failed": 0, "seconds": 0.0}
        )
        told["requests"] += int(count)
        told["refused"] += int(count) if code.startswith("4") else 0
        told["failed"] += int(count) if code.startswith("5") else 0
    for (name,), numbers in api.totals.cells("gatewayd_request_seconds"):
        if name in by_route:
            by_route[name]["seconds"] = round(numbers[-1], 6)
    by_service: dict[str, dict[str, Any]] = {}
    for (name,), numbers in api.totals.cells("gatewayd_upstream_seconds"):
        by_service[name] = {
            "service": name, "attempts": 0, "retries": 0,
            "requests": int(sum(numbers[:-1])), "seconds": round(numbers[-1], 6),
        }  # fmt: skip
    for family in ("attempts", "retries"):
        full = "gatewayd_upstream_attempts" if family == "attempts" else "gatewayd_retries"
        for (name,), (count,) in api.totals.cells(full):
            if name in by_service:
                by_service[name][family] = int(count)
    return {
        "routes": list(by_route.values()),
        "services": [one for one in by_service.values() if one["requests"]],
    }
