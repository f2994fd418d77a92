"""The server side of HTTP, byte for byte: what a handler is given, what a client gets, how both notice the end."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_connex.background import BackgroundLoop
from pytest_connex.faults import Faults
from pytest_connex.proxy.endpoint import Endpoint
from pytest_connex.proxy.http import Answering, Asked, Http, Refusal, refusal
from pytest_connex.proxy.port import Port

from .loopback import PATIENCE, Feed, eventually, framed, handshake, masked
from .upstream import ends, received

OK = b"HTTP/1.1 200 OK\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Serving:
    """A port in a thread with one handler; the handler's events are those of its loop."""

    def __init__(self, http: Http, feed: Feed | None = None) -> None:
        self.faults = Faults()
        self._feed = feed
        self._port = Port(http, self._websocket, self.faults)
        self._background = BackgroundLoop("serving")

    def _websocket(self, asked: Asked) -> Feed | Refusal:
        return self._feed or refusal(404, "no")

    def __enter__(self) -> Serving:
        self._background.start()
        self._background.run(self._port.start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._background.run(self._port.stop())
        self._background.stop()

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self._port.number), PATIENCE) as connection:
            yield connection

    def tell(self, raw: bytes) -> bytes:
        """Say ``raw``, and return all that is said until the connection ends."""
        with self.client() as connection:
            connection.sendall(raw)
            return received(connection)


async def fine(asked: Asked, answering: Answering) -> None:
    await answering.whole(200, "OK", [], b"fine")


async def repeat(asked: Asked, answering: Answering) -> None:
    """Answer with the body that was asked with, as it comes."""
    await answering.head(200, "OK", [])
    async for piece in asked.pieces():
        await answering.write(piece)
    await answering.end(asked.trailers)


# --- What a handler is given --------------------------------------------------------------------------------------


