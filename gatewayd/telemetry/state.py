"""Gauges that are read from the worker's state when somebody scrapes, and from nothing before."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from gatewayd.process import logs
from gatewayd.services.health import HealthChange

if TYPE_CHECKING:
    from gatewayd.generation import Generations
    from gatewayd.server import Server
    from gatewayd.telemetry.metrics import Metrics

_PAGE = os.sysconf("SC_PAGE_SIZE")


class StateMetrics:
    """Shows the state of one worker.

    Args:
        generations: Its generations.
        server: Its listener.

    """

    def __init__(self, generations: Generations, server: Server) -> None:
        self._generations = generations
        self._server = server
        self._metrics = metrics = generations.kept.metrics
        self._define_worker(metrics)
        self._define_services(metrics)
        metrics.on_read(self._read)
        generations.kept.events.listen(HealthChange, self._count_change)

    def _define_worker(self, metrics: Metrics) -> None:
        self._in_flight = metrics.gauge(
            "gatewayd_exchanges_in_flight", "Exchanges that run now."
        ).labels()
        self._connections = metrics.gauge(
            "gatewayd_client_connections", "Open connections of clients."
        ).labels()
        self._refused = metrics.counter(
            "gatewayd_refused_connections", "Connections closed because there were too many."
        ).labels()
        self._malformed = metrics.counter(
            "gatewayd_refused_requests", "Requests answered before any filter ran: malformed ones."
        ).labels()
        self._generation = metrics.gauge(
            "gatewayd_generation", "Number of the generation that runs.", combine="worker"
        ).labels()
        self._retiring = metrics.gauge(
            "gatewayd_retiring_generations", "Generations that wait for their last exchange."
        ).labels()
        self._lost_lines = metrics.counter(
            "gatewayd_log_dropped_lines", "Lines of the process's own log that were not written."
        ).labels()
        self._expiry = metrics.gauge(
            "gatewayd_certificate_expiry_timestamp_seconds",
            "When a certificate of the listener expires, in seconds of the Unix clock.",
            ("certificate",),
            combine="min",
        )
        self._memory = metrics.gauge(
            "gatewayd_worker_resident_memory_bytes", "Resident memory.", combine="worker"
        ).labels()
        self._cpu = metrics.counter(
            "gatewayd_worker_cpu_seconds", "CPU time of workers, user and system."
        ).labels()

    def _define_services(self, metrics: Metrics) -> None:
        labels = ("service", "instance")
        self._open = metrics.gauge(
            "gatewayd_upstream_connections", "Connections to instances.", (*labels, "state")
        )
        self._pending = metrics.gauge(
            "gatewayd_upstream_pending", "Exchanges that wait for a connection.", labels
        )
        self._available = metrics.gauge(
            "gatewayd_instance_available",
            "Whether balancers may pick an instance, in the worker that sees it worst.",
            labels,
            combine="min",
        )
        self._ejected = metrics.gauge(
            "gatewayd_instance_ejected", "Workers that have ejected an instance.", labels
        )
        self._changes = metrics.counter(
            "gatewayd_health_changes",
            "Changes of the health of instances: by checks, or by ejection.",
            ("service", "change"),
        )

    def _count_change(self, change: HealthChange) -> None:
        self._changes.labels(change.service, change.change).value += 1

    def _read(self) -> None:
        server, generations = self._server, self._generations
        self._in_flight.value = server.in_flight
        self._connections.value = server.open_connections
        self._refused.value = server.refused_connections
        self._malformed.value = server.refused_requests
        self._generation.value = generations.current.number
        self._retiring.value = generations.retiring
        self._lost_lines.value = logs.dropped()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu.value = usage.ru_utime + usage.ru_stime
        self._memory.value = _resident_bytes()
        certificates = server.certificates()
        for path, expires_at in certificates.items():
            self._expiry.labels(path).value = expires_at
        for gone in self._expiry.cells().keys() - {(path,) for path in certificates}:
            self._expiry.forget(*gone)
        self._read_services()

    def _read_services(self) -> None:
        present = set()
        for service in self._generations.current.services.values():
            for url, instance in service.instances.items():
                labels = service.name, url
                present.add(labels)
                pool = instance.pool
                self._open.labels(*labels, "active").value = pool.in_use
                self._open.labels(*labels, "idle").value = pool.idle
                self._pending.labels(*labels).value = pool.pending
                self._available.labels(*labels).value = int(instance.available)
                self._ejected.labels(*labels).value = int(instance.ejected_until > 0)
        for gone in {key[:2] for key in self._open.cells()} - present:
            for family in (self._pending, self._available, self._ejected):
                family.forget(*gone)
            for state in ("active", "idle"):
                self._open.forget(*gone, state)

    def close(self) -> None:
        """Show no more."""
        self._metrics.forget_reader(self._read)
        self._generations.kept.events.forget(HealthChange, self._count_change)


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # a file of the kernel, at once
        return int(file.read().split()[1]) * _PAGE
