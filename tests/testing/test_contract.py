"""The contract suite finds what it is there to find."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import pytest
from pydantic import ConfigDict

from gatewayd import Body, Exchange, Filter, FilterConfig, Forward, Key, Reject, Response
from gatewayd.testing import CHECKS, ContractError, Subject, contract, read_body

TENANT: Key[str] = Key("tenant")


class Good(Filter[FilterConfig]):
    """A filter that does nothing."""

    name = "good"

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return await forward(exchange)


class Picky(Good):
    """A filter that needs to know the tenant."""

    requires = frozenset({TENANT})

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        assert exchange[TENANT] == "blue"
        return await forward(exchange)


class MutableConfig(FilterConfig):
    """Settings that can be changed."""

    model_config = ConfigDict(frozen=False)


class LenientConfig(FilterConfig):
    """Settings that take everything."""

    model_config = ConfigDict(extra="allow")


class SilentConfig(FilterConfig):
    """Settings of which one is not described."""

    secret: str = ""


class NestedConfig(FilterConfig):
    """Settings with others within."""

    parts: tuple[SilentConfig, ...] = ()
    """The others."""


class UndocumentedConfig(FilterConfig):
    limit: int = 1
    """A limit."""


class Mutable(Good):
    """A filter with settings that can be changed."""

    Config = MutableConfig


class Lenient(Good):
    """A filter with settings that take everything."""

    Config = LenientConfig


class Silent(Good):
    """A filter with settings that are not described."""

    Config = SilentConfig


class Nested(Good):
    """A filter with settings that are not described, further down."""

    Config = NestedConfig


class Undocumented(Good):
    pass


class UndocumentedSettings(Good):
    """A filter with settings that have no docstring."""

    Config = UndocumentedConfig


class Misnamed(Good):
    """A filter whose name cannot be a key."""

    name = "not-a-name"


class Hasty(Good):
    """A filter that needs an event loop to be constructed."""

    def __init__(self, config: FilterConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        self.future = asyncio.get_running_loop().create_future()


class Leaky(Good):
    """A filter that forgets a task."""

    async def start(self) -> None:
        self.task = asyncio.create_task(asyncio.Event().wait())


class Trusting(Good):
    """A filter that takes for granted that it has started."""

    async def start(self) -> None:
        self.connection = asyncio.Event()

    async def close(self) -> None:
        self.connection.clear()


class Forgetful(Good):
    """A filter that keeps an exchange's state on itself."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        self.exchange = exchange
        return await forward(exchange)


