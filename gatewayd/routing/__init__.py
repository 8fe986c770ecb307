"""Matching rules, the lookup table, and path normalisation.

Reading order: :mod:`~gatewayd.routing.normalise` (what a path is), :mod:`~gatewayd.routing.table`
(which route wins), :mod:`~gatewayd.routing.tree` (how it is found).
"""
