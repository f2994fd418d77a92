"""The lines of a recording: what each looks like on disk, and what is no such line."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.events import (
    Closed,
    Dial,
    End,
    Event,
    Header,
    Late,
    Left,
    Open,
    Received,
    Refused,
    Rejected,
    Sent,
    fields,
    headers_of,
)

LINES = [
    (
        Dial(1, 0.0, "wss://ws.connex.invalid/", ["v1"], {"Origin": "x"}),
        b'{"event":"dial","conn":1,"at":0.0,"url":"wss://ws.connex.invalid/","subprotocols":["v1"],"headers":{"Origin":"x"}}',
    ),
    (Dial(2, 0.5, "wss://h/"), b'{"event":"dial","conn":2,"at":0.5,"url":"wss://h/"}'),
    (Open(1, 0.1), b'{"event":"open","conn":1,"at":0.1}'),
    (Open(1, 0.1, 101, "v1"), b'{"event":"open","conn":1,"at":0.1,"subprotocol":"v1"}'),
    (
        Rejected(1, 0.2, 429, {"Retry-After": "2"}, "slow"),
        b'{"event":"rejected","conn":1,"at":0.2,"status":429,"headers":{"Retry-After":"2"},"body":"slow"}',
    ),
    (
        Refused(1, 0.3, "ConnectionRefusedError", 111, "no"),
        b'{"event":"refused","conn":1,"at":0.3,"error":"ConnectionRefusedError","errno":111,"message":"no"}',
    ),
    (Sent(1, 0.4, '{"a": 1.10}'), b'{"event":"sent","conn":1,"at":0.4,"text":"{\\"a\\": 1.10}"}'),
    (Received(1, 0.5, None, b"\x00\xff"), b'{"event":"received","conn":1,"at":0.5,"binary":"AP8="}'),
    (
        Closed(1, 0.6, "server", 1012, "restart"),
        b'{"event":"closed","conn":1,"at":0.6,"by":"server","code":1012,"reason":"restart"}',
    ),
    (
        Rejected(1, 0.2, 302, {"Set-Cookie": ["a", "b"]}, binary=b"\xff", reason="Found"),
        b'{"event":"rejected","conn":1,"at":0.2,"status":302,"headers":{"Set-Cookie":["a","b"]},"binary":"/w==","reason":"Found"}',
    ),
    (Left(1, 9.5), b'{"event":"left","conn":1,"at":9.5}'),
    (Late(1, 0.7, "x"), b'{"event":"late","conn":1,"at":0.7,"text":"x"}'),
    (
        Closed(1, 40.5, "client", 1011, "keepalive ping timeout", 20.25, True),
        b'{"event":"closed","conn":1,"at":40.5,"by":"client","code":1011,"reason":"keepalive ping timeout",'
        b'"no_pong_since":20.25,"no_close":true}',
    ),
    (
        Closed(1, 0.6, "network", 1006, reset=True),
        b'{"event":"closed","conn":1,"at":0.6,"by":"network","code":1006,"reset":true}',
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=lambda value: type(value).__name__)
def test_an_event_is_this_line_and_the_line_this_event(event, line):
    assert msgspec.json.encode(event) == line
    assert msgspec.json.decode(line, type=Event) == event


def test_the_end_counts_the_events():
    assert msgspec.json.encode(End(12)) == b'{"event":"end","events":12}'


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"closed","conn":1,"at":0.6,"by":"nobody","code":1000}',
        b'{"event":"sent","conn":1,"at":"now","text":""}',
        b'{"event":"sent","conn":1.5,"at":0,"text":""}',
        b'{"event":"sent","conn":1,"at":0,"text":"","extra":1}',
        b'{"event":"sent","conn":1,"at":0,"binary":"not base64!"}',
        b'{"event":"dial","conn":1,"at":0}',
        b'{"event":"other","conn":1,"at":0}',
        b'{"conn":1,"at":0}',
        b"[]",
    ],
)
def test_what_is_no_event_is_not_read_as_one(line):
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line, type=Event)


def test_a_header_takes_no_unknown_member():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(
            b'{"format":"connex-ws","version":1,"recorded_at":"","source":"","generator":"","test":"","more":1}',
            type=Header,
        )


def test_an_empty_text_message_is_text():
    event = msgspec.json.decode(msgspec.json.encode(Received(1, 0.0, "", None)), type=Event)
    assert event.payload == ""


def test_an_empty_binary_message_is_bytes():
    event = msgspec.json.decode(msgspec.json.encode(Received(1, 0.0, None, b"")), type=Event)
    assert event.payload == b""


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.binary())
def test_any_message_comes_back_as_it_was(message):
    text, binary = (message, None) if isinstance(message, str) else (None, message)
    line = msgspec.json.encode(Sent(1, 0.0, text, binary))
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Event).payload == message


@given(st.lists(st.tuples(st.sampled_from("abA"), st.text(max_size=2))))
def test_repeated_headers_stay_repeated(pairs):
    held = headers_of(pairs)
    assert sorted(fields(held), key=lambda pair: pair[0]) == sorted(pairs, key=lambda pair: pair[0])
    assert all(isinstance(value, str) or len(value) > 1 for value in held.values())


def test_the_body_of_a_rejection_is_bytes_whatever_it_is_written_as():
    assert Rejected(1, 0.0, 401, body="ü").content == "ü".encode()
    assert Rejected(1, 0.0, 401, binary=b"\xff").content == b"\xff"
