"""The methods of one generation: made from their settings once, and used by all routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gatewayd import ConfigError, ConfigIssue, FilterConfig, GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from gatewayd import AuthMethod, Gateway
    from gatewayd_filters.auth.config import AuthConfig

_OWN = ("jwt", "api_key")
"""Methods whose settings are keys of :class:`AuthConfig` itself."""


class Methods:
    """Makes methods, each once for equal settings, starts and closes them.

    Routes that differ in nothing but ``required`` have filters of their own; they must not have a
    token cache and a list of keys each.

    Args:
        gateway: What methods are given.

    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        # Compared and not hashed: settings may hold tables, and secrets, which no key should.
        self._made: list[tuple[FilterConfig, AuthMethod[Any]]] = []
        self._started: list[AuthMethod[Any]] = []

    def of(self, config: AuthConfig) -> list[AuthMethod[Any]]:
        """Return the methods, in the order of ``methods``.

        Raises:
            ConfigError: one is not installed, is listed twice or is misconfigured, or there are
                settings of a method that is not listed.

        """
        issues = [*_check(config)]
        methods = []
        for index, name in enumerate(dict.fromkeys(config.methods)):
            try:
                plugin = self._gateway.plugins.authentication.load(name)
                method = self._make(plugin, _settings(plugin, config))
            except ConfigError as error:
                issues += [_placed(issue, name) for issue in error.issues]
            except GatewayError as error:
                issues.append(ConfigIssue(str(error), key=f"methods[{index}]"))
            else:
                methods.append(method)
        if issues:
            raise ConfigError(issues)
        return methods

    def _make(self, plugin: type[AuthMethod[Any]], settings: FilterConfig) -> AuthMethod[Any]:
        for known, method in self._made:
            if type(method) is plugin and known == settings:
                return method
        try:
            method = plugin(settings, self._gateway)
        except GatewayError:
            raise
        except Exception as error:
            message = f"authentication method {plugin.name!r} cannot be constructed: {error!r}"
            raise GatewayError(message) from error
        self._made.append((settings, method))
        return method

    async def start(self) -> None:
        """Start those that have not been started."""
        for _, method in self._made:
            if method not in self._started:
                # Before the call: a start that failed half-way is closed as well.
                self._started.append(method)
                try:
                    await method.start()
                except GatewayError:
                    raise
                except Exception as error:
                    name = method.name
                    message = f"authentication method {name!r} failed to start: {error!r}"
                    raise GatewayError(message) from error

    async def close(self) -> None:
        """Close all; one that fails does not keep the others open."""
        failures = []
        while self._started:
            try:
                await self._started.pop().close()
            except Exception as failure:
                failures.append(failure)
        if failures:
            raise ExceptionGroup("authentication methods cannot be closed", failures)


def _check(config: AuthConfig) -> Iterator[ConfigIssue]:
    """Find what is listed twice, and settings and names that would have no effect."""
    for index, name in enumerate(config.methods):
        if name in config.methods[:index]:
            yield ConfigIssue(f"method {name!r} is listed twice", key=f"methods[{index}]")
    for index, name in enumerate(config.accept):
        if name not in config.methods:
            yield ConfigIssue(f"method {name!r} is not in `methods`", key=f"accept[{index}]")
    for name in _OWN:
        if getattr(config, name) is not None and name not in config.methods:
            hint = f"add {name!r} there, or take this out"
            yield ConfigIssue(f"method {name!r} is not in `methods`", key=name, hint=hint)
    for name in config.plugins:
        key = f"plugins.{name}"
        if name in _OWN:
            yield ConfigIssue(f"the settings of {name!r} stand in `{name}` itself", key=key)
        elif name not in config.methods:
            hint = f"add {name!r} there, or take this out"
            yield ConfigIssue(f"method {name!r} is not in `methods`", key=key, hint=hint)


def _settings(plugin: type[AuthMethod[Any]], config: AuthConfig) -> FilterConfig:
    if plugin.name in _OWN and (own := getattr(config, plugin.name)) is not None:
        settings: FilterConfig = own
        return settings
    try:
        return plugin.Config.model_validate(config.plugins.get(plugin.name, {}))
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        raise ConfigError([_issue(one) for one in details]) from error
    except Exception as error:  # of a validator; its text may hold a secret
        kind = type(error).__name__
        raise ConfigError(ConfigIssue(f"a validator raised {kind}, not ValueError")) from None


def _issue(details: ErrorDetails) -> ConfigIssue:
    """Say what is wrong in the words that the configuration's other errors have."""
    key = ".".join(map(str, details["loc"]))
    if details["type"] == "extra_forbidden":
        return ConfigIssue("unknown key", key=key)
    if details["type"] == "missing":
        return ConfigIssue("required key is missing", key=key)
    message = details["msg"].removeprefix("Value error, ")
    return ConfigIssue(message.replace("Input should be ", "expected "), key=key)


def _placed(issue: ConfigIssue, name: str) -> ConfigIssue:
    """Complete the key of an issue that a method found: it knows its settings, not their place."""
    table = name if name in _OWN else f"plugins.{name}"
    key = f"{table}.{issue.key}" if issue.key else table
    return ConfigIssue(issue.message, key=key, hint=issue.hint)
