"""The contract suite: what every filter promises, checked from outside.

The pipeline relies on these promises and cannot enforce them: state on ``self`` would mix up
exchanges, and a swallowed cancellation would keep the request of a client that has left running.
Check one filter with :func:`contract`, or parametrise a test with :data:`CHECKS`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from gatewayd.chain import link
from gatewayd.errors import Reject
from gatewayd.exchange import Context, Exchange, Response
from gatewayd.filter import Filter, FilterConfig
from gatewayd.testing.exchanges import Recorder
from gatewayd.testing.gateways import make_gateway
from gatewayd.testing.stream_checks import passes_bodies
from gatewayd.testing.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from gatewayd.filter import Forward
    from gatewayd.gateway import Gateway


CANCEL_SECONDS = 5.0
"""Time for a filter to end when its exchange is cancelled."""

_TOGETHER = 8
_TURNS = 10  # of the event loop, for what a filter cancels in its turn


async def contract(
    plugin: type[Filter[Any]],
    settings: Mapping[str, Any] | None = None,
    values: Mapping[Context, Any] | None = None,
    gateway: Gateway | None = None,
) -> None:
    """Run every check over one filter.

    Args:
        plugin: The filter class.
        settings: Settings to construct it with.
        values: A value for each attribute and key in its ``requires``.
        gateway: What it is given; :func:`make_gateway` makes one where absent.

    Raises:
        ContractError: it breaks the contract; the message says how.

    """
    subject = Subject(plugin, settings or {}, values or {}, gateway or make_gateway())
    for check in CHECKS:
        await check(subject)


async def has_one_name(subject: Subject) -> None:
    """Check that entry point, module and configuration key have the filter's name."""
    plugin = subject.plugin
    subject.require(issubclass(plugin, Filter), "is not a subclass of Filter")
    subject.require(plugin.name.isidentifier(), "its name is not an identifier")
    plugins = subject.gateway.plugins.filters
    if plugin.name in plugins and plugins.load(plugin.name) is plugin:
        module = plugins.point(plugin.name).module
        subject.require(
            plugin.name in module.split("."), f"its module {module!r} has not the filter's name"
        )


async def has_strict_settings(subject: Subject) -> None:
    """Check that settings are immutable, refuse unknown keys, and describe the known ones."""
    subject.require(issubclass(subject.plugin.Config, FilterConfig), "Config is no FilterConfig")
    subject.plugin.Config.model_json_schema()  # must not raise: `gatewayd schema` prints it
    for model in _models(subject.plugin.Config):
        name = model.__name__
        subject.require(model.model_config.get("frozen"), f"{name} is not frozen")
        subject.require(model.model_config.get("extra") == "forbid", f"{name} takes unknown keys")
        for key, info in model.model_fields.items():
            subject.require(info.description, f"{name}.{key} has no description")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Find the models that an annotation mentions, those of their fields included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for info in annotation.model_fields.values():
            yield from _models(info.annotation)
    for argument in get_args(annotation):
        yield from _models(argument)


async def is_documented(subject: Subject) -> None:
    """Check that module, class and settings have docstrings of their own."""
    plugin = subject.plugin
    subject.require(sys.modules[plugin.__module__].__doc__, "its module has no docstring")
    subject.require(plugin.__dict__.get("__doc__"), "its class has no docstring")
    config = plugin.Config
    subject.require(
        config is FilterConfig or config.__dict__.get("__doc__"), "its Config has no docstring"
    )


async def constructs_without_loop(subject: Subject) -> None:
    """Check that the constructor does no I/O: it works where no event loop runs."""
    config = subject.plugin.Config.model_validate(dict(subject.settings))
    try:
        await asyncio.to_thread(subject.plugin, config, subject.gateway)
    except Exception as error:
        subject.fail(f"constructor outside an event loop: {error!r}")


async def closes_what_it_opens(subject: Subject) -> None:
    """Check that ``close`` leaves no task behind, and works where ``start`` got nowhere."""
    before = asyncio.all_tasks()
    async with subject.running() as one:
        await asyncio.gather(_call(one, subject.exchange(), Recorder()), return_exceptions=True)
    left = asyncio.all_tasks() - before
    subject.require(not left, f"leaves tasks behind: {left}")
    config = subject.plugin.Config.model_validate(dict(subject.settings))
    try:
        await subject.plugin(config, subject.gateway).close()
    except Exception as error:
        subject.fail(f"close without start: {error!r}")


