"""HTTP through the proxy by clients that are not ours, who see and are seen as they would be without it."""

from __future__ import annotations

import asyncio
import http.client
import re
import shutil
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests

from .upstream import PATIENCE, Asked, Stage, Upstream, connected, ok, received, says, tell

BODY = b'{"side": "buy", "quantity": "1.10"}' * 100
OF_THE_CONNECTION = {"host", "connection", "keep-alive", "te", "expect"}

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def command(*words: str, stdin: bytes = b"") -> bytes:
    ran = subprocess.run(words, input=stdin, capture_output=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def curl(*words: str, stdin: bytes = b"") -> bytes:
    return command("curl", "-sS", "--noproxy", "*", *words, stdin=stdin)


def node(script: str, *words: str) -> bytes:
    return command("node", "-e", f"(async () => {{ {script} }})()", *words)


def pieces() -> Iterator[bytes]:
    for start in range(0, len(BODY), 1_000):
        yield BODY[start : start + 1_000]


async def async_pieces() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


def by_aiohttp(url: str, **options: object) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, **options) as answer:
            assert await answer.read() == b"ok"

    asyncio.run(ask())


def form() -> aiohttp.FormData:
    made = aiohttp.FormData()
    made.add_field("a", "1")
    made.add_field("file", BODY, filename="f.json", content_type="application/json")
    return made


def by_urllib(url: str, **options: object) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST", **options), timeout=PATIENCE) as answer:
        assert answer.read() == b"ok"


FILE = {"file": ("f.json", BODY, "application/json")}
UPLOADS: dict[str, Callable[[str], object]] = {
    "requests, bytes": lambda url: requests.post(url, data=BODY),
    "requests, a generator": lambda url: requests.post(url, data=pieces()),
    "requests, a form": lambda url: requests.post(url, data={"a": ["1", "2"], "é": "ü"}),
    "requests, a file": lambda url: requests.post(url, data={"a": "1"}, files=FILE),
    "requests, nothing": lambda url: requests.post(url),
    "httpx, json": lambda url: httpx.post(url, json={"price": "1.10"}),
    "httpx, a generator": lambda url: httpx.post(url, content=pieces()),
    "httpx, a file": lambda url: httpx.post(url, data={"a": "1"}, files=FILE),
    "aiohttp, bytes": lambda url: by_aiohttp(url, data=BODY),
    "aiohttp, a generator": lambda url: by_aiohttp(url, data=async_pieces()),
    "aiohttp, a file": lambda url: by_aiohttp(url, data=form()),
    "urllib, bytes": lambda url: by_urllib(url, data=BODY, headers={"x-mIxed": "1"}),
    "urllib, an iterator": lambda url: by_urllib(url, data=pieces()),
    "curl, bytes": lambda url: curl("--data-binary", "@-", "-H", "Expect:", url, stdin=BODY),
    "curl, chunked": lambda url: curl("-T", "-", "-H", "Expect:", url, stdin=BODY),
    "curl, a file": lambda url: curl("-F", "a=1", "-F", "file=@-;filename=f.json", "-H", "Expect:", url, stdin=BODY),
    "node, a text": lambda url: node(
        "await (await fetch(process.argv[1], {method: 'POST', body: 'é'.repeat(9999)})).text()", url
    ),
    "node, a form": lambda url: node(
        "const f = new FormData(); f.append('a', new Blob(['x'.repeat(9999)]), 'f'); "
        "await (await fetch(process.argv[1], {method: 'POST', body: f})).text()",
        url,
    ),
    "node, a stream": lambda url: node(
        "const body = new Blob(['x'.repeat(99999)]).stream(); "
        "await (await fetch(process.argv[1], {method: 'POST', body, duplex: 'half'})).text()",
        url,
    ),
}


def require(name: str) -> None:
    program = name.partition(",")[0]
    if program in ("curl", "node") and shutil.which(program) is None:
        pytest.skip(f"there is no {program}")


def comparable(asked: Asked) -> tuple[object, ...]:
    """A request without what belongs to its connection, and with the same boundary."""
    kept = [(name, value) for name, value in asked.headers if name.lower() not in OF_THE_CONNECTION]
    body = asked.body
    for value in asked.values("Content-Type"):
        if match := re.search('boundary="?([^";]+)', value):
            body = body.replace(match[1].encode(), b"-" * len(match[1]))
            kept = [(name, text.replace(match[1], "-" * len(match[1]))) for name, text in kept]
    return asked.method, asked.target, kept, body


