"""The node as its admin API sees it: a supervisor with its workers, or one process alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.audit import AuditEvent
    from gatewayd.config.load import LoadedConfig
    from gatewayd.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said.

    Attributes:
        worker: Its number.
        pid: Its process id; 0 where it does not run.
        incarnation: Tells it from those that had its number before; theirs are lower. A process id
            may come again.
        result: What the command returned; ``None`` where it failed.
        error: Why it failed; ``""`` where it did not.
        refused: Whether the command refused its arguments.
        faulty: Whether it failed in a way that nobody has foreseen; the log says more.

    """

    worker: int
    pid: int
    incarnation: int = 0
    result: Any = None
    error: str = ""
    refused: bool = False
    faulty: bool = False


class Node(Protocol):
    """What the admin API may do with a node."""

    @property
    def metrics(self) -> Metrics:
        """What the node itself counts, beside its workers."""

    @property
    def loaded(self) -> LoadedConfig:
        """The configuration that runs."""

    async def ask(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        seconds: float,
        lasting: str = "",
        one: bool = False,
    ) -> Sequence[Answer]:
        """Run a command in all workers, side by side.

        Args:
            name: Name of the command.
            arguments: Its arguments.
            seconds: Time for each worker.
            lasting: Where given, workers that are started later run it as well; a later command
                of the same word takes its place.
            one: Ask one worker only, which serves.

        """

    async def reload(self) -> LoadedConfig:
        """Load the configuration again and have all workers take it over.

        Cancelled, it leaves the reload going on.

        Raises:
            GatewayError: it is refused; the running one stays.

        """

    async def audit(self, event: AuditEvent) -> None:
        """Record what an operator has done."""
