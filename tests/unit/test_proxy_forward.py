"""HTTP through the proxy, as foreign clients and real servers see it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import random
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import aiohttp
import pytest
import requests

from pytest_connex.background import BackgroundLoop
from pytest_connex.cassette.exchange import Ending
from pytest_connex.cassette.http_file import read_interactions
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.config import RECORDED_KEY
from pytest_connex.errors import CassetteMismatch, CassetteMissing
from pytest_connex.faults import Faults
from pytest_connex.proxy.forward import Forward
from pytest_connex.proxy.http import Answering, refusal
from pytest_connex.proxy.http import Asked as HttpAsked
from pytest_connex.proxy.messages import Headers
from pytest_connex.proxy.port import Port
from pytest_connex.proxy.proxy import Proxy

from .loopback import eventually
from .upstream import (
    KEY,
    PATIENCE,
    SECRET,
    Asked,
    Stage,
    Upstream,
    ask,
    connected,
    ending,
    ends,
    ok,
    port_of,
    received,
    says,
    tell,
)

ACTIONS = ("pass", "record")
BOTH = pytest.mark.parametrize("action", ACTIONS)


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def client(proxy: Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port_of(proxy), timeout=PATIENCE)


def body_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[2]


# --- What the server gets ----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "POST", "PUT", "REPORT"])
@pytest.mark.parametrize("body", [b"", b'{"a": \xff\x00}'])
def test_a_method_and_a_body_are_passed_on(stage, action, method, body):
    with Upstream(says(ok(b"" if method == "HEAD" else b"done"))) as upstream:
        with stage.proxy(action, upstream.url) as proxy:
            raw = ask(proxy, "/v1/x", method, body=body)
    [asked] = upstream.asked
    assert (asked.method, asked.target, asked.body) == (method, "/v1/x", body)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body_of(raw) == (b"" if method == "HEAD" else b"done")


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb/%C3%A9/%7e",
        "/a?x=1+2&x=%2B&x&y=&&z=%41",
        "/a?",
        "/?",
        "/a?b?c=%",
        "/a#@b:1/c",
        "/a/../b/./c//d",
        "//a",
        "/a;p=1?u=http://x/y@z:1",
        "/a?x='\"<>[]{}|\\^`",
    ],
)
def test_a_target_is_passed_on_to_the_byte(stage, target):
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert body_of(ask(proxy, target)) == b"ok"
    assert [asked.target for asked in upstream.asked] == [target]


def test_a_long_target_and_a_long_header_are_passed_on(stage):
    target = "/a?x=" + "x" * 30_000
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        ask(proxy, target, "GET", "X-Long: " + "y" * 30_000)
    assert [(asked.target, asked.values("X-Long")) for asked in upstream.asked] == [(target, ["y" * 30_000])]


def test_the_target_of_all_is_passed_on(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        ask(proxy, "*", "OPTIONS")
    assert upstream.asked[0].target == "*"
    assert stage.interactions[0]["request"]["uri"] == "https://rest.connex.invalid/*"


def test_a_target_as_to_a_proxy_goes_to_the_server(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        ask(proxy, "http://elsewhere.example/a?b=c")
    assert [(asked.target, asked.values("Host")) for asked in upstream.asked] == [
        ("/a?b=c", [f"localhost:{upstream.port}"])
    ]


def test_a_tunnel_is_refused(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        raw = ask(proxy, "elsewhere.example:443", "CONNECT")
    assert raw.startswith(b"HTTP/1.1 405 ")
    assert upstream.asked == []


@BOTH
def test_a_base_path_stands_in_both_urls(stage, action):
    with Upstream(says(ok(b"ok", b"Location: /base/next"))) as upstream:
        with stage.proxy(action, f"{upstream.url}/base") as proxy:
            assert proxy.rest_url.endswith(f":{port_of(proxy)}/base")
            assert requests.get(f"{proxy.rest_url}/v1/status").text == "ok"
    assert upstream.asked[0].target == "/base/v1/status"
    if action == "record":
        assert stage.interactions[0]["request"]["uri"] == "https://rest.connex.invalid/v1/status"
        with stage.proxy("replay") as proxy:
            assert requests.get(f"{proxy.rest_url}/v1/status").text == "ok"


def test_headers_arrive_but_for_those_of_the_connection(stage):
    lines = [
        f"X-CONNEX-API-KEY: {KEY}",
        f"X-CONNEX-API-SECRET: {SECRET}",
        "Authorization: Bearer xyz",
        "X-Twice: 1",
        "X-Twice: 2",
        "Cookie: a=b",
        "Accept-Encoding: br",
        "Connection: X-Mine, Keep-Alive",
        "X-Mine: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Upgrade: h2c",
        "Proxy-Authorization: Basic eA==",
    ]
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert body_of(ask(proxy, "/", "GET", *lines)) == b"ok"
    assert upstream.asked[0].headers == [
        ("Host", f"localhost:{upstream.port}"),
        ("X-CONNEX-API-KEY", KEY),
        ("X-CONNEX-API-SECRET", SECRET),
        ("Authorization", "Bearer xyz"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("Cookie", "a=b"),
        ("Accept-Encoding", "br"),
    ]


def test_a_cookie_of_one_client_is_not_sent_for_another(stage):
    with Upstream(says(ok(b"ok", b"Set-Cookie: sid=1; Path=/"))) as upstream:
        with stage.proxy("pass", upstream.url) as proxy:
            for _ in range(2):
                ask(proxy)
    assert [asked.values("Cookie") for asked in upstream.asked] == [[], []]


@pytest.mark.parametrize(
    ("offered", "asked_for"),
    [("gzip, deflate, br, zstd", ["gzip, deflate"]), ("br;q=1, gzip;q=0.5", ["gzip;q=0.5"]), ("br", ["identity"])],
)
def test_a_recording_asks_for_what_can_be_searched(stage, offered, asked_for):
    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        ask(proxy, "/", "GET", f"Accept-Encoding: {offered}")
    assert upstream.asked[0].values("Accept-Encoding") == asked_for


@BOTH
def test_a_chunked_body_arrives_whole(stage, action):
    chunks = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    head = b"POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Upstream(says(ok())) as upstream, stage.proxy(action, upstream.url) as proxy:
        assert body_of(tell(proxy, head + chunks)) == b"ok"
    assert upstream.asked[0].body == b"abcdefg"


@BOTH
def test_a_compressed_body_is_passed_on_as_it_is(stage, action):
    packed = gzip.compress(b'{"nonce": 1, "side": "buy"}')
    with Upstream(says(ok())) as upstream, stage.proxy(action, upstream.url) as proxy:
        requests.post(f"{proxy.rest_url}/a", data=packed, headers={"Content-Encoding": "gzip"})
    [asked] = upstream.asked
    assert (asked.body, asked.values("Content-Encoding")) == (packed, ["gzip"])
    if action == "record":
        assert stage.interactions[0]["request"]["body"] == '{"nonce": 1, "side": "buy"}'


@BOTH
def test_a_client_that_waits_for_100_continue_hears_it(stage, action):
    head = (
        b"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    )
    with Upstream(says(ok())) as upstream, stage.proxy(action, upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(head)
            assert received(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"body")
            assert body_of(received(connection)) == b"ok"
    assert (upstream.asked[0].body, upstream.asked[0].values("Expect")) == (b"body", [])


# --- What the client gets ----------------------------------------------------------------------------------


@BOTH
def test_headers_of_an_answer_arrive_repeated_ones_too(stage, action):
    lines = [b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2", b"X-A: 1", b"X-A: 2", b"Keep-Alive: timeout=9"]
    with Upstream(says(ok(b"ok", *lines, status=b"201 Quite Fine"))) as upstream:
        with stage.proxy(action, upstream.url) as proxy:
            connection = client(proxy)
            connection.request("GET", "/")
            response = connection.getresponse()
            assert (response.status, response.reason, response.read()) == (201, "Quite Fine", b"ok")
            connection.close()
    assert response.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert response.headers.get_all("X-A") == ["1", "2"]
    assert response.headers["Keep-Alive"] is None
    if action == "record":
        recorded = stage.interactions[0]["response"]["headers"]
        assert recorded["Set-Cookie"] == ["a=connex-recorded-a; Path=/", "b=connex-recorded-b"]
        assert recorded["X-A"] == ["1", "2"]


@BOTH
@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"[1", mtime=0) + gzip.compress(b".10]", mtime=0)),
        ("deflate", zlib.compress(b"[1.10]")),
        ("deflate", zlib.compress(b"[1.10]", wbits=-zlib.MAX_WBITS)),
        ("identity", b"[1.10]"),
    ],
)
def test_a_compressed_answer_is_passed_on_as_it_is_and_recorded_readable(stage, action, coding, packed):
    with Upstream(says(ok(packed, b"Content-Encoding: " + coding.encode()))) as upstream:
        with stage.proxy(action, upstream.url) as proxy:
            raw = ask(proxy, "/", "GET", f"Accept-Encoding: {coding}")
    assert body_of(raw) == packed
    assert b"Content-Encoding: " + coding.encode() in raw
    if action == "record" and coding != "identity":
        assert stage.interactions[0]["response"]["body"]["string"] == "[1.10]"
        with stage.proxy("replay") as proxy:
            assert requests.get(proxy.rest_url).text == "[1.10]"


def test_an_answer_that_is_not_compressed_as_it_says_is_the_verdict(stage):
    with Upstream(says(ok(b"garbage", b"Content-Encoding: gzip"))) as upstream:
        with stage.proxy("record", upstream.url) as proxy:
            assert body_of(ask(proxy)) == b"garbage"
    assert "the body of an answer is not gzip: " in str(stage.session.verdict)


@BOTH
def test_a_chunked_answer_arrives_whole(stage, action):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Upstream(says(head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")) as upstream:
        with stage.proxy(action, upstream.url) as proxy:
            assert requests.get(proxy.rest_url).content == b"abcde"
    if action == "record":
        assert stage.interactions[0]["response"]["body"]["string"] == "abcde"


@BOTH
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_is_one(stage, action, status):
    with Upstream(says(b"HTTP/1.1 " + status + b'\r\nETag: "x"\r\n\r\n')) as upstream:
        with stage.proxy(action, upstream.url) as proxy:
            raw = ask(proxy)
    assert raw.startswith(b"HTTP/1.1 " + status)
    assert b'"x"' in raw
    assert b"Transfer-Encoding" not in raw
    assert body_of(raw) == b""


def test_the_answer_to_head_keeps_the_length_of_the_body_it_does_not_have(stage):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Encoding: br\r\n\r\n"
    with Upstream(says(answer)) as upstream, stage.proxy("record", upstream.url) as proxy:
        assert requests.head(proxy.rest_url).headers["Content-Length"] == "1234"
    with stage.proxy("replay") as proxy:
        assert requests.head(proxy.rest_url).headers["Content-Length"] == "1234"
    assert stage.session.verdict is None


@pytest.mark.parametrize("written", [b"caf\xe9", "café".encode(), b"\xff\x80"])
def test_a_head_passes_to_the_byte_and_is_recorded_as_latin_1(stage, written):
    with Upstream(says(ok(b"ok", b"X-Name: " + written, status=b"200 " + written))) as upstream:
        with stage.proxy("record", upstream.url) as proxy:
            raw = tell(
                proxy, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Mine: " + written + b"\r\n\r\n"
            )
    assert raw.startswith(b"HTTP/1.1 200 " + written + b"\r\n")
    assert b"X-Name: " + written + b"\r\n" in raw
    assert upstream.asked[0].values("X-Mine") == [written.decode("latin-1")]
    assert stage.interactions[0]["response"]["headers"]["X-Name"] == [written.decode("latin-1")]
    with stage.proxy("replay") as proxy:
        assert b"X-Name: " + written + b"\r\n" in ask(proxy)


def test_a_long_header_of_an_answer_arrives(stage):
    with Upstream(says(ok(b"ok", b"X-Long: " + b"x" * 30_000))) as upstream:
        with stage.proxy("pass", upstream.url) as proxy:
            assert len(requests.get(proxy.rest_url).headers["X-Long"]) == 30_000


LOCATIONS = [
    ("{up}/v1/next?a=%2F#top", "{here}/v1/next?a=%2F#top"),
    ("{up}", "{here}/"),
    ("{up}?a", "{here}/?a"),
    ("//localhost:{port}/v1", "{here}/v1"),
    ("HTTP://LOCALHOST:{port}/v1", "{here}/v1"),
    ("/v1/next", "/v1/next"),
    ("next?u={up}/", "next?u={up}/"),
    ("https://elsewhere.example/v1", "https://elsewhere.example/v1"),
    ("http://localhost:1/v1", "http://localhost:1/v1"),
    ("http://[bad/", "http://[bad/"),
    ("http://x:port/", "http://x:port/"),
]


@BOTH
@pytest.mark.parametrize(("location", "expected"), LOCATIONS)
def test_a_redirection_to_the_server_leads_to_the_proxy(stage, action, location, expected):
    def filled(text: str) -> str:
        return text.format(up=upstream.url, port=upstream.port, here="http://localhost")

    async def redirect(asked: Asked, writer: asyncio.StreamWriter) -> None:
        lines = f"Location: {filled(location)}".encode(), f"X-Link: {upstream.url}/v1".encode()
        writer.write(ok(b"", *lines, status=b"302 Found"))

    with Upstream(redirect) as upstream, stage.proxy(action, upstream.url) as proxy:
        assert f"\r\nLocation: {filled(expected)}\r\nX-Link: {upstream.url}/v1\r\n".encode() in ask(proxy)
    assert stage.session.verdict is None


def test_a_redirection_of_a_client_that_names_no_host_leads_to_the_port(stage):
    async def redirect(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"", f"Location: {upstream.url}/x".encode()))

    with Upstream(redirect) as upstream, stage.proxy("pass", upstream.url) as proxy:
        raw = tell(proxy, b"GET / HTTP/1.0\r\n\r\n")
        assert f"\r\nLocation: {proxy.rest_url}/x\r\n".encode() in raw


@pytest.mark.parametrize(("host", "recorded"), [("{url}", "https://rest.connex.invalid"), ("", "")])
def test_a_recorded_redirection_leads_to_the_proxy_that_plays_it(stage, host, recorded):
    async def redirect(asked: Asked, writer: asyncio.StreamWriter) -> None:
        to = f"Location: {host.format(url=upstream.url)}/base/end?x=1".encode()
        writer.write(ok(b"", to, status=b"307 Later") if asked.target == "/base/begin" else ok(b"there"))

    with Upstream(redirect) as upstream, stage.proxy("record", f"{upstream.url}/base") as proxy:
        assert requests.get(f"{proxy.rest_url}/begin").text == "there"
    assert stage.interactions[0]["response"]["headers"]["Location"] == [f"{recorded}/end?x=1"]
    with stage.proxy("replay") as proxy:
        response = requests.get(f"{proxy.rest_url}/begin")
        assert (response.text, response.url) == ("there", f"{proxy.rest_url}/end?x=1")
        assert stage.session.unplayed() is None


# --- Long bodies, and connections that stay ----------------------------------------------------------------


@BOTH
def test_the_beginning_of_an_answer_arrives_before_its_end(stage, action):
    heard = threading.Event()

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await asyncio.get_running_loop().run_in_executor(None, heard.wait, PATIENCE)
        writer.write(b"half")

    with Upstream(slowly) as upstream, stage.proxy(action, upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert body_of(received(connection, b"half")) == b"half"
            heard.set()
            assert received(connection) == b"half"
    if action == "record":
        assert stage.interactions[0]["response"]["body"]["string"] == "halfhalf"


def test_the_beginning_of_a_body_arrives_before_its_end(stage):
    began = threading.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"half")
        began.set()
        await reader.readexactly(4)
        writer.write(ok())

    with Upstream(says(), serve=answer) as upstream, stage.proxy("pass", upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 8\r\n\r\nhalf"
            )
            assert began.wait(PATIENCE)
            connection.sendall(b"half")
            assert body_of(received(connection)) == b"ok"


@pytest.mark.parametrize(("action", "megabytes"), [("pass", 50), ("record", 1)])
def test_a_body_of_megabytes_passes_in_both_directions(stage, action, megabytes):
    block = random.Random(1).randbytes(1 << 20)
    digest = hashlib.sha256(block * megabytes).hexdigest()

    async def send_back(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(asked.body))
        writer.write(asked.body)

    with Upstream(send_back) as upstream, stage.proxy(action, upstream.url) as proxy:
        with connected(proxy) as connection:
            head = (
                f"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {megabytes << 20}\r\n\r\n"
            )
            connection.sendall(head.encode() + block * megabytes)
            answer = body_of(received(connection))
    if action == "record":
        [recorded] = read_interactions(stage.stem.with_suffix(".yaml"))
        assert (recorded.ended, recorded.body == answer) == ("whole", True)
    assert hashlib.sha256(upstream.asked[0].body).hexdigest() == digest
    assert hashlib.sha256(answer).hexdigest() == digest


def test_requests_share_the_connections_of_both_sides(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy:
        connection = client(proxy)
        for _ in range(3):
            connection.request("POST", "/", body=b"x")
            assert connection.getresponse().read() == b"ok"
            assert connection.sock is not None
        connection.close()
    assert (len(upstream.asked), upstream.connections, proxy.requests) == (3, 1, 3)


@BOTH
@pytest.mark.parametrize(
    "answer", [ok(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
)
def test_a_client_of_http_1_0_is_served(stage, action, answer):
    with Upstream(says(answer)) as upstream, stage.proxy(action, upstream.url) as proxy:
        raw = tell(proxy, b"GET /a HTTP/1.0\r\n\r\n")
    assert raw.startswith(b"HTTP/1.0 200 OK\r\n")
    assert body_of(raw) == b"ok"


@BOTH
def test_many_clients_at_once_each_get_their_own_answer(stage, action):
    async def echo(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(asked.target.encode() + asked.body))

    async def visit() -> list[str]:
        async def one(number: int) -> str:
            async with session.post(f"{proxy.rest_url}/{number}", data=f"-{number}") as response:
                return await response.text()

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*map(one, range(100)))

    with Upstream(echo) as upstream, stage.proxy(action, upstream.url) as proxy:
        assert asyncio.run(visit()) == [f"/{number}-{number}" for number in range(100)]
    if action == "record":
        assert len(stage.interactions) == 100
        with stage.proxy("replay") as proxy:
            assert asyncio.run(visit()) == [f"/{number}-{number}" for number in range(100)]
            assert stage.session.unplayed() is None


# --- Servers that fail -------------------------------------------------------------------------------------


def closed_port() -> str:
    with Upstream(says()) as upstream:
        return upstream.url


def request_of(target: str = "/", method: str = "GET", body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode() + body


@BOTH
def test_where_the_server_is_not_there_the_connection_is_reset_and_a_note_says_why(stage, action):
    url = closed_port()
    with stage.proxy(action, url) as proxy:
        assert ending(proxy, request_of(f"/v1/x?token=abc&key={KEY}")) == (b"", "reset")
        assert proxy.notes == ["the upstream of the connex proxy cannot be reached: Connection refused"]
    if action == "record":
        with stage.proxy("replay") as proxy:
            assert ending(proxy, request_of(f"/v1/x?token=abc&key={RECORDED_KEY}")) == (b"", "reset")


def test_a_note_does_not_name_a_server_whose_name_is_unknown(stage):
    with stage.proxy("pass", "https://connex.invalid") as proxy:
        assert ending(proxy, request_of()) == (b"", "reset")
        [note] = proxy.notes
    assert note.startswith("the upstream of the connex proxy cannot be reached: ")
    assert "connex.invalid" not in note


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"garbage " + SECRET.encode() + b"\r\n\r\n", "answered with what is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + SECRET.encode() + b"\r\n\r\n", "answered with what is not HTTP"),
        (b"HTTP/1.1 200 O", "answered with what is not HTTP"),
        (b"", "gave no answer"),
    ],
)
def test_where_the_server_gives_no_answer_the_connection_ends_and_a_note_says_why(stage, answer, said):
    async def fail(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    with Upstream(fail) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert ending(proxy, request_of(f"/v1/x?secret={SECRET}")) == (b"", "closed")
        assert proxy.notes == [f"the upstream of the connex proxy {said}"]


async def reset(asked: Asked, writer: asyncio.StreamWriter) -> None:
    reset_by(writer)


def reset_by(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def test_where_the_server_resets_the_connection_so_does_the_proxy(stage):
    with Upstream(reset) as upstream, stage.proxy("pass", upstream.url) as proxy:
        assert ending(proxy, request_of()) == (b"", "reset")
        assert proxy.notes == ["the upstream of the connex proxy gave no answer: ConnectionResetError"]


@pytest.mark.parametrize("fail", ["hang up", "reset"])
@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("DELETE", b""), ("PUT", b"x"), ("POST", b"x")])
def test_a_request_that_is_not_answered_is_not_repeated(stage, method, body, fail):
    async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/first":
            writer.write(ok())
        elif fail == "reset":
            await reset(asked, writer)
        else:
            writer.close()

    with Upstream(hang_up) as upstream, stage.proxy("pass", upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(request_of("/first"))
            assert received(connection, b"ok").startswith(b"HTTP/1.1 200 ")
            connection.sendall(request_of("/", method, body))
            assert ends(connection) == (b"", "closed" if fail == "hang up" else "reset")
    assert [asked.target for asked in upstream.asked] == ["/first", "/"]
    assert upstream.connections == 1


def test_without_a_server_there_is_a_502(stage):
    with stage.proxy("pass", ws="ws://127.0.0.1:1") as proxy:
        assert body_of(ask(proxy)) == b"no upstream for REST is configured\n"


BROKEN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
]


@BOTH
@pytest.mark.parametrize("broken", BROKEN)
def test_an_answer_that_breaks_off_does_so_for_the_client_and_again_when_it_is_played(stage, action, broken):
    async def break_off(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(broken)
        await writer.drain()
        writer.close()

    def ask_twice(proxy: Proxy) -> None:
        connection = client(proxy)
        connection.request("GET", "/")
        with pytest.raises(http.client.IncompleteRead) as caught:
            connection.getresponse().read()
        connection.close()
        assert caught.value.partial == b"abc"
        assert ask(proxy).startswith(b"HTTP/1.1 200 ")

    with Upstream(break_off) as upstream, stage.proxy(action, upstream.url) as proxy:
        ask_twice(proxy)
    if action == "record":
        with stage.proxy("replay") as proxy:
            ask_twice(proxy)
    assert stage.session.verdict is None


class Silence:
    """A server that says nothing, or only the beginning of an answer, and tells who came and went."""

    def __init__(self, beginning: bytes = b"") -> None:
        self.came = threading.Event()
        self.went = threading.Event()
        self._beginning = beginning

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/quick":
            writer.write(ok())
            return
        writer.write(self._beginning)
        self.came.set()
        try:
            await asked.reader.read()  # to the end, whichever that is
        finally:
            self.went.set()
            writer.close()


@BOTH
@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"])
def test_a_client_that_gives_up_hinders_nobody_and_is_no_fault_of_the_server(stage, action, beginning):
    silence = Silence(beginning)
    with Upstream(silence) as upstream, stage.proxy(action, upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert silence.came.wait(PATIENCE)
        assert silence.went.wait(PATIENCE)
        assert body_of(ask(proxy, "/quick")) == b"ok"
    assert stage.session.verdict is None
    if action == "record":
        recorded = read_interactions(stage.stem.with_suffix(".yaml"))
        assert [(one.request.url, one.ended) for one in recorded] == [
            ("https://rest.connex.invalid/", "left"),
            ("https://rest.connex.invalid/quick", "whole"),
        ]


@pytest.mark.parametrize(
    "upload",
    [b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
    ids=["length", "chunks"],
)
def test_an_upload_that_its_client_breaks_off_is_not_recorded_and_not_played(stage, upload):
    def use(proxy: Proxy) -> None:
        with connected(proxy) as connection:
            connection.sendall(b"POST /long HTTP/1.1\r\nHost: localhost\r\n" + upload)
            while proxy.requests == 0:
                pass  # it is passed on as soon as its head is there
        assert body_of(ask(proxy, "/quick")) == b"ok"

    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        use(proxy)
    assert [one.request.url for one in read_interactions(stage.stem.with_suffix(".yaml"))] == [
        "https://rest.connex.invalid/quick"
    ]
    with stage.proxy("replay") as proxy:
        use(proxy)
    assert stage.session.verdict is None
    assert stage.session.unplayed() is None


@BOTH
def test_a_proxy_stops_while_a_server_is_silent(stage, action):
    silence = Silence()
    with Upstream(silence) as upstream:
        with stage.proxy(action, upstream.url) as proxy, connected(proxy) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert silence.came.wait(PATIENCE)
            proxy.stop()
            assert received(connection) == b""
            assert silence.went.wait(PATIENCE)


def test_a_loop_that_ends_leaves_the_clients_of_other_loops_connected(stage):
    async def begin_and_end(proxy: Proxy) -> None:
        on_this_loop = proxy.stand_ins()[port_of(proxy)]()
        await on_this_loop.start()
        await on_this_loop.stop()

    with Upstream(says(ok())) as upstream, stage.proxy("pass", upstream.url) as proxy, connected(proxy) as connection:
        for _ in range(2):
            connection.sendall(request_of())
            received(connection, b"ok")
            asyncio.run(begin_and_end(proxy))
    assert (len(upstream.asked), upstream.connections) == (2, 1)


def test_a_client_that_leaves_in_the_middle_of_a_long_answer_is_no_fault_of_the_server(stage):
    began, left = threading.Event(), threading.Event()

    async def pour(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/quick":
            writer.write(ok())
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n")
        try:
            for _ in range(99):
                writer.write(b"x" * 1_000_000)
                await writer.drain()
                began.set()
        finally:
            left.set()

    with Upstream(pour) as upstream, stage.proxy("record", upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert began.wait(PATIENCE)
        assert left.wait(PATIENCE)
        assert body_of(ask(proxy, "/quick")) == b"ok"
    assert stage.session.verdict is None


def test_a_server_that_answers_early_is_recorded_with_the_whole_request(stage):
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"too much", status=b"413 Too Large"))
        while await reader.read(1 << 16):
            pass

    body = b"x" * 1_000_000
    with Upstream(says(), serve=early) as upstream, stage.proxy("record", upstream.url) as proxy:
        assert requests.post(proxy.rest_url, data=body).status_code == 413
    assert stage.interactions[0]["request"]["body"] == body.decode()


# --- Recordings --------------------------------------------------------------------------------------------


def test_secrets_stay_out_of_recordings_and_logs(stage, caplog):
    caplog.set_level(0)
    echo = f'{{"you": "{KEY}", "signature": "9f8e7d", "listenKey": "pqia91ma"}}'.encode()
    answer = ok(echo, f"X-Echo: {SECRET}".encode(), b"Set-Cookie: sid=abcdef012345")
    with Upstream(says(answer)) as upstream, stage.proxy("record", upstream.url) as proxy:
        lines = f"X-CONNEX-API-KEY: {KEY}", f"X-CONNEX-API-SECRET: {SECRET}", "Authorization: Bearer zyxwvut"
        raw = ask(proxy, f"/a?key={KEY}&token=tok3n5", "POST", *lines, body=f'{{"s": "{SECRET}"}}'.encode())
        assert body_of(raw) == echo
    with stage.proxy("replay") as proxy:
        assert b"connex-recorded-secret" in ask(proxy, f"/a?key={KEY}&token=tok3n5", body=SECRET.encode())
    written = stage.stem.with_suffix(".yaml").read_text()
    for secret in (KEY, SECRET, "9f8e7d", "pqia91ma", "abcdef012345", "zyxwvut", "tok3n5"):
        assert secret not in written
        assert secret not in caplog.text
    assert '"you": "connex-recorded-key"' in stage.interactions[0]["response"]["body"]["string"]


def test_what_is_not_recorded_is_a_501_that_says_what_is_and_how_to_record(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        requests.get(f"{proxy.rest_url}/a")
        requests.post(f"{proxy.rest_url}/b", json={"n": 1})
    with stage.proxy("replay") as proxy:
        requests.get(f"{proxy.rest_url}/a")
        response = requests.post(f"{proxy.rest_url}/b?token=abcdef", json={"n": 2})
        assert (response.status_code, type(stage.session.verdict)) == (501, CassetteMismatch)
        later = requests.get(f"{proxy.rest_url}/b")
    assert response.text == (
        f"{stage.stem}.yaml: POST https://rest.connex.invalid/b?token=connex-recorded-token is not recorded, "
        "or was played already\nrecorded are:\n  GET https://rest.connex.invalid/a (played)\n"
        "  POST https://rest.connex.invalid/b\nthe closest differs in:\n"
        "  query: token: expected nothing, actual 'connex-recorded-token'\n"
        "  body: n: expected 1, actual 2\nrun it --again\n"
    )
    assert (later.status_code, later.text) == (501, response.text)


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("POST", "/a?n=1&m=2&timestamp=9", b'{"n":1,"nonce":8}', 200),
        ("POST", "/a?m=2&timestamp=1&n=1", b'{ "nonce": 1, "n": 1 }', 200),
        ("PUT", "/a?n=1&m=2&timestamp=1", b'{"n": 1, "nonce": 1}', 501),
        ("POST", "/b?n=1&m=2&timestamp=1", b'{"n": 1, "nonce": 1}', 501),
        ("POST", "/a?n=2&m=2&timestamp=1", b'{"n": 1, "nonce": 1}', 501),
        ("POST", "/a?n=1&n=1&m=2&timestamp=1", b'{"n": 1, "nonce": 1}', 501),
        ("POST", "/a?n=1&m=2", b'{"n": 1, "nonce": 1}', 501),
        ("POST", "/a?n=1&m=2&timestamp=1", b'{"n": 1.0, "nonce": 1}', 501),
        ("POST", "/a?n=1&m=2&timestamp=1", b'{"n": 1}', 501),
        ("POST", "/a?n=1&m=2&timestamp=1", b"", 501),
    ],
)
def test_a_request_is_compared_but_for_what_differs_in_every_run(stage, method, target, body, status):
    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        ask(proxy, "/a?n=1&m=2&timestamp=1", "POST", body=b'{"n": 1, "nonce": 1}')
    with stage.proxy("replay") as proxy:
        assert ask(proxy, target, method, body=body).split(b" ")[1] == b"%d" % status


def test_where_nothing_is_recorded_the_501_says_so_and_a_websocket_hears_the_same(stage):
    with stage.proxy("replay") as proxy:
        response = requests.get(f"{proxy.rest_url}/a?x=1")
        with connected(proxy) as connection:
            connection.sendall(HANDSHAKE)
            raw = received(connection, str(stage.session.verdict).encode() + b"\n")
    assert type(stage.session.verdict) is CassetteMissing
    assert response.text == (
        f"{stage.stem}.yaml: nothing is recorded for GET https://rest.connex.invalid/a?x=1\nrun it --again\n"
    )
    assert raw.startswith(b"HTTP/1.1 501 ")
    assert body_of(raw).decode() == response.text


def test_many_clients_at_once_that_ask_for_what_is_not_recorded_each_get_a_501(stage):
    with stage.proxy("replay") as proxy, ExitStack() as stack:
        connections = [stack.enter_context(connected(proxy)) for _ in range(40)]
        for connection in connections:
            connection.sendall(
                b"POST /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
            )
        while proxy.requests < len(connections):  # now none of them can be refused at once
            pass
        for connection in connections:
            connection.sendall(b"x")
        answers = [received(connection) for connection in connections]
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 501 Not Implemented"}
    assert {body_of(answer).decode() for answer in answers} == {f"{stage.session.verdict}\n"}


def test_each_interaction_is_looked_at_once_however_many_there_are(stage, monkeypatch):
    count = 60
    keys: list[object] = []
    compared: list[object] = []
    key = Matching.key

    def counted(self, request):
        keys.append(request)
        return key(self, request)

    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        with requests.Session() as session:
            for number in range(count):
                session.post(f"{proxy.rest_url}/a?n={number % 2}", json={"n": number})
    monkeypatch.setattr(Matching, "key", counted)
    monkeypatch.setattr(Matching, "misses", lambda self, recorded, actual: compared.append(actual))
    with stage.proxy("replay") as proxy, requests.Session() as session:
        for number in reversed(range(count)):
            assert session.post(f"{proxy.rest_url}/a?n={number % 2}", json={"n": number}).text == "ok"
        assert stage.session.unplayed() is None
    assert (len(keys), len(compared)) == (2 * count, 0)


def test_equal_requests_are_answered_in_the_order_of_the_recording(stage):
    async def count(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"%d" % len(upstream.asked)))

    with Upstream(count) as upstream, stage.proxy("record", upstream.url) as proxy:
        for nonce in range(3):
            requests.get(f"{proxy.rest_url}/a?nonce={nonce}")
    with stage.proxy("replay") as proxy:
        texts = [requests.get(f"{proxy.rest_url}/a?nonce={nonce}").text for nonce in (9, 8, 7, 6)]
    assert texts[:3] == ["1", "2", "3"]
    assert "is not recorded, or was played already" in texts[3]


def test_a_verdict_and_what_is_unplayed_list_fifty_and_count_the_rest(stage):
    with Upstream(says(ok())) as upstream, stage.proxy("record", upstream.url) as proxy:
        with requests.Session() as session:
            for number in range(53):
                session.get(f"{proxy.rest_url}/{number}")
    with stage.proxy("replay") as proxy:
        unplayed = str(stage.session.unplayed())
        missed = requests.get(f"{proxy.rest_url}/other").text
    for text in (unplayed, missed):
        assert text.count("\n  GET ") == 50
        assert "/49\n  and 3 more\n" in text


# --- What an observer is told ------------------------------------------------------------------------------


class Noted:
    """Notes what passes."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.has_ended = threading.Event()

    def asked(self, method: str, url: str, headers: Headers) -> None:
        self.told.append(("asked", method, url.partition("/v1")[2], headers))

    def sent(self, data: bytes) -> None:
        self.told.append(("sent", data))

    def answered(self, status: int, reason: str, headers: Headers) -> None:
        self.told.append(("answered", status, reason, headers))

    def piece(self, data: bytes) -> None:
        self.told.append(("piece", data))

    def ended(self, how: Ending, error: OSError | None) -> None:
        self.told.append(("ended", how, type(error)))
        self.has_ended.set()

    def withdrawn(self) -> None:
        self.told.append(("withdrawn",))
        self.has_ended.set()


