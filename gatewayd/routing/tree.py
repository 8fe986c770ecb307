"""Where routes are found by path: a dict of whole paths, expressions, and a tree of segments.

The tree has one level per segment. A lookup goes down the literal child and comes back for the
others only if what it found there did not match in the end. No node is visited twice and none below
the deepest pattern, so no path costs more than the routes that were configured for it: its length
and what it repeats do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.routing.pattern import LITERAL, PARAM, REGEX, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayd.routing.pattern import PathPattern
    from gatewayd.routing.route import Route


class Node:
    """A place in the tree: what all patterns that begin with the same segments share.

    Attributes:
        here: Routes that match when the path ends here, the most specific one first.
        literals: Children by literal segment.
        expressions: Children by ``{param:regex}``, the most specific one first.
        param: Child for ``{param}``.
        below: Leaf of the routes that match whatever follows.

    """

    __slots__ = ("below", "expressions", "here", "literals", "param")

    def __init__(self) -> None:
        self.here: list[Route] = []
        self.literals: dict[str, Node] = {}
        self.expressions: dict[str, tuple[Segment, Node]] = {}
        self.param: Node | None = None
        self.below: Node | None = None

    def child(self, segment: Segment) -> Node:
        """Return the child for a pattern's segment, made where there is none."""
        if segment.kind == LITERAL:
            return self.literals.setdefault(segment.text, Node())
        if segment.kind == REGEX:
            return self.expressions.setdefault(segment.text, (segment, Node()))[1]
        if self.param is None:
            self.param = Node()
        return self.param

    def add(self, route: Route) -> None:
        """Take a route whose pattern ends here."""
        self.here.append(route)
        if route.pattern.open:
            if self.below is None:
                self.below = Node()
            self.below.here.append(route)


class PathTable:
    """Routes of one priority and host, by path.

    Args:
        priority, host: What its routes have in common; the host is ``""`` for routes without one.

    """

    __slots__ = ("_depth", "_expressions", "_literals", "_root", "host", "priority")

    def __init__(self, priority: int = 0, host: str = "") -> None:
        self.priority = priority
        self.host = host
        self._literals: dict[str, list[Route]] = {}
        self._expressions: list[Route] = []
        self._root = Node()
        self._depth = 0  # segments of the longest pattern

    def add(self, route: Route) -> None:
        """Take a route. The most specific one is added first; see ``Route.order``."""
        pattern = route.pattern
        literal = pattern.literal
        if literal is not None:
            self._literals.setdefault(literal, []).append(route)
        elif pattern.regex is not None:
            self._expressions.append(route)
        else:
            node = self._root
            for segment in pattern.segments:
                node = node.child(segment)
            node.add(route)
            self._depth = max(self._depth, len(pattern.segments))

    def candidates(self, path: str) -> Iterator[Sequence[Route]]:
        """Yield lists (also empty ones) of routes whose path matches, the most specific first.

        Args:
            path: Path in matching form.

        """
        if path in self._literals:
            yield self._literals[path]
        for route in self._expressions:
            if route.pattern.matches(path):
                yield (route,)
        # One segment more than any pattern has is enough to know that the path is longer.
        segments = path.split("/", self._depth + 1)
        end = len(segments)
        if segments[0] or end == 1:
            return  # it does not begin with a slash, as "*" does not
        pending: list[tuple[Node, int]] = []  # what is left to try, the most specific last
        node, place = self._root, 1
        while True:
            while place < end:
                segment = segments[place]
                if node.below is not None:
                    pending.append((node.below, end))
                if node.param is not None and segment:
                    pending.append((node.param, place + 1))
                if node.expressions and segment:
                    pending.extend(
                        (child, place + 1)
                        for wanted, child in reversed(node.expressions.values())
                        if wanted.accepts(segment)
                    )
                child = node.literals.get(segment)
                if child is None:
                    break
                node = child
                place += 1
            else:
                yield node.here
            if not pending:
                return
            node, place = pending.pop()

    def covering(self, pattern: PathPattern) -> Iterator[Route]:
        """Yield the routes that match whatever path ``pattern`` matches, as far as can be told."""
        if pattern.literal is not None:
            yield from self._literals.get(pattern.literal, ())
        if pattern.regex is not None:
            yield from (one for one in self._expressions if one.pattern.text == pattern.text)
            return
        nodes = [self._root]
        for segment in pattern.segments:
            for node in nodes:
                if node.below is not None:
                    yield from node.below.here
            nodes = [child for node in nodes for child in _covering_children(node, segment)]
        for node in nodes:
            if not pattern.open:
                yield from node.here
            elif node.below is not None:
                yield from node.below.here


def _covering_children(node: Node, segment: Segment) -> Iterator[Node]:
    if segment.kind == LITERAL and segment.text in node.literals:
        yield node.literals[segment.text]
    yield from (child for wanted, child in node.expressions.values() if wanted.covers(segment))
    if node.param is not None and Segment(PARAM).covers(segment):
        yield node.param
