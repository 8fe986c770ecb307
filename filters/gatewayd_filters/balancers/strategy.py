"""From the setting ``strategy`` to a balancer.

A strategy is a name, or a table of a name and the balancer's own settings. As both stand in one
key, a route that chooses another strategy does not inherit settings which that one does not have.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from gatewayd import ConfigError, ConfigIssue, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from gatewayd import Balancer, Gateway

Strategy: TypeAlias = str | dict[str, Any]
"""``"p2c"``, or ``{ name = "p2c", decay = 5 }``."""


def identity(strategy: Strategy) -> str:
    """Return what is equal for equal strategies; a digest, as settings may hold secrets."""
    table = {"name": strategy} if isinstance(strategy, str) else strategy
    text = json.dumps(table, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def prepare(strategy: Strategy, gateway: Gateway, key: str) -> Callable[[], Balancer]:
    """Check a strategy; return what makes its balancer, a new one with each call.

    Args:
        strategy: The setting.
        gateway: What balancers are given.
        key: Name of the setting, for errors.

    Raises:
        ConfigError: there is no such balancer, or its settings cannot be used.

    """
    settings = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(ConfigIssue("expected the `name` of a balancer", key=key))
    try:
        plugin = gateway.plugins.balancers.load(name)
    except GatewayError as error:
        place = key if isinstance(strategy, str) else f"{key}.name"
        raise ConfigError(ConfigIssue(str(error), key=place)) from error
    try:
        config = plugin.Config.model_validate(settings)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        raise ConfigError([_issue(one, plugin.Config, key) for one in details]) from error
    except Exception as error:  # of a validator; its text may hold a secret
        kind = type(error).__name__
        message = f"balancer {name!r}: a validator of its settings raised {kind}, not ValueError"
        raise ConfigError(ConfigIssue(message, key=key)) from None
    return partial(_make, plugin, config, gateway, key)


def _make(plugin: type[Balancer], config: Any, gateway: Gateway, key: str) -> Balancer:
    try:
        return plugin(config, gateway)
    except ConfigError:
        raise
    except Exception as error:
        message = f"balancer {plugin.name!r} cannot be constructed: {error!r}"
        raise ConfigError(ConfigIssue(message, key=key)) from error


def _issue(details: ErrorDetails, model: type[BaseModel], key: str) -> ConfigIssue:
    """Say what is wrong in the words that the configuration's other errors have."""
    place = ".".join([key, *map(str, details["loc"])])
    if details["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(details["loc"][-1]), model.model_fields, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else ""
        return ConfigIssue("unknown key", key=place, hint=hint)
    if details["type"] == "missing":
        return ConfigIssue("required key is missing", key=place)
    message = details["msg"].removeprefix("Value error, ")
    return ConfigIssue(message.replace("Input should be ", "expected "), key=place)
