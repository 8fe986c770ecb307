"""The contract suite: what every filter promises, checked from outside.

The pipeline relies on these promises and cannot enforce them: state on ``self`` would mix up
exchanges, and a swallowed cancellation would keep the request of a client that has left running.
Check one filter with :func:`contract`, or parametrise a test with :data:`CHECKS`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from pydantic import BaseModel

from gatewayd.errors import Reject
from gatewayd.exchange import Context, Exchange, Response, name_of
from gatewayd.filter import Filter, FilterConfig
from gatewayd.pipeline import link
from gatewayd.testing.exchanges import Recorder, make_exchange
from gatewayd.testing.gateways import make_gateway, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from gatewayd.filter import Forward
    from gatewayd.gateway import Gateway


_TOGETHER = 8


class ContractError(AssertionError):
    """A filter breaks its contract."""


@dataclass(frozen=True)
class Subject:
    """A filter under test.

    Attributes:
        plugin: The filter class.
        settings: Settings to construct it with.
        values: A value for each attribute and key in its ``requires``.
        gateway: What it is given.

    """

    plugin: type[Filter[Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[Context, Any] = field(default_factory=dict)
    gateway: Gateway = field(default_factory=make_gateway)

    def running(self) -> AbstractAsyncContextManager[Filter[Any]]:
        """Run the filter."""
        return running(self.plugin, self.settings, gateway=self.gateway)

    def require(self, condition: object, message: str) -> None:
        """Raise :class:`ContractError` unless ``condition`` holds."""
        if not condition:
            self.fail(message)

    def fail(self, message: str) -> NoReturn:
        """Raise :class:`ContractError`."""
        raise ContractError(f"filter {self.plugin.name!r}: {message}")

    def exchange(self) -> Exchange:
        """Make an exchange in which all that the filter requires is set."""
        missing = self.plugin.requires - self.values.keys()
        self.require(not missing, f"give a value for {sorted(map(name_of, missing))}")
        return make_exchange(values=self.values)


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
    async with subject.running():
        pass
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
        added = set(vars(one)) - attributes
        theirs = [*exchanges, *(each.request for each in exchanges), *answers.values()]
        added |= {name for name, value in vars(one).items() if any(value is it for it in theirs)}
    subject.require(not added, f"keeps state of exchanges in {sorted(added)}")
    for exchange, result in zip(exchanges, results, strict=True):
        subject.require(
            isinstance(result, (Response, Reject)), f"raised {result!r}, which is no refusal"
        )
        foreign = any(
            result is answer for other, answer in answers.items() if other is not exchange
        )
        subject.require(not foreign, "gave one exchange the response of another")


async def passes_cancellation(subject: Subject) -> None:
    """Check that a cancelled exchange ends, and is neither answered nor forwarded once more."""
    entered = asyncio.Event()
    tried_again = False

    async def forward(_: Exchange) -> Response:
        nonlocal tried_again
        if call.cancelling():
            tried_again = True
            raise Reject(503, "refused_by_contract", "The client has left.")
        entered.set()
        never: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        return await never

    async with subject.running() as one:
        call = asyncio.create_task(_call(one, subject.exchange(), forward))
        arrival = asyncio.ensure_future(entered.wait())
        await asyncio.wait([call, arrival], return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        forwarded = entered.is_set()
        call.cancel()
        await asyncio.wait([call])
        if forwarded:
            subject.require(
                call.cancelled() and not tried_again, "swallows the cancellation of an exchange"
            )
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
    passes_cancellation,
    passes_refusals,
)
"""The checks, each a coroutine function of a :class:`Subject`."""
