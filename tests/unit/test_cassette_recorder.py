"""What happens on the wire, as numbered, timed, redacted events."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from pytest_connex.cassette import recorder as recorder_module
from pytest_connex.cassette.events import Closed, Dial, Event, Late, Left, Open, Received, Refused, Rejected, Sent
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.stamps import TapeClock
from pytest_connex.config import RECORDED_WS_URL, canonical_url
from pytest_connex.secrets.learning import LearningRedactor
from pytest_connex.secrets.redaction import LONG as LENGTH
from pytest_connex.secrets.redaction import Redactor

from .conftest import URL

KEY = "AKfYcbwXYZ0123456789abcd"
REDACTOR = Redactor({KEY: "connex-recorded-key"}, ("signature", "token"))
GATEWAY = "wss://gateway.example/ws"


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def recorder(events: list[Event]) -> Recorder:
    return Recorder(events.append, events.extend, REDACTOR, lambda url: canonical_url(url, GATEWAY, RECORDED_WS_URL))


def test_a_connection_is_recorded_from_dial_to_close(recorder, events):
    conn = recorder.dial(100.0, GATEWAY, ["v1"], {"X-Mine": "1"})
    recorder.opened(conn, 100.5, "v1", {"X-Theirs": "2"})
    recorder.sent(conn, 101.0, "hello")
    recorder.received(conn, 101.25, b"\x00")
    recorder.closed(conn, 102.0, "server", 1012, "restart")
    assert events == [
        Dial(1, 0.0, URL, ["v1"], {"X-Mine": "1"}),
        Open(1, 0.5, 101, "v1", {"X-Theirs": "2"}),
        Sent(1, 1.0, "hello", None),
        Received(1, 1.25, None, b"\x00"),
        Closed(1, 2.0, "server", 1012, "restart"),
    ]


def test_connections_are_numbered_as_they_are_dialled(recorder, events):
    first, second = recorder.dial(0.0, GATEWAY), recorder.dial(0.1, GATEWAY)
    recorder.opened(second, 0.2, None, {})
    recorder.opened(first, 0.3, None, {})
    assert (first, second) == (1, 2)
    assert [event.conn for event in events] == [1, 2, 2, 1]


def test_failed_dials_are_recorded(recorder, events):
    first, second = recorder.dial(0.0, GATEWAY), recorder.dial(0.0, GATEWAY)
    recorder.rejected(first, 0.1, 429, {"Retry-After": "2", "Date": "now"}, f"slow down, {KEY}")
    recorder.refused(second, 0.2, ConnectionRefusedError(111, f"Connection of {KEY} refused"))
    assert events[2:] == [
        Rejected(1, 0.1, 429, {"Retry-After": "2"}, "slow down, connex-recorded-key"),
        Refused(2, 0.2, "ConnectionRefusedError", 111, "Connection of connex-recorded-key refused"),
    ]


def test_time_never_runs_backwards(recorder, events):
    conn = recorder.dial(10.0, GATEWAY)
    recorder.opened(conn, 12.0, None, {})
    recorder.sent(conn, 11.0, "x")
    recorder.flush()
    assert [event.at for event in events] == [0.0, 2.0, 2.0]


def test_messages_wait_for_others_and_go_before_what_is_none(recorder, events):
    conn = recorder.dial(0.0, GATEWAY)
    recorder.opened(conn, 0.0, None, {})
    recorder.received(conn, 0.0, "one")
    recorder.sent(conn, 0.0, "two")
    assert len(events) == 2
    recorder.dial(0.0, GATEWAY)
    assert [type(event) for event in events] == [Dial, Open, Received, Sent, Dial]
    recorder.received(conn, 0.0, "x" * 70_000)
    assert type(events[-1]) is Received
    for _ in range(256):
        recorder.received(conn, 0.0, "x")
    assert len(events) == 6 + 256


LONG = "x" * LENGTH


def opened(recorder: Recorder) -> int:
    conn = recorder.dial(0.0, GATEWAY)
    recorder.opened(conn, 0.0, None, {})
    return conn


@pytest.mark.parametrize("long", [LONG, LONG.encode()])
def test_everything_waits_behind_a_long_message_and_keeps_its_order(recorder, events, long):
    """To search it takes a while, in which nothing else would pass."""
    conn = opened(recorder)
    recorder.received(conn, 0.0, "first")
    recorder.received(conn, 0.0, long)
    recorder.flush()
    recorder.sent(conn, 1.0, f"my key is {KEY}")
    second = recorder.dial(2.0, GATEWAY)
    recorder.opened(second, 2.0, None, {})
    recorder.closed(conn, 3.0, "server", 1012, "restart")
    assert [type(event) for event in events] == [Dial, Open, Received]
    recorder.finish()
    assert [type(event) for event in events[2:]] == [Received, Received, Sent, Dial, Open, Closed, Closed]
    assert [event.payload for event in events[2:5]] == ["first", long, "my key is connex-recorded-key"]
    assert (recorder.passed.received, recorder.passed.sent) == (2, 1)


SECRET = "a1b2c3d4e5f6"
TOLD = {
    "text": json.dumps({"token": SECRET}),
    "bytes": json.dumps({"token": SECRET}).encode(),
    "gzip": gzip.compress(json.dumps({"token": SECRET}).encode()),
    "what the dialect reads": b"\xffm" + SECRET.encode(),
}


def read(data: bytes) -> dict[str, str]:
    """Read the messages of some exchange."""
    if not data.startswith(b"\xffm"):
        raise ValueError
    return {"token": data[2:].decode()}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("behind", [True, False])
def test_a_secret_is_known_at_once_that_is_told_behind_a_long_message_or_in_it(events, told, behind):
    redactor = LearningRedactor({KEY: "connex-recorded-key"}, ("token",), decode=read)
    recorder = Recorder(events.append, events.extend, redactor, str)
    conn = opened(recorder)
    if behind:
        recorder.received(conn, 0.0, LONG)
        recorder.received(conn, 0.0, told)
    else:
        recorder.received(conn, 0.0, in_something_long(told))
    recorder.dial(1.0, f"wss://h/ws/{SECRET}")
    recorder.finish()
    assert SECRET not in str(events)
    [url] = [event.url for event in events if isinstance(event, Dial) and event.conn == 2]
    assert url == "wss://h/ws/connex-recorded-token"


def in_something_long(told: str | bytes) -> str | bytes:
    """Return a long message that tells the same."""
    document = json.dumps({"note": LONG, "token": SECRET})
    if isinstance(told, str):
        return document
    if told.startswith(b"{"):
        return document.encode()
    if told.startswith(b"\x1f"):
        noise = random.Random(1).randbytes(len(LONG)).hex()
        return gzip.compress(json.dumps({"note": noise, "token": SECRET}).encode())
    return told


def test_what_comes_behind_a_long_message_is_cleaned_as_it_comes(events, monkeypatch):
    """At the end of the test there is only what is long to be cleaned, however much came behind it."""
    recorder = Recorder(events.append, events.extend, REDACTOR, str)
    searched: list[int] = []
    passes = REDACTOR.passes
    monkeypatch.setattr(REDACTOR, "passes", lambda payloads: searched.append(len(payloads)) or passes(payloads))
    conn = opened(recorder)
    recorder.received(conn, 0.0, LONG)
    for _ in range(1_000):
        recorder.received(conn, 0.0, "x")
    recorder.flush()
    assert (sum(searched), max(searched) < 1_000, len(events)) == (1_000, True, 2)
    recorder.check()
    assert (searched[-1], len(events)) == (1, 2 + 1_001)


def test_only_so_much_waits_behind_a_long_message(recorder, events, monkeypatch):
    monkeypatch.setattr(recorder_module, "_MOST_HELD", 2 * len(LONG))
    conn = opened(recorder)
    for _ in range(3):
        recorder.received(conn, 0.0, LONG)
    assert len(events) == 2 + 3


@pytest.mark.parametrize("message", [f'{{"apiKey": "{KEY}", "signature": "00ff"}}', f"{KEY}&signature=00ff".encode()])
def test_messages_in_both_directions_are_redacted(recorder, events, message):
    conn = recorder.dial(0.0, GATEWAY)
    recorder.opened(conn, 0.0, None, {})
    recorder.sent(conn, 0.0, message)
    recorder.received(conn, 0.0, message)
    recorder.flush()
    assert [event.payload for event in events[2:]] == [REDACTOR.payload(message)] * 2
    assert KEY not in repr(events)
    assert "00ff" not in repr(events)


def test_urls_headers_and_reasons_are_redacted(recorder, events):
    conn = recorder.dial(0.0, f"{GATEWAY}?token=abc&key={KEY}", (), {"Authorization": "Bearer abc", "X-Key": KEY})
    recorder.opened(conn, 0.0, None, {"Set-Cookie": "a=b"})
    recorder.closed(conn, 0.0, "server", 4001, f"bad key {KEY}")
    dial, opened, closed = events
    assert dial.url == f"{URL}?token=connex-recorded-token&key=connex-recorded-key"
    assert dial.headers == {"Authorization": "connex-recorded-authorization", "X-Key": "connex-recorded-key"}
    assert opened.headers == {"Set-Cookie": "a=connex-recorded-a"}
    assert closed.reason == "bad key connex-recorded-key"


def test_headers_of_the_handshake_itself_are_left_out(recorder, events):
    own = ("Connection", "Date", "Host", "Server", "Upgrade", "User-Agent", "Content-Length", "Sec-WebSocket-Accept")
    conn = recorder.dial(0.0, GATEWAY, (), dict.fromkeys(own, "x") | {"X-Mine": "1"})
    recorder.opened(conn, 0.0, None, dict.fromkeys(own, "x"))
    assert (events[0].headers, events[1].headers) == ({"X-Mine": "1"}, {})


def test_nothing_counts_before_a_connection_is_open_or_after_it_ended(recorder, events):
    conn = recorder.dial(0.0, GATEWAY)
    recorder.sent(conn, 0.0, "early")
    recorder.closed(conn, 0.0, "client", 1000, "")
    assert len(events) == 1
    conn = recorder.dial(0.0, GATEWAY)
    recorder.opened(conn, 0.0, None, {})
    recorder.closed(conn, 0.0, "client", 1000, "")
    recorder.received(conn, 0.0, "late")
    recorder.sent(conn, 0.0, "late")
    recorder.closed(conn, 0.0, "server", 1000, "")
    assert [type(event) for event in events[1:]] == [Dial, Open, Closed]


def test_where_a_redirect_leads_has_the_host_that_recordings_carry(recorder, events):
    conn = recorder.dial(0.0, GATEWAY)
    recorder.rejected(conn, 0.0, 302, {"LOCATION": f"{GATEWAY}?a=1", "X-From": GATEWAY}, "")
    assert events[-1].headers == {"LOCATION": f"{URL}?a=1", "X-From": GATEWAY}


def test_a_rejected_dial_has_ended(recorder, events):
    recorder.rejected(recorder.dial(0.0, GATEWAY), 0.0, 401, {}, "")
    recorder.finish()
    assert [type(event) for event in events] == [Dial, Rejected]


def test_finish_passes_on_what_waits(recorder, events):
    conn = recorder.dial(0.0, GATEWAY)
    recorder.opened(conn, 0.0, None, {})
    recorder.sent(conn, 0.0, "last")
    recorder.finish()
    assert [type(event) for event in events] == [Dial, Open, Sent, Closed]


def test_finish_ends_what_is_open_and_what_was_never_answered(recorder, events):
    opened, dialled, closed = (recorder.dial(5.0, GATEWAY) for _ in range(3))
    recorder.opened(opened, 6.0, None, {})
    recorder.opened(closed, 6.5, None, {})
    recorder.closed(closed, 7.0, "client", 1000, "")
    recorder.finish()
    recorder.finish()
    assert events[6:] == [
        Closed(opened, 2.0, "client", 1006),
        Left(dialled, 2.0),
    ]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("x" * 123, "x" * 123), ("x" * 124, "x" * 123), ("é" * 62, "é" * 61), ("é" * 61, "é" * 61)],
    ids=["fits", "too long", "too many bytes", "fits in bytes"],
)
def test_a_reason_is_kept_as_far_as_a_close_can_hold_it(recorder, events, reason, kept):
    conn = recorder.dial(0.0, GATEWAY)
    recorder.opened(conn, 0.0, None, {})
    recorder.closed(conn, 0.0, "server", 1000, reason)
    assert events[-1].reason == kept


# --- What the server did not do, and what nobody got ---------------------------------------------------------


@pytest.fixture
def conn(recorder: Recorder, events: list[Event]) -> int:
    number = recorder.dial(0.0, GATEWAY)
    recorder.opened(number, 1.0, None, {})
    events.clear()
    return number


def test_a_rejection_keeps_its_reason_its_repeated_headers_and_a_body_that_is_no_text(recorder, events):
    headers = [("Set-Cookie", "a=1"), ("X-N", "1"), ("Set-Cookie", "b=2")]
    recorder.rejected(recorder.dial(0.0, GATEWAY), 0.1, 503, headers, b"\xff", "Too busy")
    cookies = ["a=connex-recorded-a", "b=connex-recorded-b"]
    assert events[-1] == Rejected(1, 0.1, 503, {"Set-Cookie": cookies, "X-N": "1"}, "", b"\xff", "Too busy")


def test_a_rejection_in_bytes_that_are_text_is_text(recorder, events):
    recorder.rejected(recorder.dial(0.0, GATEWAY), 0.1, 401, {}, f"ü {KEY}".encode())
    assert events[-1] == Rejected(1, 0.1, 401, {}, "ü connex-recorded-key")


def test_a_dial_that_the_client_gives_up_is_left(recorder, events):
    number = recorder.dial(0.0, GATEWAY)
    recorder.left(number, 10.0)
    recorder.left(number, 11.0)
    recorder.refused(number, 12.0, ConnectionResetError())
    assert events[1:] == [Left(number, 10.0)]


def test_a_connection_that_is_open_cannot_be_left(recorder, events, conn):
    recorder.left(conn, 2.0)
    assert events == []


def test_pings_that_are_not_answered_are_dated_from_the_first_of_them(recorder, events, conn):
    for ping, pong in ((2.0, 2.5), (22.0, None), (42.0, None)):
        recorder.pinged(conn, ping)
        if pong:
            recorder.ponged(conn, pong)
    recorder.closing(conn, 42.0, 1011, "keepalive ping timeout")
    recorder.closed(conn, 52.0, "network", 1006, "", answered=False)
    assert events == [Closed(conn, 52.0, "client", 1011, "keepalive ping timeout", 22.0, True, pongs=1)]


def test_pings_that_are_answered_leave_no_trace(recorder, events, conn):
    recorder.pinged(conn, 2.0)
    recorder.ponged(conn, 2.5)
    recorder.closed(conn, 3.0, "client", 1000, "")
    recorder.pinged(conn, 4.0)
    assert events == [Closed(conn, 3.0, "client", 1000)]


def test_a_close_of_the_client_that_is_answered_is_only_a_close(recorder, events, conn):
    recorder.closing(conn, 2.0, 1000, "done")
    recorder.received(conn, 2.5, "not read any more")
    recorder.sent(conn, 2.5, "not sent any more")
    recorder.closed(conn, 3.0, "server", 1000, "done")
    assert events == [Closed(conn, 3.0, "client", 1000, "done")]


def test_a_reset_is_told_from_an_end(recorder, events, conn):
    recorder.closed(conn, 2.0, "network", 1006, "", reset=True)
    assert events == [Closed(conn, 2.0, "network", 1006, reset=True)]


@pytest.mark.parametrize("by", ["server", "network"])
def test_what_the_client_sends_after_an_end_came_too_late(recorder, events, conn, by):
    recorder.closed(conn, 2.0, by, 1006, "")
    recorder.sent(conn, 3.0, f"hello {KEY}")
    recorder.received(conn, 3.0, "never")
    recorder.finish()
    recorder.sent(conn, 4.0, "after the test")
    assert events[1:] == [Late(conn, 3.0, "hello connex-recorded-key")]


def test_the_clock_of_the_tape_orders_what_two_recorders_note(events):
    now = [10.0]
    clock = TapeClock(lambda: now[0])
    recorder = Recorder(events.append, events.extend, REDACTOR, lambda url: url, clock)
    assert clock.moment() == 0.0
    recorder.opened(recorder.dial(10.0, GATEWAY), 10.0, None, {})
    assert clock.moment() == 0.000002
    now[0] = 11.0
    recorder.finish()
    assert [event.at for event in events] == [0.000001, 0.000001, 1.0]


# --- A connection of a shared fixture ----------------------------------------------------------------------


def test_a_test_goes_on_with_a_connection_of_a_fixture_and_leaves_it_open(recorder, events):
    conn = recorder.joined(1.0, f"{GATEWAY}?token=abc", "@fixture.session.feed", 2)
    recorder.sent(conn, 2.0, "a")
    recorder.received(conn, 3.0, "b")
    recorder.parted(conn, 4.0)
    dial, opened, *messages, end = events
    assert (dial.conn, dial.at, dial.of, dial.number) == (1, 0.0, "@fixture.session.feed", 2)
    assert dial.url == f"{URL}?token=connex-recorded-token"
    assert (type(opened), opened.conn) == (Open, 1)
    assert [message.payload for message in messages] == ["a", "b"]
    assert end == Closed(1, 3.0, "test", 1006)


def test_it_is_numbered_among_the_dials_of_the_test(recorder):
    assert [recorder.dial(0.0, GATEWAY), recorder.joined(0.1, GATEWAY, "f", 1), recorder.dial(0.2, GATEWAY)] == [
        1,
        2,
        3,
    ]


def test_nothing_is_recorded_of_it_once_the_test_is_over(recorder, events):
    conn = recorder.joined(1.0, GATEWAY, "f", 1)
    recorder.parted(conn, 2.0)
    before = list(events)
    recorder.sent(conn, 3.0, "late")
    recorder.received(conn, 3.0, "late")
    recorder.closed(conn, 4.0, "server", 1000, "")
    recorder.parted(conn, 5.0)
    recorder.finish()
    assert events == before


def test_a_connection_that_ended_during_the_test_ends_once(recorder, events):
    conn = recorder.joined(1.0, GATEWAY, "f", 1)
    recorder.closed(conn, 2.0, "server", 1012, "restart")
    recorder.parted(conn, 3.0)
    assert [event.by for event in events if isinstance(event, Closed)] == ["server"]
