"""``gatewayd schema``: what a configuration may contain, for editors and for readers."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gatewayd.cli.output import print_json
from gatewayd.config import reference
from gatewayd.registry import Plugins

_MARKDOWN = Parameter(negative=(), help="Print the reference page instead, for reading.")


def schema(*, markdown: Annotated[bool, _MARKDOWN] = False) -> None:
    """Print the schema."""
    if markdown:
        print(reference.markdown(Plugins()), end="")
    else:
        print_json(reference.json_schema(Plugins()))
