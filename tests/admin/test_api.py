"""What the operations make of answers that workers give, or do not give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from gatewayd.admin import api
from gatewayd.admin.api import AdminApi
from gatewayd.cli.status import _worker
from gatewayd.process.node import Answer

if TYPE_CHECKING:
    from gatewayd.process.node import Node


class FakeNode:
    """A node whose workers answer what they are told to."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.loaded = SimpleNamespace(files=[], env=None, digest="0" * 64)

    async def ask(self, *_: object, **__: object) -> list[Answer]:
        return self.answers


def api_of(*answers: Answer) -> AdminApi:
    return AdminApi(cast("Node", FakeNode(*answers)))


async def test_the_status_of_a_worker_that_does_not_answer_has_all_its_members() -> None:
    working = {"uptime": 1.0, "generation": 2, "digest": "0", "in_flight": 3, "connections": 4}
    answers = Answer(0, 11, result=working), Answer(1, 12, error="did not answer in 5 s")
    told: Any = await api.status(api_of(*answers), None, {})
    one, other = told["workers"]
    assert one.keys() == other.keys()
    assert _worker(one)[-1] == "serving"
    assert _worker(other)[-1] == "did not answer in 5 s"