@pytest.mark.parametrize("name", UPLOADS)
def test_what_a_client_sends_arrives_as_it_would_without_the_proxy(stage, name):
    require(name)
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        UPLOADS[name](f"{upstream.url}/v1/orders?a=%2F")
        UPLOADS[name](f"{proxy.rest_url}/v1/orders?a=%2F")
    direct, passed = upstream.asked
    assert comparable(passed) == comparable(direct)
    assert passed.values("Host") == direct.values("Host")


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"ok"),
        ok(b"ok", b"sEt-cookie: a=1", b"X-A: 1", b"Set-Cookie: b=\xff", b"x-a: 2", status=b"299 So So"),
        ok(b"ok", b"Content-Type: text/plain", b"Date: yesterday", b"Server: me", b"Trailer: x"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n\r\nHTTP/1.1 102 \r\n\r\n" + ok(b"ok"),
        b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n".replace(b"200\r", b"200 \r"),
    ],
)
def test_an_answer_passes_to_the_byte(stage, answer):
    with Upstream(says(answer)) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert tell(proxy, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == answer


@pytest.mark.parametrize("lines", [[], [b"Content-Length: 1234"], [b"Content-Type: a/b", b"ETag: 1"]])
def test_an_answer_to_head_passes_to_the_byte(stage, lines):
    answer = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])
    with Upstream(says(answer)) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert tell(proxy, b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == answer
        assert requests.head(proxy.rest_url).status_code == 200
        assert httpx.head(proxy.rest_url).status_code == 200
    assert [asked.method for asked in upstream.asked] == ["HEAD"] * 3


def test_an_answer_that_ends_with_its_connection_is_whole(stage):
    async def close(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nall of it")
        writer.close()

    with Upstream(close) as upstream, stage.proxy("pass", upstream.url) as proxy:
        for get in (requests.get, httpx.get):
            assert get(proxy.rest_url).content == b"all of it"


@needs_curl
def test_curl_sees_what_is_said_before_the_answer(stage):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with Upstream(says(early + ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert curl("-i", proxy.rest_url) == early + ok()


@needs_curl
def test_curl_that_waits_for_100_continue_hears_it(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        words = ("-i", "-T", "-", "-H", "Expect: 100-continue", "--expect100-timeout", str(PATIENCE * 2))
        assert curl(*words, proxy.rest_url, stdin=BODY) == b"HTTP/1.1 100 Continue\r\n\r\n" + ok()
    assert upstream.asked[0].body == BODY


# --- Streams, and clients that leave them -------------------------------------------------------------------------


class Ticker:
    """Sends events for ever, the next one when the last has been noticed, and tells when its client leaves."""

    def __init__(self) -> None:
        self.sent = 0
        self.left = threading.Event()
        self._noticed = threading.Semaphore(1)

    def noticed(self) -> None:
        self._noticed.release()

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        gone = asyncio.ensure_future(asked.reader.read())
        while not gone.done():
            if not self._noticed.acquire(blocking=False):
                await asyncio.wait([gone], timeout=0.001)
                continue
            self.sent += 1
            event = b"data: %d\n\n" % self.sent
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        self.left.set()


def three(lines: Iterator[str | bytes], ticker: Ticker) -> list[str]:
    """Read three events, each of which is sent only when the one before it has been read."""
    seen = []
    for line in lines:
        text = line.decode() if isinstance(line, bytes) else line
        if text.strip():
            seen.append(text.strip())
            if len(seen) == 3:
                break
            ticker.noticed()
    return seen


def stream_requests(url: str, ticker: Ticker) -> list[str]:
    with requests.get(url, stream=True, timeout=PATIENCE) as answer:
        return three(answer.iter_lines(chunk_size=1), ticker)


def stream_httpx(url: str, ticker: Ticker) -> list[str]:
    with httpx.stream("GET", url, timeout=PATIENCE) as answer:
        return three(answer.iter_lines(), ticker)


def stream_urllib(url: str, ticker: Ticker) -> list[str]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return three(answer, ticker)


def stream_aiohttp(url: str, ticker: Ticker) -> list[str]:
    async def ask() -> list[str]:
        seen: list[str] = []
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            while len(seen) < 3:
                if text := (await answer.content.readline()).decode().strip():
                    seen.append(text)
                    if len(seen) < 3:
                        ticker.noticed()
        return seen

    return asyncio.run(ask())


def stream_command(*words: str, ticker: Ticker) -> list[str]:
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = three(process.stdout, ticker)
        process.kill()
    return seen


READS = (
    "(async () => { for await (const piece of (await fetch(process.argv[1])).body) process.stdout.write(piece); })()"
)
STREAMS: dict[str, Callable[[str, Ticker], list[str]]] = {
    "requests": stream_requests,
    "httpx": stream_httpx,
    "urllib": stream_urllib,
    "aiohttp": stream_aiohttp,
    "curl": lambda url, ticker: stream_command("curl", "-sSN", "--noproxy", "*", url, ticker=ticker),
    "node": lambda url, ticker: stream_command("node", "-e", READS, url, ticker=ticker),
}


@pytest.mark.parametrize("name", STREAMS)
def test_events_arrive_at_once_and_the_server_sees_a_client_that_leaves_after_three(stage, name):
    require(name)
    ticker = Ticker()
    with Upstream(ticker) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert STREAMS[name](proxy.rest_url, ticker) == ["data: 1", "data: 2", "data: 3"]
        assert ticker.left.wait(PATIENCE)
    assert ticker.sent == 3


# --- Servers that fail --------------------------------------------------------------------------------------------


def gets_aiohttp(url: str) -> object:
    async def ask() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()

    return asyncio.run(ask())


def gets_http_client(url: str) -> object:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read()


GETS: dict[str, Callable[[str], object]] = {
    "requests": lambda url: requests.get(url, timeout=PATIENCE).content,
    "httpx": lambda url: httpx.get(url, timeout=PATIENCE).content,
    "aiohttp": gets_aiohttp,
    "http.client": gets_http_client,
    "urllib": lambda url: urllib.request.urlopen(url, timeout=PATIENCE).read(),
}


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def failing(how: str) -> Callable[[Asked, asyncio.StreamWriter], object]:
    async def fail(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if how == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        elif how == "cut in a chunk":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        elif how == "no last chunk":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        if how == "reset":
            reset(writer)
        else:
            writer.close()

    return fail


def kinds(exc: BaseException | None) -> list[str]:
    """The classes of an exception and of all that are behind it."""
    found: list[str] = []
    while exc is not None:
        found.append(type(exc).__name__)
        reasons = [reason for reason in exc.args if isinstance(reason, BaseException)]
        exc = exc.__cause__ or exc.__context__ or next(iter(reasons), None)
    return found


@pytest.mark.parametrize("how", ["cut", "cut in a chunk", "no last chunk", "reset", "closed"])
@pytest.mark.parametrize("name", GETS)
def test_a_client_notices_a_server_that_fails_as_it_would_without_the_proxy(stage, name, how):
    seen = []
    with Upstream(failing(how)) as upstream, stage.proxy("pass", upstream.url) as proxy:
        for url in (upstream.url, proxy.rest_url):
            with pytest.raises(Exception) as caught:
                GETS[name](url)
            seen.append(kinds(caught.value))
    if how == "cut in a chunk":  # what came of it is passed on as a chunk of its own
        seen = [found[:1] for found in seen]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", GETS)
def test_a_client_whose_server_is_not_there_sees_a_reset(stage, name):
    with Upstream(says()) as upstream:
        url = upstream.url
    with stage.proxy("pass", url) as proxy:
        with pytest.raises(Exception) as caught:
            GETS[name](proxy.rest_url)
        assert proxy.notes
        assert all(note.endswith("cannot be reached: Connection refused") for note in proxy.notes)
    assert kinds(caught.value)[0] == "ReadError" if name == "httpx" else "ConnectionResetError" in kinds(caught.value)


def test_a_server_that_does_not_read_holds_its_client_up(stage):
    """Nothing is collected on the way of a long body."""
    go_on = threading.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, PATIENCE)
        size = 0
        while size < 100 << 20:
            size += len(await reader.read(1 << 20))
        writer.write(ok(b"%d" % size))

    with Upstream(says(), serve=wait) as upstream, stage.proxy("pass", upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (100 << 20))
            connection.settimeout(0.2)
            sent = 0
            try:
                while sent < 100 << 20:
                    sent += connection.send(bytes(min(1 << 20, (100 << 20) - sent)))
            except TimeoutError:
                pass
            assert sent < 50 << 20
            connection.settimeout(PATIENCE)
            go_on.set()
            while sent < 100 << 20:
                sent += connection.send(bytes(min(1 << 20, (100 << 20) - sent)))
            assert received(connection, b"\r\n\r\n104857600").startswith(b"HTTP/1.1 200 OK")
