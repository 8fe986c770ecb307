"""What models cannot check: that the parts of a configuration fit each other and the plugins.

The checks run on the merged values before validation and pass over whatever has the wrong type,
because validation will say so; like this one run finds everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gatewayd.config.issues import nearest
from gatewayd.config.schema import PipelineConfig, ServiceConfig
from gatewayd.registry import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gatewayd.config.issues import Issues
    from gatewayd.config.places import KeyPath, Origins
    from gatewayd.registry import Plugins


def table(value: object) -> Mapping[str, Any]:
    """Return a table, or an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def array(value: object) -> Sequence[Any]:
    """Return an array, or an empty one where it is none."""
    return value if isinstance(value, list) else ()


def pipeline_of(values: Mapping[str, Any]) -> list[str]:
    """Return the names in ``pipeline.filters``, the default ones where it is not given."""
    names = table(values.get("pipeline", {})).get("filters", PipelineConfig().filters)
    return [name for name in array(names) if isinstance(name, str)]


def check_pipeline(values: Mapping[str, Any], plugins: Plugins, issues: Issues) -> None:
    """Every filter of the pipeline is installed and stands there once."""
    names = pipeline_of(values)
    installed = plugins.filters.names
    for index, name in enumerate(names):
        path = ("pipeline", "filters", index)
        if name not in installed:
            hint = nearest(name, installed) or f"installed: {', '.join(installed)}"
            issues.add(path, f"filter {name!r} is not installed", hint)
        elif name in names[:index]:
            issues.add(path, f"filter {name!r} stands twice in the pipeline")


def check_filter_settings(values: Mapping[str, Any], plugins: Plugins, issues: Issues) -> None:
    """No layer has settings for a filter that is not in the pipeline: they would do nothing."""
    pipeline = pipeline_of(values)
    installed = plugins.filters.names
    for layer in _layers(values):
        filters: Any = values
        for part in layer:
            filters = filters[part]
        for name in filters:
            if name in pipeline:
                continue
            if name in installed:
                hint = f"add {name!r} there, or take this out"
                issues.add((*layer, name), f"filter {name!r} is not in pipeline.filters", hint)
            else:
                hint = nearest(name, [*pipeline, *installed])
                issues.add((*layer, name), f"filter {name!r} is not installed", hint)


def _layers(values: Mapping[str, Any]) -> Iterator[KeyPath]:
    """Yield the path of every ``filters`` table."""
    if table(values.get("filters")):
        yield ("filters",)
    for name, service in table(values.get("services")).items():
        if table(table(service).get("filters")):
            yield ("services", name, "filters")
    for index, route in enumerate(array(values.get("routes"))):
        if table(table(route).get("filters")):
            yield ("routes", index, "filters")


def check_services(values: Mapping[str, Any], plugins: Plugins, issues: Issues) -> None:
    """Every service's discovery is installed, and accepts the keys that are meant for it."""
    own = ServiceConfig.model_fields
    installed = plugins.discovery.names
    for name, service in table(values.get("services")).items():
        if not isinstance(service, dict):
            continue
        path = ("services", name)
        discovery = service.get("discovery", own["discovery"].default)
        if not isinstance(discovery, str):
            continue
        if discovery not in installed:
            hint = nearest(discovery, installed) or f"installed: {', '.join(installed)}"
            issues.add((*path, "discovery"), f"discovery {discovery!r} is not installed", hint)
            continue
        extra = {key: value for key, value in service.items() if key not in own}
        try:
            model = plugins.discovery.load(discovery).Config
            model.model_validate(extra)
        except PluginError as error:
            issues.add((*path, "discovery"), str(error))
        except ValidationError as error:
            issues.add_validation_error(error, model, _within(path), own)


def check_routes(values: Mapping[str, Any], origins: Origins, issues: Issues) -> None:
    """Names of routes are unique, and the services that they name exist."""
    services = table(values.get("services"))
    seen: dict[str, KeyPath] = {}
    for index, route in enumerate(map(table, array(values.get("routes")))):
        path: KeyPath = ("routes", index)
        name = route.get("name")
        if isinstance(name, str):
            first = seen.setdefault(name, path)
            if first is not path:
                where = ":".join(map(str, origins.where((*first, "name"))))
                issues.add((*path, "name"), f"route {name!r} is defined twice, first at {where}")
        for where_named, service in _named_services(route.get("service"), (*path, "service")):
            if service not in services:
                hint = nearest(service, services)
                issues.add(where_named, f"service {service!r} is not defined", hint)


def _named_services(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    for index, weighted in enumerate(array(value)):
        name = table(weighted).get("name")
        if isinstance(name, str):
            yield (*path, index, "name"), name


def _within(prefix: KeyPath) -> Callable[[KeyPath], KeyPath]:
    return lambda path: (*prefix, *path)
