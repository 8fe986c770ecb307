from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from gatewayd_filters.balancers.per_list import PerList
from tests.support.balancing import make_instances

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd import Instance


def numbered() -> Callable[[Sequence[Instance]], int]:
    """Return what makes 1 of the first list that it is given, 2 of the second one, and so on."""
    numbers = count(1)
    return lambda _: next(numbers)


def test_a_value_is_made_once_for_each_list() -> None:
    value_of = PerList(numbered())
    one, equal = make_instances([1]), make_instances([1])
    assert [value_of(one), value_of(equal), value_of(one), value_of(equal)] == [1, 2, 1, 2]


def test_the_list_in_use_is_kept_whatever_comes_between() -> None:
    value_of = PerList(numbered())
    value_of(make_instances([1]))
    used = make_instances([1, 1])
    for _ in range(20):
        assert value_of(used) == 2
        value_of(make_instances([1]))
    assert len(vars(value_of)["_kept"]) <= 4