def test_a_request_is_given_as_it_was_written():
    seen: list[Asked] = []

    async def note(asked: Asked, answering: Answering) -> None:
        seen.append(asked)
        await fine(asked, answering)

    raw = (
        b"rEPORT /a%2f/../b?x=1&&y=%zz#end HTTP/1.1\r\nhOsT:   localhost  \r\nX-b: 2\r\nx-B: 1\r\nX-Empty:\r\n"
        b"X-Raw: \xff\xe9\r\nConnection: close\r\n\r\n"
    )
    with Serving(note) as serving:
        assert serving.tell(raw).endswith(b"fine")
    [asked] = seen
    assert (asked.method, asked.target, asked.version) == ("rEPORT", "/a%2f/../b?x=1&&y=%zz#end", "1.1")
    assert (asked.path, asked.query) == ("/a%2f/../b", "x=1&&y=%zz#end")
    assert asked.headers == [
        ("hOsT", "localhost"),
        ("X-b", "2"),
        ("x-B", "1"),
        ("X-Empty", ""),
        ("X-Raw", "\xff\xe9"),
        ("Connection", "close"),
    ]
    assert asked.values("x-b") == ["2", "1"]
    assert asked.peer[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("lines", "body", "has_body", "read"),
    [
        (b"", b"", False, b""),
        (b"Content-Length: 0\r\n", b"", False, b""),
        (b"Content-Length: 00\r\n", b"", False, b""),
        (b"Content-Length: 3\r\n", b"abc", True, b"abc"),
        (b"Transfer-Encoding: Chunked\r\n", b"1;ext=1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", True, b"abc"),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", True, b""),
    ],
)
def test_a_body_of_any_form_is_read(lines, body, has_body, read):
    async def tell(asked: Asked, answering: Answering) -> None:
        said = f"{asked.has_body} ".encode() + await asked.read()
        await answering.whole(200, "OK", [], said)

    with Serving(tell) as serving:
        raw = serving.tell(b"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + lines + b"\r\n" + body)
    assert raw.endswith(b"\r\n\r\n" + f"{has_body} ".encode() + read)


def test_trailers_pass_in_both_directions():
    body = b"3\r\nabc\r\n0\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\n"
    head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Serving(repeat) as serving:
        assert serving.tell(head + body) == OK + b"Transfer-Encoding: chunked\r\n\r\n" + body


def test_a_body_is_not_read_faster_than_the_handler_takes_it():
    waiting: list[int] = []
    go_on = asyncio.Event()

    async def slowly(asked: Asked, answering: Answering) -> None:
        await go_on.wait()
        size = 0
        async for piece in asked.pieces():
            waiting.append(asked.waiting)
            size += len(piece)
        await answering.whole(200, "OK", [], str(size).encode())

    size = 30 << 20
    with Serving(slowly) as serving, serving.client() as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        connection.settimeout(0.05)
        sent = 0
        try:
            while sent < size:
                sent += connection.send(bytes(min(1 << 20, size - sent)))
        except TimeoutError:
            pass
        assert sent < size  # nobody took it
        connection.settimeout(PATIENCE)
        serving._background.call(go_on.set)
        connection.sendall(bytes(size - sent))
        assert received(connection, str(size).encode()).startswith(OK)
    assert max(waiting) < 1 << 20


def test_an_answer_is_not_written_faster_than_the_client_takes_it():
    written: list[int] = []

    async def pour(asked: Asked, answering: Answering) -> None:
        await answering.head(200, "OK", [("Content-Length", str(30 << 20))])
        for _ in range(30):
            await answering.write(bytes(1 << 20))
            written.append(1)
        await answering.end()

    with Serving(pour) as serving, serving.client() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(CLOSE)
        received(connection, b"\r\n\r\n")
        assert len(written) < 30
        assert len(received(connection)) > 20 << 20
        eventually(lambda: len(written) == 30)


def test_100_continue_is_said_when_the_body_is_wanted():
    async def late(asked: Asked, answering: Answering) -> None:
        await answering.informational(103, "Early Hints", [("Link", "</a>")])
        await answering.whole(200, "OK", [], await asked.read())

    head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with Serving(late) as serving, serving.client() as connection:
        for _ in range(2):
            connection.sendall(head)
            early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            assert received(connection, b"Continue\r\n\r\n") == early + b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            assert received(connection, b"abc") == OK + b"Content-Length: 3\r\n\r\nabc"


def test_a_client_that_is_answered_before_it_was_told_to_go_on_is_told_that_this_is_the_end():
    head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with Serving(fine) as serving, serving.client() as connection:
        connection.sendall(head)
        assert ends(connection) == (OK + b"Content-Length: 4\r\nConnection: close\r\n\r\nfine", "closed")


# --- What a client gets -------------------------------------------------------------------------------------------


def answered(http: Http, raw: bytes = CLOSE) -> bytes:
    with Serving(http) as serving:
        return serving.tell(raw)


def test_nothing_is_added_but_the_length():
    async def answer(asked: Asked, answering: Answering) -> None:
        headers = [("sEt-cookie", "a=1"), ("X-A", "1"), ("Set-Cookie", "b=\xff"), ("x-a", "2")]
        await answering.whole(299, "So so", headers, b"ab")

    assert answered(answer) == (
        b"HTTP/1.1 299 So so\r\nsEt-cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=\xff\r\nx-a: 2\r\n"
        b"Content-Length: 2\r\n\r\nab"
    )


@pytest.mark.parametrize(
    ("version", "headers", "expected"),
    [
        (b"1.1", [], b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (b"1.1", [("Content-Length", "3")], b"Content-Length: 3\r\n\r\nabc"),
        (b"1.0", [], b"\r\nabc"),
        (b"1.0", [("Content-Length", "3")], b"Content-Length: 3\r\n\r\nabc"),
    ],
)
def test_a_streamed_answer_is_framed_as_the_client_understands_it(version, headers, expected):
    async def stream(asked: Asked, answering: Answering) -> None:
        await answering.informational(103, "", [])
        await answering.head(200, "OK", headers)
        for piece in (b"ab", b"", b"c"):
            await answering.write(piece)
        await answering.end()

    raw = b"GET / HTTP/" + version + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    early = b"HTTP/1.1 103 \r\n\r\n" if version == b"1.1" else b""
    assert answered(stream, raw) == early + b"HTTP/" + version + b" 200 OK\r\n" + expected


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        (b"HEAD", 200, [("Content-Length", "1234")]),
        (b"HEAD", 200, []),
        (b"GET", 204, []),
        (b"GET", 304, [("ETag", '"x"'), ("Content-Length", "9")]),
    ],
)
def test_an_answer_without_a_body_is_its_head_as_it_was_given(method, status, headers):
    async def answer(asked: Asked, answering: Answering) -> None:
        await answering.whole(status, "Hm", headers, b"nobody sees this")

    raw = method + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    expected = b"HTTP/1.1 %d Hm\r\n" % status + lines + b"\r\n"
    with Serving(answer) as serving, serving.client() as connection:
        for _ in range(2):  # the connection stays
            connection.sendall(raw)
            assert received(connection, b"\r\n\r\n") == expected


