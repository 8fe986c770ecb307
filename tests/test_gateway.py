from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatewayd import Gateway, Readiness, RouteTable
from gatewayd.gateway import KeptState
from gatewayd.registry import Plugins
from gatewayd.testing import FakeClock

PLUGINS = Plugins()


def make_gateway(kept: KeptState) -> Gateway:
    return Gateway(
        clock=FakeClock(),
        routes=RouteTable([]),
        services={},
        plugins=PLUGINS,
        kept=kept,
        readiness=Readiness(),
    )


class Closing:
    """Live state that counts how often it was closed."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.closed = 0
        self._failure = failure

    def close(self) -> None:
        self.closed += 1
        if self._failure is not None:
            raise self._failure


class ClosingLater(Closing):
    """One whose close has to be awaited."""

    async def close(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().close()


async def test_what_two_generations_ask_for_is_one_object_that_the_last_one_closes() -> None:
    kept = KeptState()
    old, new = make_gateway(kept), make_gateway(kept)
    first = old.keep(("bucket", 10), Closing)
    assert new.keep(("bucket", 10), Closing) is first
    assert new.keep(("bucket", 20), Closing) is not first
    assert await old.close() == []
    assert first.closed == 0
    assert await new.close() == []
    assert first.closed == 1
    assert len(kept) == 0


async def test_what_a_generation_asks_for_twice_it_gives_back_twice() -> None:
    kept = KeptState()
    gateway = make_gateway(kept)
    assert gateway.keep("key", Closing) is gateway.keep("key", Closing)
    other = make_gateway(kept)
    state = other.keep("key", Closing)
    await gateway.close()
    assert state.closed == 0
    await other.close()
    assert state.closed == 1


@pytest.mark.parametrize("make", [Closing, ClosingLater, object])
async def test_closing_waits_where_there_is_something_to_wait_for(make: type) -> None:
    kept = KeptState()
    gateway = make_gateway(kept)
    state = gateway.keep("key", make)
    assert await gateway.close() == []
    assert getattr(state, "closed", 1) == 1
    assert len(kept) == 0


async def test_one_that_cannot_be_closed_keeps_none_of_the_others_from_being_closed() -> None:
    gateway = make_gateway(KeptState())
    failure = OSError("cannot close")
    first = gateway.keep(1, Closing)
    gateway.keep(2, lambda: Closing(failure))
    gateway.keep(3, lambda: ClosingLater(failure))
    last = gateway.keep(4, Closing)
    assert await gateway.close() == [failure, failure]
    assert (first.closed, last.closed) == (1, 1)
    assert await gateway.close() == []


async def test_one_whose_close_awaits_what_it_has_cancelled_is_no_end_of_closing() -> None:
    gateway = make_gateway(KeptState())
    first = gateway.keep(1, Closing)
    gateway.keep(2, lambda: ClosingLater(asyncio.CancelledError()))
    (failure,) = await gateway.close()
    assert "awaited what was cancelled" in str(failure)
    assert first.closed == 1


async def test_what_could_not_be_made_is_not_kept() -> None:
    kept = KeptState()
    gateway = make_gateway(kept)

    def fail() -> Closing:
        raise ValueError("cannot be made")

    with pytest.raises(ValueError, match="cannot be made"):
        gateway.keep("key", fail)
    assert len(kept) == 0
    assert await gateway.close() == []


class Keeping(RuleBasedStateMachine):
    """Generations that come and go share what they ask for, and close it exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = KeptState()
        self.generations: list[tuple[Gateway, dict[str, Closing]]] = []
        self.made: list[Closing] = []

    @rule()
    def open(self) -> None:
        self.generations.append((make_gateway(self.kept), {}))

    def make(self) -> Closing:
        state = Closing()
        self.made.append(state)
        return state

    @rule(data=st.data(), key=st.sampled_from("abc"))
    @precondition(lambda self: self.generations)
    def keep(self, data: st.DataObject, key: str) -> None:
        gateway, uses = data.draw(st.sampled_from(self.generations))
        uses[key] = gateway.keep(key, self.make)

    @rule(data=st.data())
    @precondition(lambda self: self.generations)
    def close(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.generations))
        self.generations.remove(one)
        # Nothing here has to be awaited, so that no event loop is needed.
        with pytest.raises(StopIteration):
            one[0].close().send(None)

    @invariant()
    def what_is_used_is_open_and_one_object_and_the_rest_is_closed(self) -> None:
        used = {(key, state) for _, uses in self.generations for key, state in uses.items()}
        assert max(Counter(key for key, _ in used).values(), default=1) == 1
        assert len(self.kept) == len(used)
        states = {state for _, state in used}
        assert [state.closed for state in self.made] == [int(s not in states) for s in self.made]


TestKeeping = Keeping.TestCase


async def test_readiness_knows_its_checks() -> None:
    async def check() -> None:
        """Nothing is wrong."""

    readiness = Readiness()
    readiness.add("redis", check)
    readiness.add("audit", check, gates=False)
    assert readiness.checks == {"redis": (check, True), "audit": (check, False)}
    assert not readiness.draining
