from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from gatewayd.resilience.breaker_state import REFUSED, BreakerMachine, BreakerPolicy, BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
ALLOWED = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED)}


def call(machine: BreakerMachine, now: float, *, failed: bool = False, seconds: float = 0) -> None:
    permit = machine.admit(now)
    assert permit != REFUSED
    machine.record(permit, failed, seconds, now)


def opened(**policy: Any) -> BreakerMachine:
    """A machine that opened at 0 for 5 seconds."""
    machine = BreakerMachine(BreakerPolicy(consecutive_failures=1, **policy))
    call(machine, 0.0, failed=True)
    assert machine.state is OPEN
    return machine


@pytest.mark.parametrize(
    ("policy", "outcomes", "opens"),
    [
        ({"consecutive_failures": 3}, "FFF", True),
        ({"consecutive_failures": 3}, "FF.FF", False),
        ({"min_requests": 4}, "..FF", True),
        ({"min_requests": 4}, "FFF", False),
        ({"min_requests": 4}, "....FFF", False),
        ({"min_requests": 2, "failure_ratio": 1.0}, ".FFFF", False),
        ({"min_requests": 4, "failure_ratio": 0.0, "slow_after": 1.0}, "..SS", True),
        ({"min_requests": 4, "failure_ratio": 0.0, "slow_after": 1.0}, "FFFF", False),
        ({"min_requests": 4, "slow_after": 1.0, "slow_ratio": 0.9}, ".SSS", False),
        ({"min_requests": 4, "window_requests": 4}, "......FF", True),
        ({"min_requests": 4, "window_requests": 8}, "......FF", False),
    ],
)
def test_opens(policy: dict[str, Any], outcomes: str, opens: bool) -> None:
    machine = BreakerMachine(BreakerPolicy(**policy))
    for outcome in outcomes:
        call(machine, 0.0, failed=outcome == "F", seconds=2.0 if outcome == "S" else 0.1)
    assert machine.state is (OPEN if opens else CLOSED)


@pytest.mark.parametrize(
    "policy", [{"consecutive_failures": 3}, {"min_requests": 3}, {"window_requests": 20}]
)
def test_a_closed_one_that_is_reset_counts_from_the_beginning(policy: dict[str, Any]) -> None:
    machine = BreakerMachine(BreakerPolicy(**{"min_requests": 3, **policy}))
    for _ in range(2):
        call(machine, 0.0, failed=True)
    machine.reset()
    for _ in range(2):
        assert machine.state is CLOSED
        call(machine, 0.0, failed=True)
    assert machine.state is CLOSED
    call(machine, 0.0, failed=True)
    assert machine.state is OPEN


def test_failures_of_long_ago_do_not_count() -> None:
    machine = BreakerMachine(BreakerPolicy(min_requests=4, window=10.0))
    for now in (0.0, 0.0, 11.0, 11.0):
        call(machine, now, failed=True)
    assert machine.state is CLOSED


def test_an_open_breaker_refuses_until_its_time_is_over() -> None:
    machine = opened(open_for=5.0)
    assert machine.admit(4.999) == REFUSED
    assert machine.retry_after(4.0) == 1.0
    assert machine.admit(5.0) != REFUSED
    assert machine.state is HALF_OPEN


def test_probes_are_limited_until_one_ends_without_an_outcome() -> None:
    machine = opened(half_open_requests=2)
    permits = [machine.admit(6.0) for _ in range(3)]
    assert permits[2] == REFUSED
    machine.release(permits[0])
    assert machine.admit(6.0) != REFUSED


def test_probes_that_take_long_are_not_waited_for() -> None:
    machine = opened(open_for=5.0, half_open_requests=2)
    assert machine.admit(6.0) != REFUSED
    assert machine.admit(8.0) != REFUSED
    assert machine.admit(10.999) == REFUSED
    call(machine, 11.0)
    call(machine, 11.0)
    assert machine.state is CLOSED


def test_no_more_probes_at_once_after_an_idle_time() -> None:
    machine = opened(open_for=5.0, half_open_requests=2)
    machine.release(machine.admit(6.0))
    permits = [machine.admit(60.0) for _ in range(3)]
    assert permits[2] == REFUSED


