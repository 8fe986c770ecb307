"""The process environment and the ``.env`` file: settings by name, and values for ``${NAME}``.

``GATEWAYD_SERVER__PORT=9000`` sets ``server.port``: ``__`` goes one table down, names are lower
case. A value that is a TOML value (a number, a boolean, an array, an inline table, a quoted string)
is that value, everything else is a string as it stands. Routes and services have names and no
order, so they are not set this way. A name that is no setting is an error: a typo must not leave a
limit at its default.

The ``.env`` file is read for gatewayd alone: nothing of it is exported to the process.
"""

from __future__ import annotations

import difflib
import io
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dotenv.parser import Original, parse_stream
from pydantic import BaseModel

from gatewayd.config.documents import MAX_DEPTH, depth_of, is_file, read_bounded
from gatewayd.config.places import KeyPath, Source
from gatewayd.config.schema import GatewayConfig
from gatewayd.errors import ConfigError, ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "GATEWAYD_"
ENVIRONMENT_NAME = "GATEWAYD_ENV"
"""Variable that names the environment, which chooses the ``.env`` file."""
RESERVED_PREFIXES = ("GATEWAYD_TEST_",)
"""Variables with the prefix that are no settings: those of the test suite."""
MAX_DOTENV_BYTES = 1024 * 1024

_ENVIRONMENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_FROM_ENVIRONMENT = frozenset({"routes", "services"})


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that is set outside the files, and what set it."""

    path: KeyPath
    value: Any
    source: Source


@dataclass(frozen=True, slots=True)
class Environment:
    """What process environment and ``.env`` file give.

    Attributes:
        name: Name of the environment, such as ``production``.
        files: The ``.env`` file, where there is one.
        variables: What ``${NAME}`` may name; the process wins over the file.
        settings: Settings by rising precedence.
        issues: Names and lines that cannot be used.

    """

    name: str | None
    files: tuple[Path, ...]
    variables: Mapping[str, str]
    settings: tuple[Setting, ...]
    issues: tuple[ConfigIssue, ...]


def read_environment(name: str | None, environ: Mapping[str, str]) -> Environment:
    """Read the environment and the ``.env`` file of the working directory.

    Args:
        name: Name of the environment; ``GATEWAYD_ENV`` where absent.
        environ: The process environment.

    Raises:
        ConfigError: the name cannot be one, or the ``.env`` file cannot be read.

    """
    name = name or environ.get(ENVIRONMENT_NAME) or None
    if name is not None and not _ENVIRONMENT.fullmatch(name):
        message = "the name of an environment has letters, digits, _ and -, 64 at most"
        raise ConfigError(ConfigIssue(message, key=ENVIRONMENT_NAME))
    path = _dotenv_path(name)
    from_file, issues = _read_dotenv(path) if path else ({}, [])
    variables = {key: value for key, (value, _) in from_file.items()} | dict(environ)
    settings = []
    layers = (from_file, {key: (value, 0) for key, value in environ.items()})
    for layer, file in zip(layers, (str(path), ""), strict=True):
        for key, (value, line) in sorted(layer.items()):
            if not key.startswith(PREFIX) or key.startswith(RESERVED_PREFIXES):
                continue
            place = Source(file or f"environment variable {key}", line=line)
            place.secret.add(())  # environments are where secrets are kept
            if key == ENVIRONMENT_NAME:
                if file:
                    issues.append(_issue(key, place, "chooses this file, it cannot stand in it"))
            elif (setting := _path(key)) is None:
                issues.append(_unknown(key, place))
            elif len(setting) + depth_of(parsed := parse_value(value)) > MAX_DEPTH:
                issues.append(_issue(key, place, "nested too deep"))
            else:
                settings.append(Setting(setting, parsed, place))
    return Environment(
        name,
        (path,) if path else (),
        MappingProxyType(variables),
        tuple(settings),
        tuple(issues),
    )


def parse_value(text: str) -> Any:
    """Read a value from outside the files: as TOML where it is, else as the string it is."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    value = parsed["value"]
    # A second line would be a second key; dates are no settings, so they are strings as well.
    plain = isinstance(value, str | int | float | list | dict)
    return value if len(parsed) == 1 and plain else text


def _dotenv_path(name: str | None) -> Path | None:
    candidates = [Path(f".env.{name}")] if name else []
    for path in (*candidates, Path(".env")):
        try:
            if is_file(path):
                return path
        except OSError as error:  # of a folder that is another user's
            message = f"cannot be looked for in the working directory: {error.strerror}"
            raise ConfigError(ConfigIssue(message, file=str(path))) from error
    return None


def _read_dotenv(path: Path) -> tuple[dict[str, tuple[str, int]], list[ConfigIssue]]:
    """Return value and line of each variable. Values are taken as they stand, ``$`` included."""
    try:
        text = read_bounded(path, MAX_DOTENV_BYTES).decode("utf-8-sig")
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(ConfigIssue(message, file=str(path))) from error
    except UnicodeDecodeError as error:
        raise ConfigError(ConfigIssue("not UTF-8", file=str(path))) from error
    except ValueError as error:
        raise ConfigError(ConfigIssue(str(error), file=str(path))) from error
    variables, issues = {}, []
    for binding in parse_stream(io.StringIO(text)):
        line = _line(binding.original)
        if binding.error:
            issues.append(ConfigIssue("expected NAME=value", file=str(path), line=line))
        elif binding.key is not None:
            variables[binding.key] = (binding.value or "", line)
    return variables, issues


def _line(original: Original) -> int:
    """Return a statement's own line; its text begins with the blank lines before it."""
    blank = len(original.string) - len(original.string.lstrip())
    return original.line + original.string.count("\n", 0, blank)


def _path(variable: str) -> KeyPath | None:
    """Return the key path that a variable sets, or ``None`` where it can be none."""
    parts = variable.removeprefix(PREFIX).lower().split("__")
    if len(parts) == 1 or not all(parts) or parts[0] not in _sections():
        return None
    return tuple(parts)


def _sections() -> list[str]:
    return sorted(GatewayConfig.model_fields.keys() - _NOT_FROM_ENVIRONMENT)


def _unknown(variable: str, place: Source) -> ConfigIssue:
    # Compared without what all have in common, which would make everything similar.
    name = variable.removeprefix(PREFIX)
    nearest = difflib.get_close_matches(name, _variables(GatewayConfig), n=1)
    hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else (
        f"expected {PREFIX}SECTION__KEY with a section of {', '.join(_sections())}"
    )  # fmt: skip
    return _issue(variable, place, "is no setting", hint)


def _issue(variable: str, place: Source, message: str, hint: str = "") -> ConfigIssue:
    key = "" if place.name.endswith(variable) else variable
    return ConfigIssue(message, key=key, file=place.name, line=place.line(()), hint=hint)


def _variables(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the variables, without ``GATEWAYD_``, of the settings of a model and its tables."""
    names = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names += _variables(annotation, f"{prefix}{name.upper()}__")
        elif prefix:
            names.append(f"{prefix}{name.upper()}")
    return names
