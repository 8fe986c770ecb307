"""The store as a source of the configuration: routes and services beside those of the files.

They are what a file would have, and are checked as that is. A name belongs to one source: a route
or service that the files define as well is an error, as it is between two files.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from gatewayd.config.documents import MAX_DEPTH, depth_of, read_bounded
from gatewayd.config.model import Model
from gatewayd.config.places import Source
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.store.errors import StoreError, UnreadableRows
from gatewayd.store.settings import StoreConfig

if TYPE_CHECKING:
    from gatewayd.config.issues import Issues
    from gatewayd.config.places import Origins

MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024
"""Largest snapshot that is read; ten thousand routes take some megabytes."""

logger = logging.getLogger("gatewayd.config")


class SourcesConfig(Model):
    """Where routes and services come from."""

    sources: tuple[Literal["file", "store"], ...] = Field(("file",), min_length=1)
    """`store` adds the routes and services that are in the SQL database; `gatewayd store import`
    writes those of a file there. A running gateway takes changes over when it reloads."""
    on_outage: Literal["closed", "stale"] = "closed"
    """What happens while the store is away: `closed` refuses to start or to reload; `stale` uses
    what was in use last, from `snapshot`."""
    snapshot: str = "var/store-routes.json"
    """File that keeps what the gateway has taken over last; readable for its owner only."""


def add_stored(values: dict[str, Any], origins: Origins, issues: Issues) -> bytes | None:
    """Add the store's routes and services to a merged configuration, where it asks for them.

    Returns what the store has given, for :func:`save_snapshot`; ``None`` where it was not read.

    Args:
        values: The configuration before validation; changed.
        origins: Learns where the added values came from.
        issues: Takes what is wrong with them.

    Raises:
        ConfigError: the store cannot be read, or rows of it cannot.

    """
    try:
        settings = SourcesConfig.model_validate(values.get("config", {}))
        store = StoreConfig.model_validate(values.get("store", {}))
    except ValidationError:
        return None  # the validation of the whole tells what is wrong
    if "store" not in settings.sources:
        return None
    if origins.near_broken(("store",)):  # such as a password that is missing: nobody tries another
        text = "the store cannot be read, as its settings are not known"
        raise ConfigError(ConfigIssue(text, key="config.sources"))
    stored, is_fresh = _read(settings, store)
    packed = json.dumps(stored).encode() if is_fresh else None  # before shorthands are expanded
    _add_routes(stored["routes"], values, origins, issues)
    _add_services(stored["services"], values, origins, issues)
    return packed


def _add_routes(
    routes: list[Any], values: dict[str, Any], origins: Origins, issues: Issues
) -> None:
    there = values.setdefault("routes", [])
    if not isinstance(there, list):
        return  # validation says so
    for route in routes:
        path = ("routes", len(there))
        there.append(route)
        origins.set(path, Source(f"store, route {route['name']!r}"), ())
        if depth_of(route) > MAX_DEPTH:
            issues.add(path, "nested too deep")


def _add_services(
    services: dict[str, Any], values: dict[str, Any], origins: Origins, issues: Issues
) -> None:
    there = values.setdefault("services", {})
    if not isinstance(there, dict):
        return
    for name, service in services.items():
        path = ("services", name)
        if name in there:
            issues.add(path, f"service {name!r} is in the store as well")
        else:
            there[name] = service
            origins.set(path, Source(f"store, service {name!r}"), ())
            if depth_of(service) > MAX_DEPTH:
                issues.add(path, "nested too deep")


def _read(settings: SourcesConfig, store: StoreConfig) -> tuple[dict[str, Any], bool]:
    """Return what is in the store, or was when it was last used, and whether it is the former."""
    try:
        return _in_a_loop_of_its_own(store), True
    except UnreadableRows as error:  # no outage: what somebody has written is wrong
        rows = error.rows.items()
        issues = [ConfigIssue(reason, file=f"store, {row}") for row, reason in rows]
        raise ConfigError(issues) from error
    except StoreError as error:
        if settings.on_outage == "closed":
            issue = ConfigIssue(f"the store cannot be read: {error}", key="config.sources")
            raise ConfigError(issue) from error
        return _read_snapshot(Path(settings.snapshot), error), False


def _in_a_loop_of_its_own(config: StoreConfig) -> dict[str, Any]:
    """Read the store; whoever loads a configuration may be within an event loop, or not."""
    outcome: list[dict[str, Any] | BaseException] = []

    async def read() -> dict[str, Any]:
        from gatewayd.store.store import opened_store

        async with opened_store(config) as store:
            return await store.routes.load()

    def run() -> None:
        try:
            outcome.append(asyncio.run(read()))
        except BaseException as error:  # for the thread that waits, below
            outcome.append(error)

    thread = threading.Thread(target=run, name="gatewayd stored routes")
    thread.start()
    thread.join()
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _read_snapshot(file: Path, outage: StoreError) -> dict[str, Any]:
    try:
        stored = _snapshot_of(read_bounded(file, MAX_SNAPSHOT_BYTES))
        age = time.time() - file.stat().st_mtime
    except (OSError, RecursionError, ValueError) as error:
        text = f"the store cannot be read: {outage}; nor can the snapshot {file}: {error}"
        raise ConfigError(ConfigIssue(text, key="config.snapshot")) from error
    logger.warning("the store cannot be read, using %s of %.0f s ago: %s", file, age, outage)
    return stored


def _snapshot_of(data: bytes) -> dict[str, Any]:
    """Return what a snapshot says; raises :class:`ValueError` where it is none."""
    stored = json.loads(data)
    found = stored if isinstance(stored, dict) else {}
    routes, services = found.get("routes"), found.get("services")
    if not isinstance(services, dict) or not isinstance(routes, list):
        raise ValueError("it has no routes and services")  # noqa: TRY004  # of the file
    if not all(isinstance(route, dict) and "name" in route for route in routes):
        raise ValueError("it has routes without names")
    return found


def save_snapshot(settings: SourcesConfig, stored: bytes) -> None:
    """Replace the snapshot as a whole; that it cannot be written is no reason not to go on.

    For configurations that all workers use: one that was refused, by one of them, must not take
    the place of the last good one.

    Args:
        settings: Name the file.
        stored: What :func:`add_stored` has returned.

    """
    file = Path(settings.snapshot)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes it readable for its owner only.
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(stored)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:  # the latter of a zero byte in its name
        logger.warning("the snapshot %s cannot be written: %s", file, error)