@contextmanager
def observed(url: str) -> Iterator[tuple[socket.socket, Noted]]:
    """A client of a port that passes on, and who looks on."""
    noted = Noted()
    forward = Forward(f"{url}/v1")

    async def http(asked: HttpAsked, answering: Answering) -> None:
        await forward.pass_on(asked, answering, "http://here", noted)

    async def stop() -> None:
        await port.stop()
        forward.stop()

    port = Port(http, lambda asked: refusal(404, ""), Faults())
    background = BackgroundLoop("observed")
    background.start()
    try:
        number = background.run(port.start())
        with socket.create_connection(("127.0.0.1", number), PATIENCE) as connection:
            yield connection, noted
        assert noted.has_ended.wait(PATIENCE)
        background.run(stop())
    finally:
        background.stop()
    assert sum(kind in ("ended", "withdrawn") for kind, *_ in noted.told) == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "told", "end"),
    [
        (
            ok(b"ab", b"x-a: 1"),
            [("answered", 200, "OK", [("Content-Length", "2"), ("x-a", "1")]), ("piece", b"ab")],
            "whole",
        ),
        (ok(b"", status=b"299 Hm"), [("answered", 299, "Hm", [("Content-Length", "0")])], "whole"),
        (b"HTTP/1.1 103 Early\r\n\r\n" + ok(b""), [("answered", 200, "OK", [("Content-Length", "0")])], "whole"),
        (
            CHUNKED + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            [("answered", 200, "OK", []), ("piece", b"a"), ("piece", b"b")],
            "whole",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nab", [("answered", 200, "OK", []), ("piece", b"ab")], "whole"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            [("answered", 200, "OK", [("Content-Length", "3")]), ("piece", b"ab")],
            "cut",
        ),
        (CHUNKED + b"1\r\na\r\n", [("answered", 200, "OK", []), ("piece", b"a")], "cut"),
        (CHUNKED + b"1\r\na\r\nzz\r\n", [("answered", 200, "OK", []), ("piece", b"a")], "cut"),
        (b"", [], "unanswered"),
        (b"garbage\r\n\r\n", [], "unanswered"),
    ],
)
def test_an_observer_is_told_what_passes_and_how_it_ended(answer, told, end):
    async def close(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    with Upstream(close) as upstream, observed(upstream.url) as (connection, noted):
        connection.sendall(b"PUT /v1/x?y HTTP/1.1\r\nhost: localhost\r\nX-b: 1\r\nContent-Length: 2\r\n\r\nhi")
        assert noted.has_ended.wait(PATIENCE)
    assert noted.told == [
        ("asked", "PUT", "/x?y", [("X-b", "1"), ("Content-Length", "2")]),
        ("sent", b"hi"),
        *told,
        ("ended", end, type(None)),
    ]


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
def test_an_observer_is_told_of_a_reset(beginning):
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"1\r\na\r\n")
        writer.write(beginning)
        await reader.readuntil(b"0\r\n\r\n")  # once the beginning has been seen
        reset_by(writer)

    with Upstream(says(), serve=break_off) as upstream, observed(upstream.url) as (connection, noted):
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        if beginning:
            received(connection, b"ab")
        connection.sendall(b"0\r\n\r\n")
        ends(connection)
        assert noted.has_ended.wait(PATIENCE)
    assert noted.told[-1] == ("ended", "cut" if beginning else "reset", ConnectionResetError)


