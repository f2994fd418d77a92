"""Noticing that the other side has left, with nothing read from it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest

from pytest_connex.proxy.departure import Departure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of it")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as theirs:
            ours, _ = server.accept()
            with ours:
                yield ours, theirs


async def test_the_end_is_told_of_once_although_something_waits_to_be_read(pair):
    ours, theirs = pair
    left = asyncio.Event()
    told: list[int] = []
    departure = Departure(lambda: (told.append(1), left.set()))
    departure.watch(ours)
    departure.watch(ours)
    theirs.sendall(b"unread")
    await asyncio.sleep(0.01)
    assert told == []
    theirs.close()
    await left.wait()
    await asyncio.sleep(0.01)
    assert told == [1]
    departure.stop()


async def test_whoever_stops_watching_is_told_nothing(pair):
    ours, theirs = pair
    told: list[int] = []
    departure = Departure(lambda: told.append(1))
    departure.watch(ours)
    departure.stop()
    departure.stop()
    theirs.close()
    await asyncio.sleep(0.01)
    assert told == []


async def test_without_a_socket_nothing_is_watched():
    departure = Departure(lambda: None)
    departure.watch(None)
    departure.stop()