class ForgetfulFromTheStart(Good):
    """A filter that keeps an exchange's state on itself, in an attribute that it has before."""

    def __init__(self, config: FilterConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        self.response: Response | None = None

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        self.response = await forward(exchange)
        return self.response


class Confused(Good):
    """A filter that mixes up exchanges."""

    def __init__(self, config: FilterConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        self.response: Response | None = None

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        self.response = self.response or response
        return self.response


class Faulty(Good):
    """A filter that fails."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        raise LookupError("a defect")


class Stubborn(Good):
    """A filter that swallows cancellation."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        try:
            return await forward(exchange)
        except asyncio.CancelledError:
            return Response(200)


class Insistent(Good):
    """A filter that tries again, also for a client that has left."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        try:
            return await forward(exchange)
        except BaseException:
            return await forward(exchange)


class Generous(Good):
    """A filter that turns refusals into answers."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        try:
            return await forward(exchange)
        except Reject:
            return Response(200)


class Rewording(Good):
    """A filter that refuses in its own words."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        try:
            return await forward(exchange)
        except Reject as reject:
            raise Reject(500, "something_failed") from reject


class GenerousObserver(Good):
    """A filter that sees refusals as responses, and hides them."""

    catches_errors = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        await forward(exchange)
        return Response(200)


class Impatient(Good):
    """A filter whose close awaits what it has cancelled."""

    async def start(self) -> None:
        self.task = asyncio.create_task(asyncio.Event().wait())

    async def close(self) -> None:
        self.task.cancel()
        await self.task


class Scattering(Good):
    """A filter that leaves a task of an exchange behind."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        self.gateway.log.debug("%s", asyncio.create_task(asyncio.Event().wait()))
        return await forward(exchange)


class Collecting(Good):
    """A filter that notes every exchange, and forgets none."""

    def __init__(self, config: FilterConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        self.seen: dict[str, float] = {}

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        self.seen[exchange.id] = 1.0
        return await forward(exchange)


class Presuming(Good):
    """A filter that takes for granted at the end that there is a route."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange.on_finish(lambda ended, _: print(ended.route.name))  # type: ignore[union-attr]
        return await forward(exchange)


class Empty(Good):
    """A filter that forgets to return the response."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        await forward(exchange)
        return None  # type: ignore[return-value]


class Textual(Good):
    """A filter that gives a response a body of text."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        response.body = "text"  # type: ignore[assignment]
        return response


class Shouting(Good):
    """A filter that forgets that a body may be a stream."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        response.body = response.body.upper()  # type: ignore[union-attr]
        return response


class Wrapped(Body):
    """A body that closes nothing."""

    def __init__(self, source: Body) -> None:
        super().__init__(source.length)
        self._source = source

    async def read(self) -> bytes:
        return await self._source.read()

    async def aclose(self) -> None:
        pass


class Covered(Wrapped):
    """A body that ends where the one behind it fails."""

    async def read(self) -> bytes:
        try:
            return await super().read()
        except Exception:
            return b""

    async def aclose(self) -> None:
        await self._source.aclose()


class Wrapping(Good):
    """A filter that puts a body around HTML."""

    around: type[Wrapped] = Wrapped

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        if response.headers.get("Content-Type") == "text/html" and isinstance(response.body, Body):
            response.body = self.around(response.body)
        return response


class Covering(Wrapping):
    """A filter that hides that a body broke off."""

    around = Covered


class Hungry(Good):
    """A filter that reads the body of a request, and does not put it back."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        await read_body(exchange.request)
        return await forward(exchange)


class Rebuilding(Good):
    """A filter that makes a response of its own, and forgets what a response may have."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        return Response(response.status, response.headers, response.body)


class Defiant(Good):
    """A filter that does something else when its exchange is cancelled."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        try:
            return await forward(exchange)
        except asyncio.CancelledError:
            await asyncio.Event().wait()
            raise


class Shielding(Good):
    """A filter that leaves running what it has forwarded."""

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return await asyncio.shield(asyncio.ensure_future(forward(exchange)))


BROKEN = [
    (Impatient, "closes_what_it_opens"),
    (Scattering, "closes_what_it_opens"),
    (Collecting, "keeps_exchanges_apart"),
    (Presuming, "keeps_exchanges_apart"),
    (Empty, "keeps_exchanges_apart"),
    (Textual, "passes_bodies"),
    (Shouting, "passes_bodies"),
    (Wrapping, "passes_bodies"),
    (Covering, "passes_bodies"),
    (Hungry, "passes_bodies"),
    (Rebuilding, "passes_bodies"),
    (Defiant, "passes_cancellation"),
    (Shielding, "passes_cancellation"),
    (Misnamed, "has_one_name"),
    (Mutable, "has_strict_settings"),
    (Lenient, "has_strict_settings"),
    (Silent, "has_strict_settings"),
    (Nested, "has_strict_settings"),
    (Undocumented, "is_documented"),
    (UndocumentedSettings, "is_documented"),
    (Hasty, "constructs_without_loop"),
    (Leaky, "closes_what_it_opens"),
    (Trusting, "closes_what_it_opens"),
    (Forgetful, "keeps_exchanges_apart"),
    (ForgetfulFromTheStart, "keeps_exchanges_apart"),
    (Confused, "keeps_exchanges_apart"),
    (Faulty, "keeps_exchanges_apart"),
    (Stubborn, "passes_cancellation"),
    (Insistent, "passes_cancellation"),
    (Generous, "passes_refusals"),
    (Rewording, "passes_refusals"),
    (GenerousObserver, "passes_refusals"),
]


async def failed(subject: Subject) -> set[str]:
    """Return the names of the checks that a filter does not pass."""
    names = set()
    for check in CHECKS:
        tasks = asyncio.all_tasks()
        try:
            await check(subject)
        except Exception:
            names.add(check.__name__)
        finally:
            for task in asyncio.all_tasks() - tasks:
                task.cancel()
    return names


@pytest.mark.parametrize(("plugin", "check"), BROKEN)
async def test_finds_what_is_broken(
    plugin: type[Filter[Any]], check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package's attribute of that name is the function.
    monkeypatch.setattr(import_module("gatewayd.testing.contract"), "CANCEL_SECONDS", 0.05)
    assert check in await failed(Subject(plugin))


async def test_accepts_what_is_whole() -> None:
    await contract(Good)


async def test_every_check_finds_something() -> None:
    assert {check for _, check in BROKEN} == {check.__name__ for check in CHECKS}


async def test_required_values_are_given() -> None:
    await contract(Picky, values={TENANT: "blue"})


async def test_asks_for_missing_values() -> None:
    with pytest.raises(ContractError, match="tenant"):
        await contract(Picky)


async def test_tells_which_filter_and_what() -> None:
    with pytest.raises(
        ContractError, match=r"filter 'good': SilentConfig\.secret has no description"
    ):
        await contract(Silent)