def test_an_observer_is_told_of_a_server_that_is_not_there():
    with observed(closed_port()) as (connection, noted):
        connection.sendall(request_of())
        assert ends(connection) == (b"", "reset")
    assert [kind for kind, *_ in noted.told] == ["asked", "ended"]
    assert noted.told[-1] == ("ended", "refused", ConnectionRefusedError)


@pytest.mark.parametrize("beginning", [b"", CHUNKED + b"1\r\na\r\n"])
def test_an_observer_is_told_of_a_client_that_leaves(beginning):
    silence = Silence(beginning)
    with Upstream(silence) as upstream, observed(upstream.url) as (connection, noted):
        connection.sendall(request_of())
        assert silence.came.wait(PATIENCE)
        if beginning:
            received(connection, b"a\r\n")
        connection.close()
        assert silence.went.wait(PATIENCE)
    assert noted.told[1:] == [
        *([("answered", 200, "OK", []), ("piece", b"a")] if beginning else []),
        ("ended", "left", type(None)),
    ]


def test_a_client_that_leaves_while_the_server_is_dialled_is_told_too(monkeypatch):
    dialling = threading.Event()

    async def dial(*args: object) -> None:
        dialling.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("pytest_connex.proxy.forward.dial", dial)
    with observed("http://localhost:1") as (connection, noted):
        connection.sendall(request_of())
        assert dialling.wait(PATIENCE)
    assert noted.told[-1] == ("ended", "left", type(None))


