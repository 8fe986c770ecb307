"""Filters and discoveries for tests of the configuration, and a folder to write files into."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import Field, field_validator

from gatewayd.config.load import LoadedConfig, load
from gatewayd.errors import ConfigError
from gatewayd.filter import Filter, FilterConfig
from gatewayd.registry import Plugins, Registry
from gatewayd.services.discovery import Discovery, DiscoveryConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class LimitConfig(FilterConfig):
    """Settings of the filter `limit`."""

    rate: int = 10
    """Requests per second."""
    key: str = "ip"
    """What is counted."""


def _positive(value: Any) -> Mapping[str, Any]:
    if value < 0:
        raise ValueError(f"expected a rate of 0 or more, not {value}")
    return {"rate": value}


class Limit(Filter[LimitConfig]):
    """Has the shorthand `rate_limit`, which sets one key and checks it."""

    name = "limit"
    Config = LimitConfig
    route_keys: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {
        "rate_limit": _positive
    }


class LoginConfig(FilterConfig):
    """Settings of the filter `login`."""

    required: bool = False
    """Whether a caller must have logged in."""
    secret: str = Field("", min_length=0)
    """A secret."""

    @field_validator("secret")
    @classmethod
    def _speaks_of_the_value(cls, value: str) -> str:
        if value.startswith("bad"):
            raise ValueError(f"{value!r} is bad")
        return value


class Login(Filter[LoginConfig]):
    """Has the shorthand `auth_required`."""

    name = "login"
    Config = LoginConfig
    route_keys: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {
        "auth_required": lambda value: {"required": value}
    }


class OtherLogin(Login):
    """Has the same shorthand as `login`."""

    name = "other_login"


class End(Filter[FilterConfig]):
    """Has no settings."""

    name = "end"


class ListedConfig(DiscoveryConfig):
    """Settings of the discovery `static`."""

    instances: list[str] = Field(min_length=1)
    """URLs."""


class Listed(Discovery):
    """Takes the instances from the configuration."""

    name = "static"
    Config = ListedConfig


class NamedConfig(DiscoveryConfig):
    """Settings of the discovery `dns`."""

    name: str
    """Name to ask for."""
    port: int = Field(80, ge=1)
    """Port of the instances."""


class Named(Discovery):
    """Asks a name server."""

    name = "dns"
    Config = NamedConfig


def fake_plugins(**others: str) -> Plugins:
    """Return plugins that consist of the classes of this module, and further ones by name."""

    def points(group: str, **classes: str) -> list[EntryPoint]:
        return [EntryPoint(name, f"{__name__}:{one}", group) for name, one in classes.items()]

    filters = points(
        "gatewayd.filters", limit="Limit", login="Login", other_login="OtherLogin", end="End"
    )
    filters += points("gatewayd.filters", **others)
    discovery = points("gatewayd.discovery", static="Listed", dns="Named")
    discovery += points("gatewayd.discovery", **others)
    return Plugins(
        filters=Registry("gatewayd.filters", Filter, filters),
        discovery=Registry("gatewayd.discovery", Discovery, discovery),
    )


class ConfigFolder:
    """A folder with configuration files, which is the working directory as well."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        """Write a file, and the folders that lead to it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def load(self, text: str = "", *, name: str = "gateway.toml", **arguments: Any) -> LoadedConfig:
        """Write the first file and load it with the plugins of this module."""
        self.write(name, text)
        plugins = fake_plugins(broken="DoesNotExist")
        return load(name, **{"environ": {}, "plugins": plugins, **arguments})

    def errors(self, text: str = "", **arguments: Any) -> list[str]:
        """Load what cannot be used, and return what is said of it."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, **arguments)
        return [str(issue) for issue in caught.value.issues]
