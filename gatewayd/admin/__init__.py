"""The admin API: what operators see of a running node, and what they may do with it.

It has a listener of its own, in the supervisor (or in the only process), and asks the workers over
their channels: :mod:`gatewayd.admin.commands` is what a worker answers,
:mod:`gatewayd.admin.api` what the listener does with the answers.
"""
