"""Counters, gauges and histograms of one worker: plain numbers in memory.

A filter asks for a family when it is constructed and for a cell of it when its labels are known,
best once and not for each exchange; what it then does is ``cell.value += 1``. Reading them out is
nobody's business on the way of a request: it happens when somebody scrapes.

Families outlive generations, as counters must not go backwards. Asking again for a family gives the
same one. The number of cells of a family is bounded: whatever is beyond it is counted under the
label value ``other``, so that no client can fill the memory with names.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MAX_CELLS = 4096
"""Cells of a family where it names no bound of its own."""

OTHER = "other"
"""The value of all labels of what is beyond the bound."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds for durations: from a millisecond, in which a near origin answers, to the half
minute after which most clients have gone."""

# https://prometheus.io/docs/concepts/data_model/; a colon is for rules, two underscores for itself.
_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_LABEL = re.compile("(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Combine: TypeAlias = Literal["sum", "max", "min", "worker"]
"""What the gauges of several workers make on one page: their sum, their extreme, or one sample for
each worker, told apart by a label ``worker``."""
Labels: TypeAlias = tuple[str, ...]
CellT = TypeVar("CellT", "Cell", "Histogram")


class Cell:
    """One number: of a counter, which only grows, or of a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """Observations, counted by upper bound.

    Attributes:
        bounds: The upper bounds, ascending.
        counts: Observations for each bound, and at the end those above all of them; not cumulative.
        sum: Of all observations.

    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: list[float]) -> None:
        """Count many observations; they are sorted in place.

        From one per bound on it takes no more than to look for the bound of each, and from 64 on
        some third of that.
        """
        if len(values) < len(self.bounds):
            for value in values:
                self.observe(value)
            return
        values.sort()
        self.sum += sum(values)
        below = 0
        for index, bound in enumerate(self.bounds):
            before, below = below, bisect_right(values, bound, below)
            self.counts[index] += below - before
        self.counts[-1] += len(values) - below


class Family(Generic[CellT]):
    """Cells of one name, told apart by the values of their labels.

    Attributes:
        name: As Prometheus writes it, without the suffix of a counter: ``gatewayd_requests``.
        help: What it counts, in which unit.
        kind: Counter, gauge or histogram.
        label_names: Names of the labels.
        combine: What the values of several workers make; counters and histograms are always summed.
        overflowed: How many label values went under ``other``.

    """

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002  # Prometheus' word for it
        kind: Kind,
        label_names: Labels,
        make: Callable[[], CellT],
        max_cells: int,
        combine: Combine = "sum",
    ) -> None:
        self.name = name
        self.help = help
        self.kind = kind
        self.label_names = label_names
        self.combine: Combine = combine
        self.overflowed = 0
        self._make: Callable[[], CellT] = make
        self._max_cells = max_cells
        self._cells: dict[Labels, CellT] = {}

    def labels(self, *values: str) -> CellT:
        """Return the cell of these label values, in the order of ``label_names``.

        Raises:
            ValueError: there are more or fewer values than labels, or one is no text.

        """
        cell = self._cells.get(values)
        if cell is None:
            if len(values) != len(self.label_names):
                raise ValueError(f"{self.name} has the labels {self.label_names}, not {values}")
            if not all(isinstance(value, str) for value in values):
                raise ValueError(f"{self.name}: values of labels are text, not {values}")
            if len(self._cells) >= self._max_cells:
                self.overflowed += 1
                values = (OTHER,) * len(values)
            cell = self._cells.setdefault(values, self._make())
        return cell

    def forget(self, *values: str) -> None:
        """Drop a cell of a gauge that nothing sets any more, such as one of an instance gone."""
        self._cells.pop(values, None)

    def cells(self) -> Mapping[Labels, CellT]:
        """Return the cells by their label values."""
        return self._cells


class Metrics:
    """The families of one worker."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Cell] | Family[Histogram]] = {}
        self._readers: list[Callable[[], None]] = []

    def counter(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: Labels = (),
        *,
        max_cells: int = MAX_CELLS,
    ) -> Family[Cell]:
        """Return the counter of that name; ``_total`` is added where it is shown.

        Raises:
            ValueError: there is a family of that name with another kind or other labels, or the
                names are none that Prometheus reads.

        """
        return self._family(Family(name, help, "counter", labels, Cell, max_cells))

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: Labels = (),
        *,
        max_cells: int = MAX_CELLS,
        combine: Combine = "sum",
    ) -> Family[Cell]:
        """Return the gauge of that name; raises as :meth:`counter` does.

        ``combine`` says what the values of several workers make on one page.
        """
        return self._family(Family(name, help, "gauge", labels, Cell, max_cells, combine))

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: Labels = (),
        *,
        bounds: Sequence[float] = SECONDS,
        max_cells: int = MAX_CELLS,
    ) -> Family[Histogram]:
        """Return the histogram of that name; raises as :meth:`counter` does.

        ``bounds`` ascend; one above all others is added.
        """
        steps = tuple(bounds)
        if list(steps) != sorted(set(steps)) or not all(map(isfinite, steps)):
            raise ValueError(f"metric {name}: bounds have to ascend, and to be finite")
        return self._family(
            Family(name, help, "histogram", labels, lambda: Histogram(steps), max_cells)
        )

    def _family(self, family: Family[CellT]) -> Family[CellT]:
        _check_names(family)
        known = self._families.setdefault(family.name, family)
        if (known.kind, known.label_names) != (family.kind, family.label_names):
            raise ValueError(f"metric {family.name} exists with another kind or other labels")
        return known  # type: ignore[return-value]  # the kind says so

    def on_read(self, reader: Callable[[], None]) -> None:
        """Call ``reader`` before values are read, to bring gauges up to date."""
        self._readers.append(reader)

    def forget_reader(self, reader: Callable[[], None]) -> None:
        """Undo :meth:`on_read`, if it was done."""
        if reader in self._readers:
            self._readers.remove(reader)

    def read(self) -> Iterable[Family[Cell] | Family[Histogram]]:
        """Return all families, with gauges up to date."""
        for reader in tuple(self._readers):
            reader()
        return tuple(self._families.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._families)


def _check_names(family: Family[Any]) -> None:
    """Raise :class:`ValueError` for names that would make the page of all families unreadable."""
    if not _NAME.fullmatch(family.name):
        raise ValueError(f"not a metric's name: {family.name!r}")
    taken = {"le"} if family.kind == "histogram" else set()
    if family.combine == "worker":
        taken.add("worker")
    for label in family.label_names:
        if label in taken or not _LABEL.fullmatch(label):
            raise ValueError(f"metric {family.name} cannot have a label {label!r}")
        taken.add(label)