def test_the_first_byte_arrives_at_once():
    go_on = asyncio.Event()

    async def stream(asked: Asked, answering: Answering) -> None:
        await answering.head(200, "OK", [("Content-Type", "text/event-stream")])
        await answering.write(b"data: 1\n\n")
        await go_on.wait()
        await answering.end()

    with Serving(stream) as serving, serving.client() as connection:
        connection.sendall(CLOSE)
        assert received(connection, b"data: 1\n\n\r\n").startswith(OK)
        serving._background.call(go_on.set)
        assert received(connection) == b"0\r\n\r\n"


def test_pipelined_requests_are_answered_in_their_order_one_at_a_time():
    under_way: list[str] = []

    async def answer(asked: Asked, answering: Answering) -> None:
        under_way.append(asked.path)
        assert len(under_way) == 1
        body = await asked.read()
        await asyncio.sleep(0)
        await answering.whole(200, "OK", [], asked.path.encode() + body + b";")
        under_way.clear()

    raw = b"".join(
        b"PUT /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab\r\n" % number for number in range(50)
    )
    with Serving(answer) as serving:
        said = serving.tell(raw + CLOSE)
    bodies = [part.partition(b"\r\n\r\n")[2].split(b"HTTP")[0] for part in said.split(b"HTTP/1.1 200 OK")[1:]]
    assert b"".join(bodies) == b"".join(b"/%dab;" % number for number in range(50)) + b"/;"


def test_what_nobody_reads_of_a_request_is_not_taken_for_the_next_one():
    raw = b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n" + b"GET " * 75_000
    with Serving(fine) as serving:
        said = serving.tell(raw + CLOSE)
    assert said == (OK + b"Content-Length: 4\r\n\r\nfine") * 2


def test_a_client_that_is_answered_early_and_closed_hears_the_answer():
    head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9000000\r\n\r\n"
    with Serving(fine) as serving, serving.client() as connection:
        connection.sendall(head)
        assert received(connection, b"fine") == OK + b"Content-Length: 4\r\n\r\nfine"
        connection.sendall(bytes(9_000_000))
        assert ends(connection) == (b"", "closed")


@pytest.mark.parametrize(("length", "said"), [(3, b"abc"), (9, b"abcd")])
def test_a_body_that_differs_from_its_length_ends_the_connection(length, said):
    async def answer(asked: Asked, answering: Answering) -> None:
        await answering.whole(200, "OK", [("Content-Length", str(length))], b"abcd")

    with Serving(answer) as serving, serving.client() as connection:
        connection.sendall(GET)
        body = received(connection, said).partition(b"\r\n\r\n")[2]
        assert body == said
        if length > len(said):
            assert ends(connection) == (b"", "closed")


