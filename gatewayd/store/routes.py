"""Routes and services in the store, as they stand in a configuration file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.errors import StoreRefused, UnreadableRows
from gatewayd.store.schema import routes, service_instances, services

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database

MAX_ROWS = 100_000
"""Most rows of a table that are read; ten thousand routes are many."""

_OF_INSTANCE: Mapping[str, Any] = {"weight": 1, "zone": "", "healthy": True}


class Routes:
    """The tables of routes, services and instances."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, Any]:
        """Return ``routes`` and ``services`` as a configuration file has them, of one moment.

        Raises:
            UnreadableRows: a definition is not what a file could have, or there are more than
                :data:`MAX_ROWS`.
            StoreUnavailable: the store is away.

        """

        async def work(connection: AsyncConnection) -> tuple[list[sa.Row[Any]], ...]:
            queries = (
                _rows(routes).order_by(routes.c.position, routes.c.name),
                _rows(services).order_by(services.c.name),
                sa.select(service_instances).order_by(service_instances.c.id),
            )
            bounded = [query.limit(MAX_ROWS + 1) for query in queries]
            return tuple([list(await connection.execute(query)) for query in bounded])

        found = await self._database.read(work, fresh=True, snapshot=True)
        tables = zip((routes, services, service_instances), found, strict=True)
        too_long = [table.name for table, rows in tables if len(rows) > MAX_ROWS]
        if too_long:
            reason = f"it has more than {MAX_ROWS} rows"
            raise UnreadableRows({f"table {name!r}": reason for name in too_long})
        return _Reader().read(*found)

    async def replace_all(
        self, new_routes: Sequence[Mapping[str, Any]], new_services: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Put these in the place of all that is there, in one transaction.

        Raises:
            StoreRefused: they cannot be stored, or are more than could be read.
            StoreUnavailable: the store is away.

        """
        new = (
            (routes, _route_rows(new_routes)),
            (services, _service_rows(new_services)),
            (service_instances, _instance_rows(new_services)),
        )
        for table, rows in new:
            if len(rows) > MAX_ROWS:
                raise StoreRefused(f"{len(rows)} rows of {table.name}, and {MAX_ROWS} at most")

        async def work(connection: AsyncConnection) -> None:
            for table in (routes, service_instances, services):
                await connection.execute(table.delete())
            for table, rows in new:
                if rows:
                    await connection.execute(table.insert(), rows)

        await self._database.write(work)


def _rows(table: sa.Table) -> sa.Select[Any]:
    # JSON as text: what is none must not end the query that other rows are read with.
    return sa.select(
        *(column for column in table.c if column.name != "definition"),
        sa.type_coerce(table.c.definition, sa.Text).label("definition"),
    )


class _Reader:
    """Makes rows what a file would have, and notes those that are nothing of the kind."""

    def __init__(self) -> None:
        self._unreadable: dict[str, str] = {}

    def read(
        self,
        route_rows: Iterable[sa.Row[Any]],
        service_rows: Iterable[sa.Row[Any]],
        instance_rows: Iterable[sa.Row[Any]],
    ) -> dict[str, Any]:
        """Return routes and services.

        Raises:
            UnreadableRows: a definition is not what a file could have.

        """
        found_routes = [self._route(row) for row in route_rows]
        found = {
            row.name: self._definition(f"service {row.name!r}", row.definition)
            for row in service_rows
        }
        for row in instance_rows:
            instance = {"url": row.url} | {name: getattr(row, name) for name in _OF_INSTANCE}
            instances = found.setdefault(row.service, {}).setdefault("instances", [])
            if isinstance(instances, list):
                instances.append(instance)
            else:
                self._unreadable[f"service {row.service!r}"] = "instances is no JSON array"
        if self._unreadable:
            raise UnreadableRows(self._unreadable)
        return {"routes": found_routes, "services": found}

    def _route(self, row: sa.Row[Any]) -> dict[str, Any]:
        label = f"route {row.name!r}"
        definition = self._definition(label, row.definition)
        if definition.setdefault("name", row.name) != row.name:
            self._unreadable[label] = "its definition has another name"
        return definition

    def _definition(self, label: str, text: Any) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except (RecursionError, TypeError, ValueError):
            found = None
        if isinstance(found, dict):
            return found
        self._unreadable[label] = "definition is no JSON object"
        return {}


def _route_rows(new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": route["name"],
            "position": position,
            "definition": {key: value for key, value in route.items() if key != "name"},
        }
        for position, route in enumerate(new)
    ]


def _service_rows(new: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "definition": {
                key: value
                for key, value in service.items()
                if key != "instances" or not _has_instances(service)
            },
        }
        for name, service in new.items()
    ]


def _instance_rows(new: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "service": name,
            "url": instance["url"],
            **{key: instance.get(key, default) for key, default in _OF_INSTANCE.items()},
        }
        for name, service in new.items()
        if _has_instances(service)
        for instance in service["instances"]
    ]


def _has_instances(service: Mapping[str, Any]) -> bool:
    """Whether ``instances`` is what its table holds; another discovery may mean else by it."""
    found = service.get("instances")
    known = {"url", *_OF_INSTANCE}
    return isinstance(found, list) and all(
        isinstance(one, dict) and "url" in one and one.keys() <= known for one in found
    )
