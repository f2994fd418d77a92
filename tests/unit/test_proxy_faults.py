"""One fault in three ways: passed on, recorded and replayed, a client sees the same, and nothing else goes wrong."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pytest_connex.cassette.events import Payload
from pytest_connex.cassette.player import Playback
from pytest_connex.cassette.session import Action
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteUnplayed
from pytest_connex.faults import Faults
from pytest_connex.proxy.proxy import Proxy

from .conftest import Tape, write_tape
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
    Served,
    by_a_socket,
    by_websockets_sync,
    eventually,
    listened,
    raw,
)
from .upstream import Stage

Script = Callable[[Faults], object]
Client = Callable[[Proxy], Any]

ACTIONS: tuple[Action, ...] = ("pass", "record", "replay")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@contextmanager
def proxy(stage: Stage, action: Action, served: Served, **plan: Any) -> Iterator[Proxy]:
    """A proxy of a strict test, that has no verdict at the end and leaves nothing unused."""
    with stage.proxy(action, rest=served.http_url, ws=served.ws_url) as opened:
        stage.session.plan = replace(stage.session.plan, strict=True, **plan)
        yield opened
    assert (stage.session.verdict, stage.session.unplayed()) == (None, None)


def in_three_ways(stage: Stage, served: Served, script: Script, client: Client, **plan: Any) -> list[Any]:
    """What a client sees in each way, and what happened."""
    seen = []
    for action in ACTIONS:
        with proxy(stage, action, served, **plan) as opened:
            script(opened.faults)
            seen.append((client(opened), opened.faults.happened(), opened.faults.pending()))
    return seen


# --- WebSocket -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("script", "messages", "ends"),
    [
        (lambda faults: faults.drop_after(2), 2, DROPPED),
        (lambda faults: faults.reset_after(2), 2, RESET),
        (lambda faults: faults.close_after(3, 1012, "restart"), 3, CLOSED_1012),
        (lambda faults: faults.stall_after(2), 2, SILENT),
    ],
)
def test_a_connection_ends_alike_in_three_ways(stage, served, client, script, messages, ends):
    def listen(opened: Proxy) -> Any:
        return CLIENTS[client](opened.ws_url, messages if ends is SILENT else None)

    seen = in_three_ways(stage, served, script, listen, replay_timeout=SHORT / 2)
    assert [found for found, _, _ in seen] == [(list(SAID[:messages]), ends[client])] * 3
    assert [(len(happened), pending) for _, happened, pending in seen] == [(1, 0)] * 3
    assert seen[0][1] == seen[1][1] == seen[2][1]


@pytest.mark.parametrize("client", NOT_UTF8)
def test_a_client_refuses_what_is_no_utf8_in_three_ways(stage, served, client):
    seen = in_three_ways(
        stage, served, lambda faults: faults.invalid_utf8(3), lambda opened: CLIENTS[client](opened.ws_url)
    )
    assert [found for found, _, _ in seen] == [(["one", "two"], NOT_UTF8[client])] * 3


@pytest.mark.parametrize(
    ("script", "messages", "end"),
    [
        (lambda faults: faults.drop_after(0), 0, "ConnectionClosedError"),
        (lambda faults: faults.drop_after(4), 4, "ConnectionClosedError"),
        (lambda faults: faults.drop_after(bytes=7), 1, "ConnectionClosedError"),
        (lambda faults: faults.drop_after(seconds=0.05), 4, "ConnectionClosedError"),
        (lambda faults: faults.reset_after(0), 0, "ConnectionClosedError from ConnectionResetError"),
        (lambda faults: faults.close_after(0), 0, "ConnectionClosedOK received 1000"),
        (lambda faults: faults.close_after(seconds=0.05), 4, "ConnectionClosedOK received 1000"),
        (lambda faults: faults.close_after(bytes=6, code=4001), 2, "ConnectionClosedError received 4001"),
        (lambda faults: faults.stall_after(0), 0, "TimeoutError"),
        (lambda faults: faults.stall_after(4), 4, "TimeoutError"),
        (lambda faults: faults.stall_after(bytes=7), 1, "TimeoutError"),
        (lambda faults: faults.stall_after(seconds=0.05), 4, "TimeoutError"),
    ],
)
@pytest.mark.parametrize("pace", [0.0, 1.0])
def test_whenever_it_ends_the_recording_is_used_up_and_nobody_is_waited_for(
    stage, served, script, messages, end, pace
):
    def listen(opened: Proxy) -> Any:
        return by_websockets_sync(opened.ws_url, messages if end == "TimeoutError" else None)

    seen = in_three_ways(stage, served, script, listen, pace=pace, replay_timeout=PATIENCE)
    assert [found for found, _, _ in seen] == [(list(SAID[:messages]), end)] * 3


@pytest.mark.parametrize(
    ("script", "messages"),
    [
        (lambda faults: faults.truncate(3), ["one", "two", "th", "four"]),
        (lambda faults: faults.duplicate(1, 4), ["one", "one", "two", "three", "four", "four"]),
        (lambda faults: faults.reorder(2), ["one", "three", "two", "four"]),
        (lambda faults: faults.reorder(4), list(SAID)),
        (
            lambda faults: (faults.truncate(1), faults.duplicate(2), faults.reorder(3)),
            ["o", "two", "two", "four", "three"],
        ),
    ],
)
def test_what_became_of_messages_is_not_recorded_but_happens_again(stage, served, script, messages):
    def both(faults: Faults) -> None:
        script(faults)
        faults.close_after(4)

    seen = in_three_ways(stage, served, both, lambda opened: by_a_socket(opened.ws_url))
    assert [found for found, _, _ in seen] == [(messages, CLOSED_1000["socket"])] * 3
    (connection,) = Recording(stage.session.plan.websocket_path).connections
    assert connection.received_count == 4


def test_the_same_characters_are_changed_in_three_ways(stage, served):
    def script(faults: Faults) -> None:
        faults.corrupt(1, 2, 3, 4)
        faults.close_after(4)

    one, two, three = (
        found for found, _, _ in in_three_ways(stage, served, script, lambda opened: by_a_socket(opened.ws_url))
    )
    assert one == two == three
    assert all(was != now for was, now in zip(SAID, one.messages, strict=True))


def test_a_reset_instead_of_a_close_is_one_in_three_ways(stage):
    with Served(closes=(1012, "restart")) as served:
        seen = in_three_ways(
            stage,
            served,
            lambda faults: faults.reset_instead_of_close(),
            lambda opened: [by_a_socket(opened.ws_url) for _ in range(2)],
        )
    both = [(list(SAID), RESET["socket"]), (list(SAID), CLOSED_1012["socket"])]
    assert [found for found, _, _ in seen] == [both] * 3


def trade(opened: Proxy) -> list[str]:
    """Send three orders, dialling again where the connection ends or says nothing more."""
    log: list[str] = []
    orders = ["buy", "sell", "cancel"]
    while orders:
        try:
            with connect(opened.ws_url, close_timeout=SHORT) as ws:
                for _ in SAID:
                    ws.recv(timeout=PATIENCE)
                while orders:
                    ws.send(orders[0])
                    log.append(str(ws.recv(timeout=4 * SHORT if orders[0] == "sell" else PATIENCE)))
                    orders.pop(0)
        except (ConnectionClosed, TimeoutError, InvalidStatus) as exc:
            log.append(type(exc).__name__)
    return log


@pytest.mark.parametrize(
    ("script", "log"),
    [
        (
            lambda faults: faults.drop_after(5, times=2),
            ["buy", "ConnectionClosedError", "sell", "ConnectionClosedError", "cancel"],
        ),
        (lambda faults: faults.close_after(5, 1012), ["buy", "ConnectionClosedError", "sell", "cancel"]),
        (lambda faults: faults.stall_after(5), ["buy", "TimeoutError", "sell", "cancel"]),
        (
            lambda faults: (faults.reset_after(5), faults.drop_after(2), faults.refuse_handshake(1, 429)),
            ["InvalidStatus", "buy", "ConnectionClosedError", "ConnectionClosedError", "sell", "cancel"],
        ),
    ],
)
def test_a_client_that_recovers_does_so_in_three_ways(stage, served, script, log):
    seen = in_three_ways(stage, served, script, trade)
    assert [found for found, _, _ in seen] == [log] * 3


@pytest.mark.parametrize("action", ["pass", "record"])
@pytest.mark.parametrize(
    "script",
    [
        lambda faults: faults.drop_after(0),
        lambda faults: faults.drop_after(2),
        lambda faults: faults.close_after(2),
        lambda faults: faults.stall_after(2),
        lambda faults: faults.reset_after(bytes=6),
        lambda faults: faults.stall_after(seconds=0),
    ],
)
def test_whoever_is_behind_a_connection_that_ended_sees_it_end(stage, served, action, script):
    with proxy(stage, action, served) as opened:
        script(opened.faults)
        with raw(opened.ws_url):  # it stays, and closes nothing
            eventually(lambda: bool(served.feeds))
            assert served.feeds[0].ended_in_time.wait(PATIENCE)
            assert served.feeds[0].ends == [(1006, "")]


def test_what_a_client_says_after_the_end_is_not_recorded_and_no_mismatch(stage, served):
    def speak(opened: Proxy) -> list[str]:
        with connect(opened.ws_url, close_timeout=SHORT) as ws:
            heard = [str(ws.recv(timeout=PATIENCE)) for _ in range(2)]
            ws.send("is anybody there?")
        return heard

    seen = in_three_ways(stage, served, lambda faults: faults.stall_after(2), speak)
    assert [found for found, _, _ in seen] == [["one", "two"]] * 3
    assert [feed.heard for feed in served.feeds] == [[], []]


def test_a_recording_that_a_fault_cut_short_is_told_of_where_the_test_wants_all_of_it(stage, served):
    with proxy(stage, "record", served) as opened:
        by_websockets_sync(opened.ws_url, 4)
    with stage.proxy("replay") as opened:
        stage.session.plan = replace(stage.session.plan, strict=True)
        opened.faults.drop_after(1)
        assert by_websockets_sync(opened.ws_url) == (["one"], "ConnectionClosedError")
    unplayed = stage.session.unplayed()
    assert (stage.session.verdict, type(unplayed)) == (None, CassetteUnplayed)
    assert "3 received messages were never read on connection 1" in str(unplayed)


def recorded(stage: Stage, messages: int) -> None:
    """Put a recording of numbered messages in its place, a millisecond apart."""
    tape = Tape()
    conn = tape.dial()
    tape.opened(conn).received(conn, *(f"{number:01000d}" for number in range(messages))).closed(conn, "client")
    write_tape(stage.stem.with_name(f"{stage.stem.name}.ws.jsonl"), tape)


@pytest.mark.parametrize("pace", [0.0, 1.0])
@pytest.mark.parametrize("script", [lambda faults: faults.drop_after(2), lambda faults: faults.stall_after(0)])
def test_a_recording_is_not_played_on_after_the_end(stage, monkeypatch, script, pace):
    recorded(stage, 600)
    delivered: list[int] = []
    deliver = Playback.deliver

    def counted(playback: Playback, limit: int) -> list[Payload]:
        messages = deliver(playback, limit)
        delivered.append(len(messages))
        return messages

    monkeypatch.setattr(Playback, "deliver", counted)
    with stage.proxy("replay") as opened:
        stage.session.plan = replace(stage.session.plan, pace=pace)
        script(opened.faults)
        with raw(opened.ws_url) as sock:  # that closes nothing by itself
            listened(sock, 0)
    assert sum(delivered) <= (2 if pace else 256)


def test_a_slow_wire_is_waited_for_by_the_recording(stage):
    recorded(stage, 1_500)
    with stage.proxy("replay") as opened:
        opened.faults.bandwidth(100_000)
        with connect(opened.ws_url, close_timeout=SHORT) as ws:
            assert [int(ws.recv(timeout=PATIENCE)) for _ in range(3)] == [0, 1, 2]
            assert opened.frames < 600
            opened.faults.clear()
            assert [int(ws.recv(timeout=PATIENCE)) for _ in range(1_497)] == list(range(3, 1_500))


# --- HTTP ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ASK)
def test_a_scripted_answer_is_one_in_three_ways_and_the_next_is_the_servers(stage, served, client):
    def ask(opened: Proxy) -> list[Any]:
        answers = [ASK[client](opened.rest_url) for _ in range(2)]
        return [(answer.status, answer.headers.get("Retry-After")) for answer in answers] + [answers[1].body]

    seen = in_three_ways(stage, served, lambda faults: faults.answer(429, retry_after=7), ask)
    assert seen == [([(429, "7"), (200, None), BODY], ["GET /v1: answered with 429"], 0)] * 3
    assert served.asked == ["GET /v1"] * 2


@pytest.mark.parametrize(
    ("client", "error"),
    [
        ("requests", (requests.exceptions.ChunkedEncodingError, requests.ConnectionError)),
        ("http.client", http.client.IncompleteRead),
        ("aiohttp", aiohttp.ClientPayloadError),
    ],
)
def test_an_answer_is_cut_in_three_ways_and_recorded_whole(stage, served, client, error):
    def ask(opened: Proxy) -> bytes:
        with pytest.raises(error):
            ASK[client](opened.rest_url)
        return ASK[client](opened.rest_url).body

    seen = in_three_ways(stage, served, lambda faults: faults.cut_answer(5), ask)
    assert seen == [(BODY, ["GET /v1: cut after 5 bytes"], 0)] * 3
    assert [interaction["response"]["body"]["string"] for interaction in stage.interactions] == [BODY.decode()] * 2


def test_a_large_answer_is_cut_in_three_ways_and_recorded_whole(stage):
    class Large(Served):
        body = b"x" * 500_000

    def ask(opened: Proxy) -> int:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ASK["http.client"](opened.rest_url)
        return len(caught.value.partial)

    with Large() as served:
        seen = in_three_ways(stage, served, lambda faults: faults.cut_answer(200_000), ask)
    assert [found for found, _, _ in seen] == [200_000] * 3
    assert [len(interaction["response"]["body"]["string"]) for interaction in stage.interactions] == [500_000]


@pytest.mark.parametrize("client", ["http.client", "aiohttp"])
def test_an_answer_never_comes_in_three_ways_and_nobody_was_asked(stage, served, client):
    def ask(opened: Proxy) -> bytes:
        with pytest.raises(TimeoutError):
            ASK[client](opened.rest_url, 4 * SHORT)
        return ASK[client](opened.rest_url).body

    seen = in_three_ways(stage, served, lambda faults: faults.stall_answer(), ask)
    assert seen == [(BODY, ["GET /v1: never answered"], 0)] * 3
    assert served.asked == ["GET /v1"] * 2


def test_dials_are_refused_in_three_ways(stage, served):
    def dial(opened: Proxy) -> list[Any]:
        with pytest.raises(ConnectionRefusedError):
            ASK["http.client"](opened.rest_url)
        with pytest.raises(ConnectionRefusedError):
            by_a_socket(opened.ws_url)
        opened.faults.accept()
        opened.faults.drop_after(1)
        return [ASK["http.client"](opened.rest_url).body, by_a_socket(opened.ws_url)]

    seen = in_three_ways(stage, served, lambda faults: faults.refuse(), dial)
    both = [BODY, (["one"], "EOF")]
    assert seen == [(both, ["dials are refused", "connection 1: drop after 1 message"], 0)] * 3


def test_a_handshake_is_refused_in_three_ways_and_not_recorded(stage, served):
    def dial(opened: Proxy) -> list[Any]:
        with pytest.raises(InvalidStatus) as caught:
            connect(opened.ws_url)
        response = caught.value.response
        return [response.status_code, response.headers["Retry-After"], by_a_socket(opened.ws_url)]

    def script(faults: Faults) -> None:
        faults.refuse_handshake(status=503, retry_after=3)
        faults.close_after(2)

    seen = in_three_ways(stage, served, script, dial)
    assert [found for found, _, _ in seen] == [[503, "3", (["one", "two"], "CLOSE 1000")]] * 3
    assert len(Recording(stage.session.plan.websocket_path).connections) == 1


def test_a_handshake_that_the_server_refuses_uses_up_nothing_in_three_ways(stage, served):
    def dial(opened: Proxy) -> list[Any]:
        served.rejects = 1
        with pytest.raises(InvalidStatus) as caught:
            connect(opened.ws_url)
        return [caught.value.response.status_code, by_a_socket(opened.ws_url)]

    seen = in_three_ways(stage, served, lambda faults: faults.drop_after(2), dial)
    assert seen == [([404, (["one", "two"], "EOF")], ["connection 2: drop after 2 messages"], 0)] * 3


def test_a_slow_wire_changes_nothing_but_the_time(stage, served):
    def script(faults: Faults) -> None:
        faults.latency(0.005, jitter=0.005)
        faults.bandwidth(20_000)
        faults.close_after(4)

    def both(opened: Proxy) -> list[Any]:
        return [ASK["requests"](opened.rest_url).body, by_a_socket(opened.ws_url)]

    seen = in_three_ways(stage, served, script, both)
    assert [found for found, _, _ in seen] == [[BODY, (list(SAID), "CLOSE 1000")]] * 3
