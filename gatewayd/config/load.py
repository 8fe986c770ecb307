"""Loading a configuration: files, environment and command line become one validated model.

Precedence, each layer over the next: command line, process environment, ``.env.<env>`` (else
``.env``), the files, the defaults of :mod:`gatewayd.config.schema`. The parts of the work are in
the modules beside this one; here is their order.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gatewayd.config import checks
from gatewayd.config.environment import Setting, read_environment
from gatewayd.config.include import FileLayer
from gatewayd.config.issues import Issues
from gatewayd.config.marked import HIDDEN
from gatewayd.config.places import KeyPath, Origins, Source
from gatewayd.config.schema import GatewayConfig
from gatewayd.config.shorthands import Shorthands
from gatewayd.config.stored import add_stored
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.registry import Plugins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatewayd.layers import Settings


@dataclass(frozen=True, slots=True, repr=False)
class LoadedConfig:
    """A configuration that can be used, and where each part of it came from.

    Attributes:
        config: The validated configuration; shorthands are expanded.
        files: All files that it was read from: included ones, ``.env``, and files of secrets.
        env: Name of the environment, if one was named.
        digest: SHA-256 of the effective configuration, in hexadecimal; equal for equal settings.
        plugins: The plugins that it was checked against.
        origins: The source of each key.
        stored: What the store has given, for its snapshot; ``None`` where it was not read.

    """

    config: GatewayConfig
    files: tuple[Path, ...]
    env: str | None
    digest: str
    plugins: Plugins
    origins: Origins
    stored: bytes | None = None

    def where(self, path: KeyPath) -> tuple[str, int]:
        """Return file and line of a key, or of the table around it; ``("", 0)`` for a default.

        What is not from a file has a name and 0: ``environment variable X``, ``command line``.
        """
        return self.origins.where(path)

    def redact(self, value: Any, path: KeyPath = ()) -> Any:
        """Return ``value``, which stands at ``path``, with its secrets replaced by ``***``."""
        if self.origins.is_secret(path):
            return HIDDEN
        if isinstance(value, dict):
            return {key: self.redact(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def redacted(self) -> dict[str, Any]:
        """Return the effective configuration for printing: defaults included, secrets hidden."""
        shown: dict[str, Any] = self.redact(self.config.model_dump(mode="json"))
        return shown

    def __repr__(self) -> str:
        return f"<configuration {self.files[0]}, {self.digest[:12]}>"


def load(
    path: str | Path,
    *,
    overrides: Mapping[str, object] | None = None,
    env: str | None = None,
    environ: Mapping[str, str] | None = None,
    plugins: Plugins | None = None,
) -> LoadedConfig:
    """Load and validate a configuration.

    Args:
        path: The first file, such as ``conf/gateway.toml``.
        overrides: Settings of the command line by dotted key, such as ``{"server.port": 9000}``;
            ``None`` is no setting.
        env: Name of the environment, which chooses the ``.env`` file; else ``GATEWAYD_ENV``.
        environ: The process environment; ``os.environ`` where absent.
        plugins: The plugins; the installed ones where absent.

    Raises:
        ConfigError: it cannot be used; holds every issue found.

    """
    plugins = plugins or Plugins()
    environment = read_environment(env, os.environ if environ is None else environ)
    layer = FileLayer(Path(path), environment.variables)
    values, origins = layer.values, layer.origins
    for setting in (*environment.settings, *_command_line(overrides or {})):
        _set(values, origins, setting)
    issues = Issues(origins)
    unresolved = [*environment.issues, *layer.issues]
    try:
        stored = add_stored(values, origins, issues)
    except ConfigError as error:
        raise ConfigError([*unresolved, *error.issues]) from error
    _check(values, plugins, origins, issues)
    config = _validate(values, issues)
    found = [*unresolved, *issues.found]
    if config is None or found:
        raise ConfigError(sorted(found, key=lambda issue: (issue.file, issue.line)))
    return LoadedConfig(
        config=config,
        files=(*layer.files, *environment.files),
        env=environment.name,
        digest=_digest(config),
        plugins=plugins,
        origins=origins,
        stored=stored,
    )


def _command_line(overrides: Mapping[str, object]) -> Iterator[Setting]:
    source = Source("command line")
    for key, value in overrides.items():
        if value is not None:
            yield Setting(tuple(key.split(".")), value, source)


def _set(values: dict[str, Any], origins: Origins, setting: Setting) -> None:
    """Put one setting over what is there; the tables that lead to it are made as needed."""
    table = values
    for length, part in enumerate(setting.path[:-1], 1):
        below = table.get(str(part))
        if length == 1 and below is not None and not isinstance(below, dict):
            return  # the file has something else where a section belongs, which is told
        if not isinstance(below, dict):
            below = table[str(part)] = {}
            origins.replace(setting.path[:length], setting.source)
        table = below
    table[str(setting.path[-1])] = setting.value
    origins.replace(setting.path, setting.source)


def _check(values: dict[str, Any], plugins: Plugins, origins: Origins, issues: Issues) -> None:
    shorthands = Shorthands(checks.pipeline_of(values), plugins, origins, issues)
    for index, route in enumerate(checks.array(values.get("routes"))):
        if isinstance(route, dict):
            shorthands.expand(route, ("routes", index))
    checks.check_pipeline(values, plugins, issues)
    checks.check_filter_settings(values, plugins, issues)
    checks.check_services(values, plugins, issues)
    checks.check_routes(values, origins, issues)


def _validate(values: dict[str, Any], issues: Issues) -> GatewayConfig | None:
    try:
        return GatewayConfig.model_validate(values)
    except ValidationError as error:
        issues.add_validation_error(error, GatewayConfig, lambda path: path)
        return None


def _digest(config: GatewayConfig) -> str:
    effective = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(effective.encode()).hexdigest()


def issues_from_validation_error(
    error: ValidationError, settings: Settings, loaded: LoadedConfig
) -> list[ConfigIssue]:
    """Explain why a filter refuses its settings.

    Args:
        error: What validation with the filter's ``Config`` raised.
        settings: The settings, merged from their layers.
        loaded: The configuration that they stand in.

    """

    def place(path: KeyPath) -> KeyPath:
        layer = settings.origins.get(str(path[0]), settings.path) if path else settings.path
        return (*layer, *path)

    issues = Issues(loaded.origins)
    model = loaded.plugins.filters.load(str(settings.path[-1])).Config
    issues.add_validation_error(error, model, place)
    return issues.found


def locate(issues: Sequence[ConfigIssue], loaded: LoadedConfig) -> list[ConfigIssue]:
    """Give file and line to issues that have only a key; others stay as they are."""
    return [issue if issue.file else _located(issue, loaded) for issue in issues]


def _located(issue: ConfigIssue, loaded: LoadedConfig) -> ConfigIssue:
    file, line = loaded.where(_parse(issue.key))
    return ConfigIssue(issue.message, key=issue.key, file=file, line=line, hint=issue.hint)


def _parse(key: str) -> KeyPath:
    """Read a dotted key. One with dots of its own leads to the table around it, which will do."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", key)
    return tuple(int(index) if index else name for index, name in parts)
