"""What is written must be able to be played: whole recordings are proven, and whatever is wrong with one is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_connex.cassette.causality import Limits, Order
from pytest_connex.cassette.events import FORMAT, VERSION, Header
from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.http_player import HttpPlayer, HttpRules
from pytest_connex.cassette.http_recorder import HttpRecorder
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.proof import Proof
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.stamps import TapeClock
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.errors import CassetteError, CassetteMismatch
from pytest_connex.secrets.redaction import Redactor

KEY = "AKfYcbwXYZ0123456789abcd"
HOST, LIVE = "https://rest.connex.invalid", "https://gateway.example"
WS = "wss://ws.connex.invalid/"
HEADER = Header(FORMAT, VERSION, "2026-11-23T15:00:00Z", "sandbox", "pytest-connex", "tests/test_x.py::test_y")


class Studio:
    """Records a tape, and proves it."""

    def __init__(self, folder: Path) -> None:
        self.redactor = Redactor({KEY: "connex-recorded-key"}, ("token",))
        self.clock = TapeClock(time.monotonic)
        self.websocket_path, self.http_path = folder / "test_y.ws.jsonl", folder / "test_y.yaml"
        self.writer = CassetteWriter(self.websocket_path, HEADER, self.redactor)
        self.recorder = Recorder(
            self.writer.write, self.writer.write_messages, self.redactor, lambda url: url, self.clock
        )
        self.problems: list[CassetteError] = []
        self.http = HttpRecorder(self.http_path, self.redactor, {"rest": LIVE}, self.clock, self.problems.append)

    def dial(self, url: str = WS) -> int:
        number = self.recorder.dial(self.clock.now(), url)
        self.recorder.opened(number, self.clock.now(), None, {})
        return number

    def sent(self, number: int, *messages: str | bytes) -> None:
        for message in messages:
            self.recorder.sent(number, self.clock.now(), message)

    def received(self, number: int, *messages: str | bytes) -> None:
        for message in messages:
            self.recorder.received(number, self.clock.now(), message)

    def ask(self, path: str = "/a", body: bytes = b"", answer: bytes = b"{}", method: str = "GET") -> None:
        conversation = self.http.asked(HttpRequest(method, LIVE + path, [], body))
        conversation.answered(200, "OK", [])
        conversation.piece(answer)
        conversation.ended("whole")

    def prove(self, damage: Callable[[bytes], bytes] = bytes, http_damage: Callable[[bytes], bytes] = bytes) -> None:
        self.recorder.finish()
        self.http.finish()
        self.writer.finish()
        http = self.http.writer({"test": "test_y"})
        matching = Matching((), ("nonce",))
        proof = Proof(
            Rules(("nonce",), self.redactor, echoed=("nonce",)), HttpRules(matching, self.redactor, {"rest": LIVE})
        )
        try:
            self.writer.finished.write_bytes(damage(self.writer.finished.read_bytes()))
            proof.messages(self.writer.finished, self.websocket_path, self.recorder.passed)
            if http is not None:
                http.finish()
                http.finished.write_bytes(http_damage(http.finished.read_bytes()))
                proof.requests(http.finished, self.http_path, self.http.passed)
            proof.check()
        finally:
            for writer in filter(None, (self.writer, http)):
                writer.discard()
            self.http.close()


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def trading(studio: Studio) -> None:
    """Two connections that are alike but for what is said on them, and requests in between."""
    fills, orders = studio.dial(), studio.dial()
    studio.received(fills, "welcome")
    studio.received(orders, "welcome")
    studio.ask(f"/listen?token=abc&key={KEY}", answer=f'{{"token": "abc", "key": "{KEY}"}}'.encode())
    studio.sent(fills, f'{{"key": "{KEY}"}}', '{"nonce": 1, "do": "listen"}')
    studio.received(fills, '{"nonce": 1, "ok": true}', b"\x00\xff")
    for number in range(2):
        studio.ask("/poll", answer=str(number).encode())
        studio.sent(orders, f'{{"nonce": {number}, "do": "buy"}}')
        studio.received(fills, f"fill {number}")
    studio.recorder.closed(orders, studio.clock.now(), "server", 1012, "restart")
    studio.sent(orders, "too late")
    studio.recorder.closed(fills, studio.clock.now(), "client", 1000, "")
    refused = studio.recorder.dial(studio.clock.now(), WS)
    studio.recorder.refused(refused, studio.clock.now(), ConnectionRefusedError(111, "no"))
    studio.recorder.dial(studio.clock.now(), f"{WS}?token=abc")


def test_a_whole_tape_is_proven(studio):
    trading(studio)
    studio.prove()
    assert studio.problems == []


def test_a_tape_of_one_kind_is_proven(tmp_path):
    for kind in ("websocket", "http", "nothing"):
        studio = Studio(tmp_path)
        if kind == "websocket":
            studio.received(studio.dial(), "x")
        elif kind == "http":
            studio.ask()
        studio.prove()


def test_requests_that_were_answered_in_another_order_are_proven(studio):
    first, second = (studio.http.asked(HttpRequest("GET", f"{LIVE}/a", [], b"")) for _ in range(2))
    for conversation, answer in ((second, b"2"), (first, b"1")):
        conversation.answered(200, "OK", [])
        conversation.piece(answer)
        conversation.ended("whole")
    studio.prove()


def test_a_connection_that_a_test_joins_is_proven(studio):
    number = studio.recorder.joined(studio.clock.now(), WS, "feed", 3)
    studio.received(number, "x")
    studio.recorder.parted(number, studio.clock.now())
    studio.prove()


kinds = st.sampled_from(["dial", "sent", "received", "ask", "close"])
actions = st.lists(st.tuples(kinds, st.integers(0, 2), st.sampled_from("ab")), max_size=14)


@settings(deadline=None)
@given(actions)
def test_whatever_passed_is_proven(steps):
    with TemporaryDirectory() as folder:
        studio = Studio(Path(folder))
        conns: list[int] = []
        for kind, which, text in steps:
            if kind == "dial":
                conns.append(studio.dial())
            elif kind == "ask":
                studio.ask(f"/{text}", answer=str(which).encode())
            elif conns:
                conn = conns[which % len(conns)]
                if kind == "close":
                    studio.recorder.closed(conn, studio.clock.now(), ("client", "server", "network")[which], 1000, "")
                else:
                    getattr(studio, kind)(conn, text)
        studio.prove()


# --- What is wrong --------------------------------------------------------------------------------------------


def without_line(number: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        del lines[number]
        lines[-1] = b'{"event":"end","events":%d}\n' % (len(lines) - 2)
        return b"".join(lines)

    return damage


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (4, "Messages(dials=1, sent=1, received=1, size=5) where Messages(dials=1, sent=1, received=2, size=8)"),
        (3, "Messages(dials=1, sent=0, received=2, size=6) where Messages(dials=1, sent=1, received=2, size=8)"),
    ],
)
def test_a_lost_message_is_found(studio, line, said):
    conn = studio.dial()
    studio.sent(conn, "hi")
    studio.received(conn, "one", "two")
    with pytest.raises(CassetteError) as caught:
        studio.prove(without_line(line))
    assert str(caught.value) == f"{studio.websocket_path}: the recording is not what passed: {said} was expected"


def test_a_shortened_message_is_found(studio):
    studio.received(studio.dial(), "one")
    with pytest.raises(CassetteError, match=r"size=2\) where .*size=3\) was expected"):
        studio.prove(lambda data: data.replace(b'"one"', b'"on"'))


def test_a_lost_end_is_found_and_named_by_its_place(studio):
    studio.received(studio.dial(), "one")
    with pytest.raises(CassetteError) as caught:
        studio.prove(lambda data: data[:-10])
    assert str(caught.value).startswith(
        f"what was recorded cannot be played: {studio.websocket_path}:6: not an event"
    )
    assert (caught.value.path, caught.value.line) == (studio.websocket_path, 6)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda data: data.replace(b'"12345"', b'"1234"'),
            "Requests(asked=1, size=4) where Requests(asked=1, size=5)",
        ),
        (lambda data: data[:-20], "cannot be played: "),
    ],
)
def test_a_shortened_answer_is_found(studio, damage, said):
    studio.ask(answer=b"12345")
    with pytest.raises(CassetteError) as caught:
        studio.prove(http_damage=damage)
    assert said in str(caught.value)
    assert caught.value.path == studio.http_path
    assert ".tmp" not in str(caught.value)


def test_a_request_that_does_not_find_its_answer_is_found(studio, monkeypatch):
    studio.ask("/a?key=1")
    monkeypatch.setattr(Redactor, "text", lambda self, text: text.replace("key=", "keys="))
    with pytest.raises(CassetteError, match="keys=1 is not recorded, or was played already"):
        studio.prove()


def test_a_request_that_finds_the_answer_of_another_is_found(studio, monkeypatch):
    for number in range(2):
        studio.ask(body=b'{"nonce": %d}' % number, method="POST")
    ask = HttpPlayer.ask

    def last_first(self, request, upstream="rest"):
        for places in self._places.values():
            places.reverse()
        return ask(self, request, upstream)

    monkeypatch.setattr(HttpPlayer, "ask", last_first)
    with pytest.raises(
        CassetteError, match=rf"POST {HOST}/a, asked at 0 s, would get the answer to the same request"
    ):
        studio.prove()


def test_a_message_that_does_not_match_any_more_is_found(studio, monkeypatch):
    studio.sent(studio.dial(), "hello")
    sent = Player.dial

    def expecting(self, *asked):
        playback = sent(self, *asked)
        for track in playback.tracks:
            track.expected = (track.expected[0], replace_text(track.expected[1]))
        return playback

    monkeypatch.setattr(Player, "dial", expecting)
    with pytest.raises(CassetteError, match="the client sent another message than the recording expects") as caught:
        studio.prove()
    assert type(caught.value.__cause__) is CassetteMismatch


def replace_text(sent):
    import msgspec

    return msgspec.structs.replace(sent, text="other")


def test_a_connection_that_becomes_another_is_found(studio, monkeypatch):
    for name in "xy":
        studio.received(studio.dial(), f"welcome {name}")
    place = Player._place

    def from_the_end(self, playback, seen):
        playback.tracks.reverse()
        return place(self, playback, seen)

    monkeypatch.setattr(Player, "_place", from_the_end)
    with pytest.raises(CassetteError, match="connection 1 would be played from the recording of connection 2"):
        studio.prove()


def test_a_connection_that_would_wait_for_ever_is_found(studio, monkeypatch):
    studio.received(studio.dial(), "x")
    monkeypatch.setattr(Order, "limits", lambda self, connection: Limits(3, 1e9))
    with pytest.raises(CassetteError, match="connection 1 would wait for ever, until the client closes"):
        studio.prove()


def test_an_answer_that_would_wait_for_ever_is_found(studio, monkeypatch):
    studio.ask()
    monkeypatch.setattr(Order, "is_due", lambda self, at: False)
    monkeypatch.setattr(Order, "awaited_by_answer", lambda self, at: "something happens")
    with pytest.raises(
        CassetteError, match=f"the answer to GET {HOST}/a would wait for ever, until something happens"
    ):
        studio.prove()


def test_a_connection_that_cannot_be_joined_is_found(studio, monkeypatch):
    studio.recorder.joined(studio.clock.now(), WS, "feed", 3)
    monkeypatch.setattr(Player, "join", lambda self, fixture, number: None)
    with pytest.raises(CassetteError, match="connection 1 does not go on with that of feed"):
        studio.prove()


@pytest.mark.parametrize("count", [3000])
def test_every_line_is_looked_at_a_few_times_only(studio, count, monkeypatch):
    conns = [studio.dial(f"{WS}{number}") for number in range(3)]
    for number in range(count):
        studio.received(conns[number % 3], "x")
    for number in range(count // 10):
        studio.sent(conns[0], "y")
        studio.ask(f"/{number}")
    looked: list[object] = []
    limits = Order.limits
    monkeypatch.setattr(Order, "limits", lambda self, conn: looked.append(conn) or limits(self, conn))
    studio.prove()
    assert len(looked) < 4 * count
