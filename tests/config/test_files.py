"""The configurations that gatewayd comes with, and those that it has to understand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.load import LoadedConfig, load
from gatewayd.config.reference import built_in_plugins
from gatewayd.layers import layers_of, merge
from gatewayd.routing.route import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).parents[2]
DEFAULT = REPOSITORY / "conf" / "gateway.toml"
EXAMPLES = sorted((REPOSITORY / "conf" / "examples").glob("**/*.toml"))
SHARED = REPOSITORY.parent / "shared" / "conf"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the configurations to understand are not beside this checkout"
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a ``.env`` file."""
    monkeypatch.chdir(tmp_path)


def load_file(path: Path, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    return load(path, environ=environ or {}, plugins=built_in_plugins())


def validate_filters(loaded: LoadedConfig) -> int:
    """Validate the settings of every filter in every route; returns how many there are."""
    count = 0
    for name in loaded.config.pipeline.filters:
        model = loaded.plugins.filters.load(name).Config
        for index, route in enumerate(loaded.config.routes):
            for service in [one.name for one in route.services] or [None]:
                settings = merge(name, layers_of(loaded.config, name, route=index, service=service))
                if settings is not None:
                    model.model_validate(settings.values)
                    count += 1
    return count


def test_the_default_configuration() -> None:
    loaded = load_file(DEFAULT)
    assert (loaded.config.server.host, loaded.config.server.port) == ("127.0.0.1", 8001)
    assert [route.name for route in loaded.config.routes] == [
        "demo",
        "demo-item",
        "private-items",
        "moved",
    ]


def test_the_default_pipeline_is_the_one_of_the_default_configuration() -> None:
    shown = load_file(DEFAULT).config.pipeline
    assert shown == type(shown)()


@pytest.mark.parametrize(
    "path", [DEFAULT, *EXAMPLES], ids=lambda path: str(path.relative_to(REPOSITORY))
)
def test_our_configurations_load(path: Path) -> None:
    loaded = load_file(path, {"ADMIN_TOKEN": "secret"})
    for index, route in enumerate(loaded.config.routes):
        assert Route(route, index).name == route.name
    assert validate_filters(loaded) >= len(loaded.config.routes)


def test_the_yaml_example_is_read_whole() -> None:
    config = load_file(REPOSITORY / "conf/examples/yaml/gateway.toml").config
    assert [route.name for route in config.routes] == ["projects-get-post", "servers"]
    assert list(config.services) == ["project-service", "server-service"]


@needs_shared
def test_the_smallest_gateway() -> None:
    config = load_file(SHARED / "bare.toml").config
    assert config.pipeline.filters == ["route_match", "balancer", "upstream"]
    assert [route.name for route in config.routes] == ["everything"]


@needs_shared
def test_the_tour_loads() -> None:
    loaded = load_file(SHARED / "tour.toml")
    assert loaded.config.admin is not None
    assert validate_filters(loaded) >= len(loaded.config.routes)


@needs_shared
def test_the_configuration_of_the_benchmark_loads() -> None:
    loaded = load_file(
        SHARED / "full.toml", {"BENCH_RUN": "/tmp", "BENCH_SECRET": "0123456789abcdef" * 4}
    )
    assert validate_filters(loaded) >= len(loaded.config.routes)
