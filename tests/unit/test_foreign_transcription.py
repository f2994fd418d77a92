"""Foreign traffic becomes events of a recording."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_connex.cassette.events import Closed, Dial, Event, Open, Received, Refused, Rejected, Sent
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.errors import CassetteError
from pytest_connex.foreign.traffic import Exchange, Lost, Traffic
from pytest_connex.foreign.transcription import Transcription
from pytest_connex.secrets.redaction import Redactor

URL = "wss://connex.example/"
HTTP = Exchange(7.0, "GET", "https://connex.example/", (), None, 200, "OK", (), b"")


def transcribe(traffic: Iterable[Traffic]) -> tuple[list[Event], list[Exchange], Transcription]:
    events: list[Event] = []
    exchanges: list[Exchange] = []
    recorder = Recorder(events.append, events.extend, Redactor({}, ("token",)), lambda url: url)
    transcription = Transcription(recorder, exchanges.append)
    for item in traffic:
        transcription.take(item)
    recorder.finish()
    return events, exchanges, transcription


def test_connections_are_numbered_as_they_were_dialled_and_times_begin_with_zero():
    events, exchanges, transcription = transcribe(
        [
            HTTP,
            Dial(9, 100.0, URL, ["v1"], {"Origin": "o"}),
            Open(9, 100.5, 101, "v1", {"X-Served-By": "a"}),
            Dial(4, 101.0, URL),
            Sent(9, 102.0, '{"token": "abc"}'),
            Open(4, 102.0),
            Received(4, 103.0, None, b"\x00"),
            Closed(9, 104.0, "server", 1012, "restart"),
            Lost(4, 105.0),
        ]
    )
    assert events == [
        Dial(1, 0.0, URL, ["v1"], {"Origin": "o"}),
        Open(1, 0.5, 101, "v1", {"X-Served-By": "a"}),
        Dial(2, 1.0, URL),
        Sent(1, 2.0, '{"token": "connex-recorded-token"}'),
        Open(2, 2.0),
        Received(2, 3.0, None, b"\x00"),
        Closed(1, 4.0, "server", 1012, "restart"),
        Closed(2, 5.0, "network", 1006),
    ]
    assert exchanges == [HTTP]
    assert (transcription.connections, transcription.messages, transcription.lost) == (2, 2, 1)


@pytest.mark.parametrize(
    "end",
    [
        Closed(1, 9.0, "client", 1011, "keepalive ping timeout", no_pong_since=3.0, no_close=True, pongs=2),
        Closed(1, 9.0, "network", 1006, no_pong_since=3.0, reset=True),
        Closed(1, 9.0, "client", 1000, no_close=True, hung_up=True),
    ],
    ids=["no pong any more", "no pong ever", "hung up"],
)
def test_what_the_server_did_not_answer_stays_what_it_was(end):
    events, _, _ = transcribe([Dial(1, 0.0, URL), Open(1, 0.0), end])
    assert events[-1] == end


@pytest.mark.parametrize("kind", ["ConnectionRefusedError", "gaierror", "TimeoutError"])
def test_a_refused_dial_stays_what_it_was(kind):
    events, _, _ = transcribe([Dial(1, 1.0, URL), Refused(1, 2.0, kind, 111, "refused")])
    assert events[1] == Refused(1, 1.0, kind, 111, "refused")


def test_a_rejected_handshake_stays_what_it_was():
    events, _, _ = transcribe([Dial(1, 1.0, URL), Rejected(1, 2.0, 429, {"Retry-After": "1"}, "slow down")])
    assert events[1] == Rejected(1, 1.0, 429, {"Retry-After": "1"}, "slow down")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Closed(5, 2.0, "server", 999), "connection 1: 999 is no close code"),
        (Rejected(5, 2.0, 101), "connection 1: 101 is no status that a handshake is rejected with"),
    ],
)
def test_what_no_client_could_have_seen_is_refused(end, said):
    opened = [Open(5, 1.0)] if isinstance(end, Closed) else []
    with pytest.raises(CassetteError, match=said):
        transcribe([Dial(5, 1.0, URL), *opened, end])