@pytest.mark.parametrize(
    ("length", "framing", "passed"),
    [
        (0, [("Content-Length", "6")], b""),
        (4, [("Content-Length", "6")], b"abcd"),
        (6, [("Content-Length", "6")], b"abcdef"),
        (100, [("Content-Length", "6")], b"abcdef"),
        (0, [], b""),
        (4, [], b"2\r\nab\r\n2\r\ncd\r\n"),
        (100, [], b"2\r\nab\r\n3\r\ncde\r\n1\r\nf\r\n0\r\n\r\n"),
    ],
)
def test_a_cut_lets_so_many_bytes_of_the_body_pass_and_the_handler_does_not_notice(length, framing, passed):
    told = threading.Event()

    async def answer(asked: Asked, answering: Answering) -> None:
        await answering.informational(103, "Early Hints", [])
        await answering.head(200, "OK", framing)
        for piece in (b"ab", b"cde", b"f"):
            await answering.write(piece)
        await answering.end()
        told.set()

    with Serving(answer) as serving, serving.client() as connection:
        serving.faults.cut_answer(length)
        connection.sendall(GET)
        said, end = ends(connection)
    assert (said.partition(b"200 OK\r\n")[2].partition(b"\r\n\r\n")[2], end, told.is_set()) == (
        passed,
        "closed",
        True,
    )


@pytest.mark.parametrize(("how", "end"), [("cut", "closed"), ("reset", "reset")])
@pytest.mark.parametrize("begun", [False, True])
def test_a_handler_may_end_the_connection_and_go_on(how, end, begun):
    went_on = threading.Event()

    async def break_off(asked: Asked, answering: Answering) -> None:
        if begun:
            await answering.head(200, "OK", [("Content-Length", "4")])
            await answering.write(b"ab")
        getattr(answering, how)()
        await asyncio.sleep(0.01)
        await answering.write(b"cd")
        went_on.set()

    with Serving(break_off) as serving, serving.client() as connection:
        connection.sendall(GET)
        said, ended = ends(connection)
        assert went_on.wait(PATIENCE)
    assert ended == end
    assert said in ((OK + b"Content-Length: 4\r\n\r\nab",) if begun and how == "cut" else (b"", said))


# --- What goes wrong ----------------------------------------------------------------------------------------------


def test_a_tunnel_is_refused_in_words():
    raw = answered(fine, b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert raw.endswith(b"\r\n\r\nthis port opens no tunnels: its URL takes the place of the server's\n")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"GET / HTTP/1.1\r\nnonsense s3cret\r\n\r\n", b"illegal header line"),
        (b"GET / HTTP/1.1\r\n\r\n", b"Missing mandatory Host"),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", b"its version is not 1.0 or 1.1"),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 65_600 + b"\r\n\r\n",
            b"a line of its head is too long",
        ),
        (b"GET /" + b"x" * 65_600 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"a line of its head is too long"),
        (b"GET /" + b"x" * 300_000, b"Receive buffer too long"),
    ],
)
def test_what_is_no_request_is_a_400_that_does_not_repeat_it_and_the_end(raw, words):
    with Serving(fine) as serving, serving.client() as connection:
        connection.sendall(raw)
        said, end = ends(connection)
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n\r\nthis is no HTTP request: " + words in said
    assert (b"s3cret" in said, end) == (False, "closed")


def test_a_head_of_long_lines_passes():
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 60_000) for number in range(3))
    assert answered(fine, CLOSE[:-2] + lines + b"\r\n").endswith(b"fine")


@pytest.mark.parametrize("begun", [False, True])
def test_a_body_in_bad_chunks_is_a_400_where_nothing_was_answered_yet(begun):
    async def read(asked: Asked, answering: Answering) -> None:
        if begun:
            await answering.head(200, "OK", [])
        await asked.read()

    head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Serving(read) as serving, serving.client() as connection:
        connection.sendall(head + b"2\r\nab\r\nzz\r\n")
        said, end = ends(connection)
    assert end == "closed"
    if begun:
        assert said == OK + b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        assert said.endswith(b"\r\n\r\nthe body of this request cannot be read to its end\n")