async def keeps_exchanges_apart(subject: Subject) -> None:
    """Check that exchanges that run together get their own responses, and leave nothing behind."""

    async def forward(exchange: Exchange) -> Response:
        await asyncio.sleep(0)  # lets the others in
        return answers.setdefault(exchange, Response(200))

    answers: dict[Exchange, Response] = {}
    async with subject.running() as one:
        attributes = set(vars(one))
        exchanges = [subject.exchange() for _ in range(_TOGETHER)]
        results = await asyncio.gather(
            *(_call(one, exchange, forward) for exchange in exchanges), return_exceptions=True
        )
        failures = [failure for exchange in exchanges for failure in exchange.finish()]
        added = set(vars(one)) - attributes
        theirs = {id(each.request) for each in exchanges} | set(map(id, answers.values()))
        theirs |= {id(each) for each in exchanges} | {id(each.id) for each in exchanges}
        added |= {
            name
            for name, value in vars(one).items()
            if any(id(it) in theirs for it in _within(value))
        }
    subject.require(not failures, f"a callback of `on_finish` raised {failures[:1]}")
    subject.require(not added, f"keeps state of exchanges in {sorted(added)}")
    for exchange, result in zip(exchanges, results, strict=True):
        if isinstance(result, BaseException):
            subject.require(isinstance(result, Reject), f"raised {result!r}, which is no refusal")
        else:
            subject.require_sendable(result)
        foreign = any(
            result is answer for other, answer in answers.items() if other is not exchange
        )
        subject.require(not foreign, "gave one exchange the response of another")


def _within(value: Any) -> Iterator[Any]:
    """Yield an attribute's value, and what is in it where it is a collection."""
    yield value
    if isinstance(value, (dict, list, set, deque)):
        yield from value
    if isinstance(value, dict):
        yield from value.values()


async def passes_cancellation(subject: Subject) -> None:
    """Check that a cancelled exchange ends, and is neither answered nor forwarded once more."""
    entered = asyncio.Event()
    never: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    tried_again = False

    async def forward(_: Exchange) -> Response:
        nonlocal tried_again
        if call.cancelling():
            tried_again = True
            raise Reject(503, "refused_by_contract", "The client has left.")
        entered.set()
        return await never

    async with subject.running() as one:
        call = asyncio.create_task(_call(one, subject.exchange(), forward))
        arrival = asyncio.ensure_future(entered.wait())
        await asyncio.wait([call, arrival], return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        forwarded = entered.is_set()
        call.cancel()
        await asyncio.wait([call], timeout=CANCEL_SECONDS)
        if not call.done():
            call.get_coro().close()  # else the loop could not end
            subject.fail("swallows the cancellation of an exchange, and goes on")
        if forwarded:
            subject.require(
                call.cancelled() and not tried_again, "swallows the cancellation of an exchange"
            )
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            subject.require(never.done(), "leaves running what it has forwarded")
        elif not call.cancelled():
            call.exception()  # it answered or refused by itself


async def _call(one: Filter[Any], exchange: Exchange, forward: Forward) -> Response:
    return await one(exchange, forward)  # which may raise before there is anything to await


async def passes_refusals(subject: Subject) -> None:
    """Check that what a later filter refuses stays refused."""
    forward = Recorder(Reject(418, "refused_by_contract", "A refusal."))
    async with subject.running() as one:
        chain = link([one], forward)
        try:
            response = await chain(subject.exchange())
        except Reject as reject:
            subject.require(
                not forward.exchanges or reject.code == "refused_by_contract",
                f"replaces a refusal with {reject!r}",
            )
        else:
            subject.require(
                not forward.exchanges or response.status == 418, "turns a refusal into an answer"
            )


CHECKS: tuple[Callable[[Subject], Awaitable[None]], ...] = (
    has_one_name,
    has_strict_settings,
    is_documented,
    constructs_without_loop,
    closes_what_it_opens,
    keeps_exchanges_apart,
    passes_bodies,
    passes_cancellation,
    passes_refusals,
)
"""The checks, each a coroutine function of a :class:`Subject`."""
