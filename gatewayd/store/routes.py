"""Routes and services in the store, as they stand in a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.schema import routes, service_instances, services

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database

_OF_INSTANCE: Mapping[str, Any] = {"weight": 1, "zone": "", "healthy": True}


class Routes:
    """The tables of routes, services and instances."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, Any]:
        """Return ``routes`` and ``services`` as a configuration file has them."""

        async def work(connection: AsyncConnection) -> dict[str, Any]:
            rows = await connection.execute(sa.select(routes).order_by(routes.c.position))
            found_routes = [{"name": row.name, **row.definition} for row in rows]
            found: dict[str, Any] = {
                row.name: dict(row.definition)
                for row in await connection.execute(sa.select(services).order_by(services.c.name))
            }
            query = sa.select(service_instances).order_by(service_instances.c.id)
            for row in await connection.execute(query):
                instance = {"url": row.url} | {name: getattr(row, name) for name in _OF_INSTANCE}
                found.setdefault(row.service, {}).setdefault("instances", []).append(instance)
            return {"routes": found_routes, "services": found}

        return await self._database.read(work, fresh=True)

    async def replace_all(
        self, new_routes: Sequence[Mapping[str, Any]], new_services: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Put these in the place of all that is there, in one transaction."""

        async def work(connection: AsyncConnection) -> None:
            for table in (routes, service_instances, services):
                await connection.execute(table.delete())
            for table, rows in (
                (routes, _route_rows(new_routes)),
                (services, _service_rows(new_services)),
                (service_instances, _instance_rows(new_services)),
            ):
                if rows:
                    await connection.execute(table.insert(), rows)

        await self._database.write(work)


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
            "definition": {key: value for key, value in service.items() if key != "instances"},
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
        for instance in service.get("instances", ())
    ]
