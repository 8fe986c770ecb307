from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.schema import ServerConfig
from gatewayd.process.sockets import ListenError, bind_listeners, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Bind = Callable[..., list[socket.socket]]


@pytest.fixture
def bind() -> Iterator[Bind]:
    with ExitStack() as opened:

        def bind(host: str = "127.0.0.1", port: int = 0, workers: int = 1) -> list[socket.socket]:
            listeners = bind_listeners(ServerConfig(host=host, port=port, workers=workers))
            return [opened.enter_context(listener) for listener in listeners]

        yield bind


@pytest.mark.parametrize("workers", [1, 3])
def test_each_worker_gets_a_socket_on_the_same_port(bind: Bind, workers: int) -> None:
    listeners = bind(workers=workers)
    assert len(listeners) == workers
    (address,) = {listener.getsockname() for listener in listeners}
    assert address[1] > 0


def test_connections_are_refused_before_a_worker_listens(bind: Bind) -> None:
    (listener,) = bind()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connections_are_accepted_once_it_does(bind: Bind, host: str) -> None:
    (listener,) = bind(host)
    listener.listen()
    with socket.create_connection(listener.getsockname()[:2], timeout=5):
        pass


def test_all_ipv6_addresses_are_all_ipv4_addresses_too(bind: Bind) -> None:
    (listener,) = bind("::")
    listener.listen()
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5):
        pass


@pytest.mark.parametrize("mine", [1, 2])
@pytest.mark.parametrize("theirs", [1, 2])
def test_a_taken_port_is_an_error_also_where_it_could_be_shared(
    bind: Bind, mine: int, theirs: int
) -> None:
    taken = bind(workers=theirs)
    for listener in taken:
        listener.listen()
    port = taken[0].getsockname()[1]
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: address already in use"):
        bind(port=port, workers=mine)


def test_an_address_of_another_machine_is_an_error(bind: Bind) -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:0: cannot assign requested address"):
        bind("192.0.2.1")


def test_a_name_without_address_is_an_error(bind: Bind) -> None:
    with pytest.raises(ListenError, match=r"nowhere\.invalid:0: \D+$"):
        bind("nowhere.invalid")


@pytest.mark.parametrize(
    ("host", "tls", "expected"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:{}"),
        ("127.0.0.1", True, "https://127.0.0.1:{}"),
        ("::", False, "http://[::]:{}"),
    ],
)
def test_url(bind: Bind, host: str, tls: bool, expected: str) -> None:
    (listener,) = bind(host)
    assert url_of(listener, tls=tls) == expected.format(listener.getsockname()[1])
