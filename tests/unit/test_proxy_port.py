"""Every fault of a port, as clients see it that are not ours."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests
import websocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Request
from websockets.sync.client import connect as connect_sync

from pytest_connex.errors import ConfigError
from pytest_connex.faults import Faults
from pytest_connex.proxy.endpoint import Endpoint
from pytest_connex.proxy.port import Port

from .loopback import (
    ASK,
    BODY,
    CLIENTS,
    CLOSED_1000,
    CLOSED_1012,
    DROPPED,
    NOT_UTF8,
    PATIENCE,
    RESET,
    SAID,
    SHORT,
    SILENT,
    Feed,
    Seen,
    Served,
    answer_to,
    ask_http_client,
    ask_requests,
    ask_socket,
    by_a_socket,
    by_aiohttp,
    by_websocket_client,
    by_websockets,
    by_websockets_sync,
    eventually,
    framed,
    handshake,
    listened,
    masked,
    raw,
)

# --- How connections end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("script", "messages", "ends", "happened"),
    [
        (lambda faults: faults.drop_after(2), 2, DROPPED, "drop after 2 messages"),
        (lambda faults: faults.drop_after(0), 0, DROPPED, "drop after 0 messages"),
        (lambda faults: faults.drop_after(bytes=10), 2, DROPPED, "drop after 10 bytes"),
        (lambda faults: faults.drop_after(seconds=0.01), 4, DROPPED, "drop after 0.01 s"),
        (lambda faults: faults.reset_after(2), 2, RESET, "reset after 2 messages"),
        (lambda faults: faults.reset_after(bytes=5), 1, RESET, "reset after 5 bytes"),
        (lambda faults: faults.reset_after(seconds=0.01), 4, RESET, "reset after 0.01 s"),
        (
            lambda faults: faults.close_after(3, 1012, "restart"),
            3,
            CLOSED_1012,
            "close after 3 messages with 1012 restart",
        ),
        (lambda faults: faults.close_after(1), 1, CLOSED_1000, "close after 1 message with 1000"),
        (lambda faults: faults.close_after(0), 0, CLOSED_1000, "close after 0 messages with 1000"),
        (lambda faults: faults.close_after(bytes=6), 2, CLOSED_1000, "close after 6 bytes with 1000"),
        (lambda faults: faults.close_after(seconds=0.01), 4, CLOSED_1000, "close after 0.01 s with 1000"),
        (lambda faults: faults.stall_after(2), 2, SILENT, "stall after 2 messages"),
        (lambda faults: faults.stall_after(bytes=5), 1, SILENT, "stall after 5 bytes"),
        (lambda faults: faults.stall_after(seconds=0), 4, SILENT, "stall after 0 s"),
    ],
)
def test_a_connection_ends_as_the_fault_is_called(served, client, script, messages, ends, happened):
    script(served.faults)
    seen = CLIENTS[client](served.ws_url, messages if ends is SILENT else None)
    assert seen == (list(SAID[:messages]), ends[client])
    assert (served.feeds[0].ends, served.faults.happened()) == ([(1006, "")], [f"connection 1: {happened}"])
    assert served.faults.pending() == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_a_reset_instead_of_a_close_comes_where_the_close_would(client):
    with Served(closes=(1012, "restart")) as served:
        served.faults.reset_instead_of_close()
        assert CLIENTS[client](served.ws_url) == (list(SAID), RESET[client])
        assert CLIENTS[client](served.ws_url) == (list(SAID), CLOSED_1012[client])
        assert served.faults.happened() == ["connection 1: reset instead of a close"]


@pytest.mark.parametrize(("how", "end"), [("drop_after", "EOF"), ("reset_after", "ConnectionResetError")])
def test_bytes_may_end_within_a_frame(served, how, end):
    getattr(served.faults, how)(bytes=8)
    assert by_a_socket(served.ws_url) == (["one"], f"{end} after b'\\x81\\x03t'")


def test_the_bytes_of_a_stall_end_within_a_frame_too(served):
    served.faults.stall_after(bytes=6)
    assert by_a_socket(served.ws_url, 1) == (["one"], "TimeoutError after b'\\x81'")


def test_a_close_has_its_code_and_reason_for_a_socket(served):
    served.faults.close_after(0, 4999, "é")
    with raw(served.ws_url) as sock:
        assert sock.recv(100) == b"\x88\x04\x13\x87\xc3\xa9"


def test_a_client_that_answers_a_close_sees_the_connection_end(served):
    served.faults.close_after(0, 1000)
    with raw(served.ws_url) as sock:
        assert sock.recv(100) == b"\x88\x02\x03\xe8"
        sock.sendall(masked(b"\x03\xe8", 0x88))
        assert sock.recv(100) == b""


def test_a_stalled_connection_answers_no_ping(served):
    served.faults.stall_after(4)
    with connect_sync(served.ws_url, close_timeout=SHORT) as ws:
        assert [ws.recv(timeout=PATIENCE) for _ in SAID] == list(SAID)
        assert not ws.ping().wait(SHORT)


def test_a_connection_that_is_not_stalled_answers_pings(served):
    served.faults.stall_after(5)
    with connect_sync(served.ws_url, close_timeout=SHORT) as ws:
        assert ws.ping().wait(PATIENCE)


async def test_a_client_with_keepalive_notices_a_stall(served):
    served.faults.stall_after(0)
    async with connect(served.ws_url, ping_interval=0.02, ping_timeout=0.02, close_timeout=SHORT) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert (caught.value.rcvd, caught.value.sent.code, caught.value.sent.reason) == (
        None,
        1011,
        "keepalive ping timeout",
    )


def test_what_a_client_says_to_a_stalled_connection_reaches_nobody(served):
    served.faults.stall_after(0)
    with connect_sync(served.ws_url, close_timeout=SHORT) as ws:
        ws.send("hello?")
    with connect_sync(served.ws_url) as ws:
        ws.send("hello")
        assert [ws.recv(timeout=PATIENCE) for _ in range(5)] == [*SAID, "hello"]
    assert [(feed.heard, feed.late) for feed in served.feeds] == [([], []), (["hello"], [])]


def test_what_a_client_says_before_it_has_seen_the_end_is_nobodys_business(served):
    served.faults.close_after(0, 1000)
    with raw(served.ws_url) as sock:
        sock.sendall(masked(b"hello?") + masked(b"\x03\xe8", 0x88))
        assert listened(sock) == ([], "CLOSE 1000")
        assert sock.recv(100) == b""
    assert (served.feeds[0].heard, served.feeds[0].late) == ([], [])


def test_a_stalled_connection_can_be_dropped(served):
    served.faults.stall_after(0)
    with raw(served.ws_url) as sock:
        served.drop()
        assert sock.recv(100) == b""


def test_a_client_may_go_before_its_fault_happens(served):
    served.faults.drop_after(100)
    served.faults.drop_after(seconds=3600)
    for _ in range(2):
        with connect_sync(served.ws_url):
            pass
    assert all(feed.ended_in_time.wait(PATIENCE) for feed in served.feeds)
    eventually(lambda: served.faults.pending() == 0)
    assert served.faults.happened() == []


# --- On how many connections -----------------------------------------------------------------------------


def test_faults_come_to_connections_in_their_order_and_as_often_as_asked(served):
    served.faults.drop_after(1, times=2)
    served.faults.close_after(2, 1012, "restart")
    served.faults.duplicate(1, times=2)
    served.faults.close_after(4)
    assert [by_websockets_sync(served.ws_url) for _ in range(4)] == [
        (["one", "one"], "ConnectionClosedError"),
        (["one", "one"], "ConnectionClosedError"),
        (["one", "two"], "ConnectionClosedError received 1012 restart"),
        (list(SAID), "ConnectionClosedOK received 1000"),
    ]
    assert served.faults.happened() == [
        "connection 1: duplicate at message 1",
        "connection 1: drop after 1 message",
        "connection 2: duplicate at message 1",
        "connection 2: drop after 1 message",
        "connection 3: close after 2 messages with 1012 restart",
        "connection 4: close after 4 messages with 1000",
    ]


def test_a_handshake_that_the_server_does_not_take_uses_up_nothing(served):
    served.rejects = 1
    served.faults.drop_after(2)
    with pytest.raises(InvalidStatus):
        by_websockets_sync(served.ws_url)
    assert by_websockets_sync(served.ws_url) == (["one", "two"], "ConnectionClosedError")


def test_a_bad_handshake_uses_up_nothing(served):
    served.faults.drop_after(2)
    served.faults.refuse_handshake()
    assert answer_to(served.http_url, handshake(Sec_WebSocket_Version="12"))[0] == 400
    assert served.faults.pending() == 2


def test_clear_reaches_a_connection_that_is_open(served):
    served.faults.drop_after(5)
    with connect_sync(served.ws_url) as ws:
        assert [ws.recv(timeout=PATIENCE) for _ in SAID] == list(SAID)
        served.faults.clear()
        ws.send("five")
        ws.send("six")
        assert [ws.recv(timeout=PATIENCE) for _ in range(2)] == ["five", "six"]
    assert served.faults.happened() == []


def test_many_clients_at_once_get_one_ending_each(served):
    served.faults.close_after(2, 4001, "half", times=8)
    seen: list[Seen] = []

    def listen() -> None:
        seen.append(by_websockets_sync(served.ws_url))

    threads = [threading.Thread(target=listen) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(["one", "two"], "ConnectionClosedError received 4001 half")] * 8
    assert sorted(served.faults.happened()) == [
        f"connection {number}: close after 2 messages with 4001 half" for number in range(1, 9)
    ]


# --- What becomes of messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("script", "messages"),
    [
        (lambda faults: faults.truncate(3), ["one", "two", "th", "four"]),
        (lambda faults: faults.duplicate(1, 4), ["one", "one", "two", "three", "four", "four"]),
        (lambda faults: faults.reorder(2), ["one", "three", "two", "four"]),
        (lambda faults: faults.reorder(4), ["one", "two", "three", "four"]),
        (
            lambda faults: (faults.truncate(1), faults.duplicate(2), faults.reorder(3)),
            ["o", "two", "two", "four", "three"],
        ),
    ],
)
def test_a_client_gets_what_became_of_messages(served, client, script, messages):
    script(served.faults)
    served.faults.close_after(4)
    assert CLIENTS[client](served.ws_url) == (messages, CLOSED_1000[client])


@pytest.mark.parametrize("how", [lambda feed: feed.endpoint.close(1000, ""), lambda feed: feed.endpoint.abort()])
def test_a_message_that_is_held_arrives_before_the_end(how):
    class Ending(Feed):
        def dialled(self, endpoint: Endpoint, request: Request) -> None:
            super().dialled(endpoint, request)
            how(self)

    with Served(feed=Ending) as served:
        served.faults.reorder(4)
        assert by_a_socket(served.ws_url).messages == list(SAID)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_gets_characters_that_were_changed(served, client):
    served.faults.corrupt(3)
    served.faults.close_after(4)
    one, two, three, four = CLIENTS[client](served.ws_url).messages
    assert (one, two, four, len(three)) == ("one", "two", "four", 5)
    assert sum(was != now for was, now in zip("three", three, strict=True)) == 1


def test_the_same_seed_changes_the_same_characters():
    def seen(seed: int) -> list[Seen]:
        with Served(faults=Faults(seed)) as served:
            served.faults.corrupt(1, 2, 3, 4, times=2)
            served.faults.close_after(4, times=2)
            return [by_a_socket(served.ws_url) for _ in range(2)]

    one, again, other = seen(1), seen(1), seen(2)
    assert one == again != other
    assert one[0] != one[1]


@pytest.mark.parametrize("client", NOT_UTF8)
def test_a_client_refuses_what_is_no_utf8(served, client):
    served.faults.invalid_utf8(3)
    assert CLIENTS[client](served.ws_url) == (["one", "two"], NOT_UTF8[client])


def test_what_is_no_utf8_is_sent_as_text(served):
    served.faults.invalid_utf8(3)
    served.faults.close_after(4)
    one, two, three, four = by_a_socket(served.ws_url).messages
    assert (one, two, three.replace("\\xff", ""), four) == (*SAID[:3], "four")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_binary_message_stays_binary(client):
    with Served(said=(b"\x00\xff", b"\x01\x02")) as served:
        served.faults.truncate(1)
        served.faults.duplicate(2)
        served.faults.close_after(2)
        assert CLIENTS[client](served.ws_url).messages == [b"\x00", b"\x01\x02", b"\x01\x02"]


# --- HTTP answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ASK)
def test_a_scripted_answer_comes_as_often_as_asked_and_then_the_right_one(served, client):
    served.faults.answer(429, retry_after=7)
    served.faults.answer(503, times=2)
    answers = [ASK[client](served.http_url) for _ in range(4)]
    assert [answer.status for answer in answers] == [429, 503, 503, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", None, None, None]
    assert json.loads(answers[0].body) == {
        "error": "fault",
        "message": "a scripted fault",
        "code": 429,
        "details": {},
    }
    assert (answers[3].body, served.asked) == (BODY, ["GET /v1"])
    assert served.faults.happened() == [
        "GET /v1: answered with 429",
        "GET /v1: answered with 503",
        "GET /v1: answered with 503",
    ]


def test_a_scripted_answer_to_a_body_that_nobody_reads(served):
    served.faults.answer(503)
    with requests.Session() as session:
        statuses = [session.post(served.http_url, data=b"x" * 300_000, timeout=PATIENCE).status_code for _ in "ab"]
    assert (statuses, served.asked) == ([503, 200], ["POST / xxxxxxxxxx"])


@pytest.mark.parametrize("length", [0, 5, len(BODY) - 1])
@pytest.mark.parametrize(
    ("client", "error", "text"),
    [
        ("requests", requests.exceptions.ChunkedEncodingError, r"IncompleteRead\({} bytes read, {} more expected"),
        ("http.client", http.client.IncompleteRead, r"IncompleteRead\({} bytes read, {} more expected"),
        ("aiohttp", aiohttp.ClientPayloadError, "Not enough data (to|for) satisfy content length"),
    ],
)
def test_an_answer_ends_after_so_many_bytes_of_its_body(served, length, client, error, text):
    served.faults.cut_answer(length)
    with pytest.raises(error) as caught:
        ASK[client](served.http_url)
    assert re.search(text.format(length, len(BODY) - length), str(caught.value))
    assert ASK[client](served.http_url).body == BODY
    assert (served.asked, served.faults.happened()) == (
        ["GET /v1"] * 2,
        [f"GET /v1: cut after {length} bytes"],
    )


def test_the_bytes_that_are_let_through_are_those_of_the_answer(served):
    served.faults.cut_answer(bytes=9)
    answer = ask_socket(served.http_url)
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(len(BODY)), BODY[:9])


def test_the_end_of_a_cut_answer_is_that_of_the_connection(served):
    served.faults.cut_answer(1_000)
    with socket.create_connection(served.address, timeout=PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while data := sock.recv(65_536):
            said += data
    assert said.endswith(b"\r\n\r\n" + BODY)


def test_a_session_goes_on_after_an_answer_that_was_cut(served):
    served.faults.cut_answer(3)
    with requests.Session() as session:
        assert session.get(served.http_url, timeout=PATIENCE, stream=True).status_code == 200
        assert session.get(served.http_url, timeout=PATIENCE).content == BODY


@pytest.mark.parametrize(
    ("client", "error"),
    [
        ("requests", requests.exceptions.ReadTimeout),
        ("http.client", TimeoutError),
        ("aiohttp", TimeoutError),
        ("socket", TimeoutError),
    ],
)
def test_an_answer_never_comes(served, client, error):
    served.faults.stall_answer()
    with pytest.raises(error):
        ASK[client](served.http_url, 4 * SHORT)
    assert ASK[client](served.http_url).body == BODY
    assert (served.asked, served.faults.happened()) == (["GET /v1"], ["GET /v1: never answered"])


# --- Handshakes ------------------------------------------------------------------------------------------


def refused_to_websockets(url: str) -> tuple[int, str | None]:
    async def dial() -> None:
        await connect(url)

    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(dial())
    return caught.value.response.status_code, caught.value.response.headers.get("Retry-After")


def refused_to_websockets_sync(url: str) -> tuple[int, str | None]:
    with pytest.raises(InvalidStatus) as caught:
        connect_sync(url)
    return caught.value.response.status_code, caught.value.response.headers.get("Retry-After")


def refused_to_websocket_client(url: str) -> tuple[int, str | None]:
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(url, timeout=PATIENCE, http_no_proxy=["127.0.0.1"])
    return caught.value.status_code, caught.value.resp_headers.get("retry-after")


def refused_to_aiohttp(url: str) -> tuple[int, str | None]:
    async def dial() -> None:
        async with aiohttp.ClientSession() as session:
            await session.ws_connect(url)

    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        asyncio.run(dial())
    return caught.value.status, caught.value.headers.get("Retry-After")


def refused_to_a_socket(url: str) -> tuple[int, str | None]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as sock:
        sock.sendall(handshake())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        return answer.status, answer.headers.get("Retry-After")


@pytest.mark.parametrize(
    ("client", "refused"),
    [
        ("websockets", refused_to_websockets),
        ("websockets.sync", refused_to_websockets_sync),
        ("websocket-client", refused_to_websocket_client),
        ("aiohttp", refused_to_aiohttp),
        ("socket", refused_to_a_socket),
    ],
)
def test_a_handshake_is_refused_as_often_as_asked(served, client, refused):
    served.faults.refuse_handshake(status=429, retry_after=9)
    served.faults.refuse_handshake()
    served.faults.close_after(1)
    assert [refused(served.ws_url) for _ in range(2)] == [(429, "9"), (503, None)]
    assert CLIENTS[client](served.ws_url) == (["one"], CLOSED_1000[client])
    assert served.faults.happened() == [
        "handshake of /ws: answered with 429",
        "handshake of /ws: answered with 503",
        "connection 1: close after 1 message with 1000",
    ]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (handshake().replace(b"GET", b"POST"), "its method is POST"),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), "it is HTTP/1.0"),
        (handshake(Connection="keep-alive"), "it has no Connection: Upgrade"),
        (handshake(Sec_WebSocket_Key=""), "it has no Sec-WebSocket-Key"),
        (handshake(Sec_WebSocket_Version="8"), "its Sec-WebSocket-Version is not 13"),
    ],
)
def test_a_handshake_that_is_none_is_told_why(served, request_, problem):
    answer = answer_to(served.http_url, request_)
    assert (answer.status, answer.body.decode()) == (400, f"this is no WebSocket handshake: {problem}\n")


# --- Dials -----------------------------------------------------------------------------------------------


def dial_websockets(served: Served) -> None:
    by_websockets(served.ws_url)


def dial_websockets_sync(served: Served) -> None:
    by_websockets_sync(served.ws_url)


def dial_websocket_client(served: Served) -> None:
    by_websocket_client(served.ws_url)


def dial_aiohttp(served: Served) -> None:
    try:
        by_aiohttp(served.ws_url)
    except aiohttp.ClientConnectorError as exc:
        raise exc.os_error from exc


def dial_requests(served: Served) -> None:
    try:
        ask_requests(served.http_url)
    except requests.ConnectionError as exc:
        cause = exc.args[0].reason.__cause__ or exc.args[0].reason.__context__
        raise cause from exc


def dial_http_client(served: Served) -> None:
    ask_http_client(served.http_url)


def dial_socket(served: Served) -> None:
    by_a_socket(served.ws_url)


@pytest.mark.parametrize(
    "dial",
    [
        dial_websockets,
        dial_websockets_sync,
        dial_websocket_client,
        dial_aiohttp,
        dial_requests,
        dial_http_client,
        dial_socket,
    ],
)
def test_dials_are_refused_from_the_call_on_and_accepted_from_the_call_on(served, dial):
    served.faults.drop_after(0, times=3)
    for _ in range(3):
        served.faults.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(served)
        served.faults.accept()
        dial(served)
    assert served.faults.happened().count("dials are refused") == 3


def test_connections_that_are_open_stay_open_while_dials_are_refused(served):
    with connect_sync(served.ws_url) as ws, requests.Session() as session:
        assert session.get(served.http_url, timeout=PATIENCE).status_code == 200
        served.faults.refuse()
        ws.send("five")
        assert [ws.recv(timeout=PATIENCE) for _ in range(5)] == [*SAID, "five"]
        assert session.get(served.http_url, timeout=PATIENCE).status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.get(served.http_url, timeout=PATIENCE)


def test_dials_are_accepted_again_when_the_seconds_are_over(served):
    served.faults.refuse(0.05)
    with pytest.raises(ConnectionRefusedError):
        dial_http_client(served)
    eventually(lambda: accepts(served))
    assert served.faults.happened() == ["dials are refused for 0.05 s"]


def accepts(served: Served) -> bool:
    try:
        socket.create_connection(served.address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("script", "accepted"),
    [
        (lambda faults: (faults.refuse(0.01), faults.refuse()), False),
        (lambda faults: (faults.refuse(0.01), faults.accept(), faults.refuse()), False),
        (lambda faults: (faults.refuse(), faults.refuse(0.01)), True),
        (lambda faults: (faults.refuse(3600), faults.accept(), faults.accept()), True),
        (lambda faults: (faults.refuse(), faults.clear()), True),
    ],
)
def test_the_last_word_on_dials_counts(served, script, accepted):
    script(served.faults)
    later = threading.Event()
    served._background.call(lambda: asyncio.get_running_loop().call_later(0.05, later.set))
    assert later.wait(PATIENCE)
    assert accepts(served) is accepted


def test_dials_may_be_refused_from_the_beginning():
    faults = Faults()
    faults.refuse()
    with Served(faults=faults) as served:
        assert not accepts(served)
        faults.accept()
        assert accepts(served)


def test_dials_may_be_refused_by_the_loop_of_the_port(served):
    for word, accepted in (("refuse", False), ("accept", True)):
        done = threading.Event()

        def say(word: str = word, done: threading.Event = done) -> None:
            getattr(served.faults, word)()
            asyncio.get_running_loop().call_later(0.01, done.set)

        served._background.call(say)
        assert done.wait(PATIENCE)
        assert accepts(served) is accepted


def test_a_port_that_was_taken_meanwhile_is_told(served):
    served.faults.refuse()
    with socket.create_server(served.address):
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{served.address[1]}: .*in use"):
            served.faults.accept()
    served.faults.accept()
    assert accepts(served)


def test_a_port_that_was_taken_when_the_seconds_are_over_is_noted(served):
    served.faults.refuse()
    with socket.create_server(served.address):
        served.faults.refuse(0.01)
        eventually(lambda: served.faults.happened()[-1].startswith("dials stay refused: cannot listen on 127.0.0.1:"))


def test_a_port_that_is_taken_is_told_with_what_to_do(served):
    async def start() -> None:
        await Port(served._http, served._websocket, Faults(), *served.address).start()

    with pytest.raises(ConfigError, match=r"in use.*\. Choose another port, or 0 for a free one"):
        asyncio.run(start())


def test_a_stopped_port_is_not_refused_or_opened_again(served):
    served.stop()
    served.faults.refuse()
    served.faults.accept()
    assert not accepts(served)


# --- A slow wire -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_at_a_slow_pace_everything_arrives_in_its_order_and_then_the_end(served, client):
    served.faults.latency(0.005, jitter=0.005)
    served.faults.bandwidth(5_000)
    served.faults.close_after(4, 1012, "restart")
    assert CLIENTS[client](served.ws_url) == (list(SAID), CLOSED_1012[client])


@pytest.mark.parametrize("client", ASK)
def test_a_slow_answer_is_whole(served, client):
    served.faults.latency(0.005)
    served.faults.bandwidth(20_000)
    assert ASK[client](served.http_url).body == BODY


def test_latency_concerns_connections_that_are_open(served):
    with connect_sync(served.ws_url, close_timeout=SHORT) as ws:
        assert [ws.recv(timeout=PATIENCE) for _ in SAID] == list(SAID)
        served.faults.latency(3_600)
        ws.send("five")
        with pytest.raises(TimeoutError):
            ws.recv(timeout=SHORT)
    served.faults.latency(0)
    assert ask_http_client(served.http_url).status == 200


def test_a_drop_comes_after_what_was_delayed_before_it(served):
    served.faults.latency(0.02)
    served.faults.drop_after(4)
    assert by_a_socket(served.ws_url) == (list(SAID), "EOF")


# --- The end of the port ---------------------------------------------------------------------------------


def test_a_port_stops_while_bytes_wait_connections_stall_and_answers_never_come(served):
    served.faults.stall_after(0)
    served.faults.stall_answer()
    with raw(served.ws_url) as stalled, raw(served.ws_url) as delayed:
        with socket.create_connection(served.address) as asking, socket.create_connection(served.address) as slow:
            asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            eventually(lambda: served.faults.happened()[-1:] == ["GET /: never answered"])
            served.faults.latency(3_600)
            slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            delayed.sendall(masked(b"five"))
            eventually(lambda: served.asked == ["GET /"] and served.feeds[1].heard == ["five"])
            served.stop()
            assert [rest(sock) for sock in (stalled, asking, slow)] == [b"", b"", b""]
            assert framed(rest(delayed), "EOF") == (list(SAID), "EOF")


def rest(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE)
    said = b""
    try:
        while data := sock.recv(65_536):
            said += data
    except ConnectionResetError:
        pass
    return said
