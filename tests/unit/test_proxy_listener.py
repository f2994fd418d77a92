"""Listening, not listening, and listening again."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from pytest_connex.errors import ConfigError
from pytest_connex.proxy.listener import Listener


class Greeting(asyncio.Protocol):
    """Says something and ends the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")
        transport.close()


@pytest.fixture
async def listener():
    opened = Listener(Greeting, "127.0.0.1", 0)
    opened.open()
    yield opened
    opened.close()


async def greeted(number: int, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, number)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_whoever_dials_is_accepted(listener):
    assert [await greeted(listener.number) for _ in range(3)] == [b"hello"] * 3


async def test_many_that_dial_at_once_are_accepted(listener):
    assert await asyncio.gather(*(greeted(listener.number) for _ in range(50))) == [b"hello"] * 50


async def test_it_refuses_while_it_is_closed_and_opens_on_the_same_port(listener):
    number = listener.number
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        await greeted(number)
    listener.open()
    assert (listener.number, await greeted(number)) == (number, b"hello")


async def test_opening_and_closing_twice_does_nothing(listener):
    listener.open()
    assert await greeted(listener.number) == b"hello"
    listener.close()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        await greeted(listener.number)


async def test_a_connection_that_arrives_while_it_closes_loses_nothing(listener):
    # Asyncio's own server leaves a transport open here, which the run reports as a warning.
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", listener.number)) as sock:
            await asyncio.sleep(0)
            listener.close()
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            try:
                assert await loop.sock_recv(sock, 5) == b"hello"
            except ConnectionResetError:
                pass  # it had not been accepted
        listener.open()


async def test_a_name_is_listened_to_on_every_address_it_has():
    opened = Listener(Greeting, "localhost", 0)
    opened.open()
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
        assert {host: await greeted(opened.number, host) for host in addresses} == dict.fromkeys(addresses, b"hello")
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("host", "number", "text"),
    [
        ("127.0.0.1", 70_000, "cannot listen on 127.0.0.1:70000: "),
        ("no-such-host.invalid", 0, "cannot listen on no-such-host.invalid:0: "),
        ("192.0.2.1", 0, "cannot listen on 192.0.2.1:0: "),
    ],
)
async def test_what_cannot_be_had_is_told_with_what_to_do(host, number, text):
    listener = Listener(Greeting, host, number)
    with pytest.raises(ConfigError) as caught:
        listener.open()
    assert str(caught.value).startswith(text)
    assert str(caught.value).endswith("Choose another port, or 0 for a free one")


async def test_a_port_in_use_is_told_and_can_be_had_later(listener):
    other = Listener(Greeting, "127.0.0.1", listener.number)
    with pytest.raises(ConfigError, match="in use"):
        other.open()
    listener.close()
    other.open()
    assert await greeted(other.number) == b"hello"
    other.close()


class Socket:
    """A listening socket that has something wrong with it a number of times."""

    def __init__(self, real: socket.socket, problems: list[OSError]) -> None:
        self._real = real
        self._problems = problems
        self.fileno = real.fileno
        self.close = real.close

    def accept(self) -> tuple[socket.socket, object]:
        if self._problems:
            raise self._problems.pop(0)
        return self._real.accept()


@pytest.mark.parametrize(
    "problem",
    [
        BlockingIOError(),
        ConnectionAbortedError(),
        OSError(errno.EMFILE, "Too many open files"),
    ],
)
async def test_a_connection_that_cannot_be_accepted_is_tried_again(monkeypatch, problem):
    problems = [problem]
    create = socket.create_server

    def created(*args: object, **kwargs: object) -> Socket:
        sock = create(*args, **kwargs)
        sock.setblocking(False)
        wrapped = Socket(sock, problems)
        wrapped.setblocking = sock.setblocking
        wrapped.getsockname = sock.getsockname
        return wrapped

    monkeypatch.setattr("pytest_connex.proxy.listener._REST", 0.01)
    monkeypatch.setattr("pytest_connex.proxy.listener.socket.create_server", created)
    listener = Listener(Greeting, "127.0.0.1", 0)
    listener.open()
    try:
        assert (await greeted(listener.number), problems) == (b"hello", [])
    finally:
        listener.close()


async def test_what_was_closed_meanwhile_is_not_tried_again(listener):
    (sock,) = listener._sockets
    listener.close()
    listener._accept_again(sock)
    with pytest.raises(ConnectionRefusedError):
        await greeted(listener.number)
