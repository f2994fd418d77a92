"""The client side of HTTP on one connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import pytest

from pytest_connex.proxy.asking import Asking, Head, Piece, dial

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = [("Host", "x")]


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[Asking]:
    """A connection to a server that does this."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        connection = await dial("127.0.0.1", server.sockets[0].getsockname()[1], None)
        yield connection
        connection.close()
    finally:
        server.close()
        await asyncio.sleep(0.01)


def says(*answers: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        await reader.read()

    return serve


async def test_a_request_is_written_as_it_is_given():
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"end\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 \r\n\r\n")

    async with connected(serve) as server:
        headers = [("b", "1"), ("Host", "x"), ("TRANSFER-encoding", "chunked"), ("B", "2")]
        server.ask("wHAT", "/a?b#c", headers)
        await server.write(b"ab")
        await server.end([("X", "end")])
        assert await server.head() == Head(204, "", [], is_whole=True)
    assert heard == [
        b"wHAT /a?b#c HTTP/1.1\r\nb: 1\r\nHost: x\r\nTRANSFER-encoding: chunked\r\nB: 2\r\n\r\n"
        b"2\r\nab\r\n0\r\nX: end\r\n\r\n"
    ]


async def test_the_last_piece_is_known_as_such():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\nX: 1\r\n\r\n"
    async with connected(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", chunked)) as server:
        server.ask("GET", "/", HOST)
        assert not (await server.head()).is_whole
        assert await server.piece() == Piece(b"ab", True)
        assert server.is_free
        server.ask("GET", "/", HOST)
        assert not (await server.head()).is_whole
        assert not server.is_free
        assert [await server.piece(), await server.piece()] == [Piece(b"ab"), Piece(b"cd", True, [("X", "1")])]


async def test_what_came_before_a_body_is_broken_is_not_lost():
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"
    async with connected(says(broken)) as server:
        server.ask("GET", "/", HOST)
        await server.head()
        assert await server.piece() == Piece(b"ab")
        with pytest.raises(h11.RemoteProtocolError):
            await server.piece()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 too much\r\n\r\n",
    ],
)
async def test_a_connection_that_cannot_stay_is_not_free(answer):
    async with connected(says(answer)) as server:
        server.ask("GET", "/", HOST)
        assert (await server.head()).is_whole
        assert not server.is_free


async def test_whoever_waits_gets_the_error_that_it_fails_with():
    async with connected(says()) as server:
        server.ask("GET", "/", HOST)
        waiting = asyncio.ensure_future(server.head())
        await asyncio.sleep(0)
        server.fail(KeyError("why"))
        with pytest.raises(KeyError, match="why"):
            await waiting


async def test_a_server_that_sends_is_read_only_as_fast_as_it_is_taken():
    written = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (30 << 20))
        for _ in range(30):
            writer.write(bytes(1 << 20))
            await writer.drain()
            written += 1

    async with connected(pour) as server:
        server.ask("GET", "/", HOST)
        await server.head()
        await asyncio.sleep(0.2)
        assert written < 30
        size, is_last = 0, False
        while not is_last:
            piece = await server.piece()
            size, is_last = size + len(piece.data), piece.is_last
    assert size == 30 << 20


async def test_a_line_that_would_be_two_is_not_written():
    async with connected(says()) as server:
        with pytest.raises(ValueError, match="line break"):
            server.ask("GET", "/", [("A", "b\r\nC: d")])


async def test_every_address_of_a_server_is_tried(unused_tcp_port_factory, monkeypatch):
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    find = socket.getaddrinfo

    def both(host: str, number: int, *args: int, **options: int) -> list[object]:
        if host != "name":
            return find(host, number, *args, **options)
        return [*find("127.0.0.9", number, **options), *find("127.0.0.1", number, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    connection = await dial("name", port, None)
    connection.close()
    server.close()
    await asyncio.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        await dial("name", unused_tcp_port_factory(), None)