def test_a_body_in_bad_chunks_is_the_clients_fault_and_the_server_is_left():
    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())

    heard: list[bytes] = []
    with Upstream(says(), serve=read) as upstream, observed(upstream.url) as (connection, noted):
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n")
        assert ends(connection)[0].startswith(b"HTTP/1.1 400 ")
    assert noted.told[1:] == [("sent", b"a"), ("withdrawn",)]


def test_an_answer_that_comes_before_its_request_is_whole_ends_with_the_request():
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"no", status=b"413 Too Large"))
        rest.append(await reader.readexactly(4))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"next"))

    rest: list[bytes] = []
    with Upstream(says(), serve=early) as upstream, observed(upstream.url) as (connection, noted):
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        assert received(connection, b"no").startswith(b"HTTP/1.1 413 ")
        assert not noted.has_ended.is_set()
        connection.sendall(b"cd")
        assert noted.has_ended.wait(PATIENCE)
        eventually(lambda: rest == [b"abcd"])
    assert noted.told[1:] == [
        ("sent", b"ab"),
        ("answered", 413, "Too Large", [("Content-Length", "2")]),
        ("piece", b"no"),
        ("sent", b"cd"),
        ("ended", "whole", type(None)),
    ]


def test_a_server_that_says_something_unasked_gets_the_next_request_on_another_connection(stage):
    """What it said must not be taken for the answer."""

    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"answer"))
        await writer.drain()
        said.wait(PATIENCE)
        writer.write(ok(b"unasked", status=b"408 Request Timeout"))
        await reader.read()

    said = threading.Event()
    with Upstream(says(), serve=chatty) as upstream, stage.proxy("pass", upstream.url) as proxy:
        with connected(proxy) as connection:
            connection.sendall(request_of())
            assert received(connection, b"answer").startswith(b"HTTP/1.1 200 ")
            said.set()
            eventually(
                lambda: not any(server.is_free for server in proxy._desk._forwards["rest", False]._servers.values())
            )
            connection.sendall(request_of())
            assert received(connection, b"answer").startswith(b"HTTP/1.1 200 ")
    assert upstream.connections == 2


def test_the_connection_to_the_server_is_kept_as_long_as_the_clients(stage):
    went = threading.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ok())
        finally:
            went.release()

    with Upstream(says(), serve=serve) as upstream, stage.proxy("pass", upstream.url) as proxy:
        for number in range(1, 4):
            with connected(proxy) as connection:
                for _ in range(3):
                    connection.sendall(request_of())
                    assert received(connection, b"ok")
            assert went.acquire(timeout=PATIENCE)
            assert upstream.connections == number
        eventually(lambda: not proxy._desk._forwards["rest", False]._servers)