@pytest.mark.parametrize(("failed", "state"), [(False, CLOSED), (True, OPEN)])
def test_probes_that_take_long_count_when_they_end(failed: bool, state: BreakerState) -> None:
    machine = opened(open_for=5.0, half_open_requests=2)
    late = [machine.admit(6.0) for _ in range(2)]
    assert machine.admit(12.0) != REFUSED
    machine.record(late[0], False, 10.0, 16.0)
    machine.record(late[1], failed, 10.0, 16.0)
    assert machine.state is state


def test_a_late_probe_that_ends_without_an_outcome_lets_no_other_one_through() -> None:
    machine = opened(open_for=5.0, half_open_requests=1)
    late = machine.admit(6.0)
    assert machine.admit(12.0) != REFUSED
    machine.release(late)
    assert machine.admit(12.0) == REFUSED


def test_as_many_successful_probes_as_are_let_through_close_it() -> None:
    machine = opened(half_open_requests=2)
    call(machine, 6.0)
    assert machine.state is HALF_OPEN
    call(machine, 6.0)
    assert machine.state is CLOSED


@pytest.mark.parametrize(("failed", "seconds"), [(True, 0.1), (False, 3.0)])
def test_a_failed_or_slow_probe_opens_it_for_as_long_again(failed: bool, seconds: float) -> None:
    machine = opened(slow_after=2.0)
    call(machine, 6.0, failed=failed, seconds=seconds)
    assert machine.state is OPEN
    assert machine.opens_at == 11.0


def give_up(machine: BreakerMachine, now: float, seconds: float) -> None:
    machine.give_up(machine.admit(now), seconds, now)


@pytest.mark.parametrize(("seconds", "opens"), [(0.9, False), (1.0, True)])
def test_a_call_that_was_given_up_is_slow_if_it_took_so_long(seconds: float, opens: bool) -> None:
    machine = BreakerMachine(BreakerPolicy(min_requests=2, slow_after=1.0))
    for _ in range(3):
        if machine.state is CLOSED:
            give_up(machine, 0.0, seconds)
    assert machine.state is (OPEN if opens else CLOSED)


@pytest.mark.parametrize(("seconds", "after"), [(0.9, HALF_OPEN), (1.0, OPEN)])
def test_a_probe_that_was_given_up_opens_it_if_it_was_slow(
    seconds: float, after: BreakerState
) -> None:
    machine = opened(slow_after=1.0)
    give_up(machine, 6.0, seconds)
    assert machine.state is after


def test_a_slow_call_that_was_given_up_ends_no_row_of_failures() -> None:
    machine = BreakerMachine(BreakerPolicy(consecutive_failures=2, slow_after=1.0))
    call(machine, 0.0, failed=True)
    give_up(machine, 0.0, 2.0)
    call(machine, 0.0, failed=True)
    assert machine.state is OPEN


def test_calls_from_before_it_opened_do_not_count_as_probes() -> None:
    machine = BreakerMachine(BreakerPolicy(consecutive_failures=1, half_open_requests=1))
    early = [machine.admit(0.0) for _ in range(3)]
    machine.record(early[0], True, 0.1, 0.0)
    probe = machine.admit(6.0)
    machine.record(early[1], True, 6.0, 6.0)
    machine.release(early[2])
    assert machine.state is HALF_OPEN
    assert machine.admit(6.0) == REFUSED
    machine.record(probe, False, 0.1, 6.1)
    assert machine.state is CLOSED


@pytest.mark.parametrize(
    "policy",
    [
        {"failure_ratio": 0.0},
        {"open_for": 0.0},
        {"half_open_requests": 0},
        {"window": 0.0},
        {"window_requests": 10, "min_requests": 20},
    ],
)
def test_a_policy_that_makes_no_working_breaker_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"breaker|above 0|below"):
        BreakerPolicy(**policy)