@pytest.mark.parametrize("begun", [False, True])
def test_a_handler_that_fails_is_a_500_that_names_the_kind_or_the_end(begun):
    async def fail(asked: Asked, answering: Answering) -> None:
        if begun:
            await answering.head(200, "OK", [("Content-Length", "9")])
        raise KeyError("s3cret")

    said = answered(fail, GET if begun else CLOSE)
    assert said.endswith(b"Content-Length: 9\r\n\r\n" if begun else b"\r\n\r\nanswering failed: KeyError\n")


def test_a_handler_that_answers_nothing_is_a_500():
    async def nothing(asked: Asked, answering: Answering) -> None:
        """Forget to answer."""

    assert answered(nothing).endswith(b"\r\n\r\nanswering failed: nothing was answered\n")


def test_a_head_that_would_be_two_lines_is_not_written():
    async def split(asked: Asked, answering: Answering) -> None:
        await answering.whole(200, "OK", [("X-A", "1\r\nX-B: 2")], b"")

    assert answered(split).endswith(b"\r\n\r\nanswering failed: ValueError\n")


# --- A client that leaves -----------------------------------------------------------------------------------------


class Left:
    """A handler that waits in some way, and tells how that ended."""

    def __init__(self, how: str) -> None:
        self.came = threading.Event()
        self.ended: list[str] = []
        self.gone: list[bool] = []
        self._how = how

    async def __call__(self, asked: Asked, answering: Answering) -> None:
        self.came.set()
        try:
            if self._how == "reads":
                await asked.read()
            elif self._how == "writes":
                await answering.head(200, "OK", [])
                while True:
                    await answering.write(bytes(1 << 16))
            else:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.gone.append(asked.gone.done())


@pytest.mark.parametrize("how", ["reads", "writes", "waits"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_is_noticed_at_once(how, reset):
    handler = Left(how)
    with Serving(handler) as serving:
        with serving.client() as connection:
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
            connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
            assert handler.came.wait(PATIENCE)
        eventually(lambda: handler.ended == ["cancelled"])
    assert handler.gone == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of it")
@pytest.mark.parametrize("ahead", ["a body", "requests"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_is_noticed_while_nothing_is_read_from_it(ahead, reset):
    handler = Left("waits")
    body = b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99000000\r\n\r\n" + bytes(100_000)
    with Serving(handler) as serving:
        with serving.client() as connection:
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
            connection.sendall(body if ahead == "a body" else GET * 4_000)
            assert handler.came.wait(PATIENCE)
            connection.sendall(b"GET " * 5_000)
            eventually(lambda: not any(one._wire.is_reading() for one in serving._port._connections))
        eventually(lambda: handler.ended == ["cancelled"])
    assert handler.gone == [True]


def test_the_port_stops_while_a_handler_waits_and_a_client_lingers():
    handler = Left("waits")
    with Serving(handler) as serving, serving.client() as waiting, serving.client() as lingering:
        lingering.sendall(b"garbage\r\n\r\n")
        assert received(lingering, b"request line\n").startswith(b"HTTP/1.1 400 ")
        waiting.sendall(GET)
        assert handler.came.wait(PATIENCE)
    assert handler.ended == ["cancelled"]


# --- The change to WebSocket --------------------------------------------------------------------------------------


def test_what_comes_with_a_handshake_reaches_the_websocket():
    feed = Feed((), None)
    with Serving(fine, feed) as serving, serving.client() as connection:
        connection.sendall(GET + handshake() + masked(b"early") + masked(b"bird"))
        said = received(connection, b"bird")
    assert said.startswith(OK + b"Content-Length: 4\r\n\r\nfineHTTP/1.1 101 ")
    assert framed(said[-13:], "").messages == ["early", "bird"]
    assert feed.heard == ["early", "bird"]
    assert isinstance(feed.endpoint, Endpoint)
