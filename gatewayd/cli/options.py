"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

DEFAULT_CONFIG = Path("conf/gateway.toml")

ConfigOption: TypeAlias = Annotated[
    Path, Parameter(name=["--config", "-c"], help="The configuration file.")
]
EnvOption: TypeAlias = Annotated[
    str | None,
    Parameter(name="--env", help="Name of the environment: reads .env.NAME instead of .env."),
]
JsonOption: TypeAlias = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print JSON instead of text.")
]