class Breakers(RuleBasedStateMachine):
    """Any number of calls, ending in any order and any way, while time goes on."""

    permits: Bundle[tuple[int, BreakerState]] = Bundle("permits")

    @initialize(
        window_requests=st.sampled_from([0, 5]),
        consecutive_failures=st.integers(0, 4),
        half_open_requests=st.integers(1, 3),
        slow_after=st.sampled_from([0.0, 1.0]),
    )
    def make(self, **policy: Any) -> None:
        self.policy = BreakerPolicy(min_requests=3, open_for=5.0, **policy)
        self.changes: list[tuple[BreakerState, BreakerState]] = []
        self.machine = BreakerMachine(self.policy, lambda *change: self.changes.append(change))
        self.now = 0.0
        self.opened_at = 0.0
        self.probes: set[int] = set()  # under way, by a number of our own
        self.lent: dict[int, list[float]] = {}  # permit of probes -> when it was given
        self.issued = 0
        self.numbers: dict[int, tuple[int, int]] = {}  # number -> permit, changes at that time

    @rule(seconds=st.floats(0, 7))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=permits)
    def admit(self) -> tuple[int, BreakerState]:
        before = self.machine.state
        permit = self.machine.admit(self.now)
        if before is CLOSED:
            assert permit != REFUSED
        if before is OPEN:
            assert (permit != REFUSED) == (self.now >= self.opened_at + self.policy.open_for)
        self.issued += 1
        if permit != REFUSED:
            self.numbers[self.issued] = (permit, len(self.changes))
            if self.machine.state is HALF_OPEN:
                self.probes.add(self.issued)
                self.lent.setdefault(permit, []).append(self.now)
        elif before is HALF_OPEN:
            assert self.now < max(self.lent[max(self.lent)]) + self.policy.open_for
        return self.issued, self.machine.state

    @rule(given=consumes(permits), failed=st.booleans(), seconds=st.floats(0, 2))
    def record(self, given: tuple[int, BreakerState], failed: bool, seconds: float) -> None:
        number, given_in = given
        if number not in self.numbers:
            return
        permit, changes = self.numbers.pop(number)
        before = self.machine.state
        current = changes == len(self.changes)
        bad = failed or (bool(self.policy.slow_after) and seconds >= self.policy.slow_after)
        self.machine.record(permit, failed, seconds, self.now)
        self.probes.discard(number)
        if not current:
            assert self.machine.state is before
        elif given_in is HALF_OPEN:
            assert (self.machine.state is OPEN) == bad
        elif not bad:
            assert self.machine.state is CLOSED
        if self.machine.state is OPEN and before is not OPEN:
            self.opened_at = self.now

    @rule(given=consumes(permits))
    def release(self, given: tuple[int, BreakerState]) -> None:
        if given[0] in self.numbers:
            before = self.machine.state
            self.machine.release(self.numbers.pop(given[0])[0])
            self.probes.discard(given[0])
            assert self.machine.state is before

    @rule(given=consumes(permits), seconds=st.floats(0, 2))
    def give_up(self, given: tuple[int, BreakerState], seconds: float) -> None:
        slow = bool(self.policy.slow_after) and seconds >= self.policy.slow_after
        if not slow:
            self.release(given)
        elif given[0] in self.numbers:
            permit, changes = self.numbers.pop(given[0])
            before = self.machine.state
            self.machine.give_up(permit, seconds, self.now)
            self.probes.discard(given[0])
            if changes != len(self.changes) - (self.machine.state is not before):
                assert self.machine.state is before
            elif given[1] is HALF_OPEN:
                assert self.machine.state is OPEN
            if self.machine.state is OPEN and before is not OPEN:
                self.opened_at = self.now

    @invariant()
    def changes_follow_the_diagram(self) -> None:
        states = [CLOSED, *(after for _, after in self.changes)]
        assert self.changes == list(pairwise(states))
        assert set(self.changes) <= ALLOWED
        assert self.machine.state is states[-1]

    @invariant()
    def no_more_probes_than_allowed(self) -> None:
        under_way = Counter(self.numbers[number][0] for number in self.probes)
        assert max(under_way.values(), default=0) <= self.policy.half_open_requests
        begun = [times[0] for _, times in sorted(self.lent.items())]
        assert all(late - early >= self.policy.open_for for early, late in pairwise(begun))

    @invariant()
    def half_open_is_never_stuck(self) -> None:
        """While no probe is under way, the next call is one."""
        if self.machine.state is HALF_OPEN and not any(
            self.numbers[number][1] == len(self.changes) for number in self.probes
        ):
            permit = self.machine.admit(self.now)
            assert permit != REFUSED
            self.machine.release(permit)


TestBreakers = Breakers.TestCase
