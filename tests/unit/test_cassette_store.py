"""Reading a recording: complete and in order, or one error that says where it is not."""

from __future__ import annotations

import random
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_connex.cassette import store
from pytest_connex.cassette.events import Closed, Dial, End, Late, Left, Open, Received, Refused, Rejected, Sent
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteError

from .conftest import HEADER, URL, Tape, Write

HEAD = msgspec.json.encode(HEADER)
EVENTS = [
    Dial(1, 0.0, URL),
    Open(1, 0.1),
    Sent(1, 0.2, "hello"),
    Received(1, 0.3, "world"),
    Closed(1, 0.4, "client", 1000),
]


def lines_of(*events: object) -> list[bytes]:
    return [HEAD, *map(msgspec.json.encode, events), msgspec.json.encode(End(len(events)))]


GOOD = lines_of(*EVENTS)
NO_CLOSE_CODES = (-1, 0, 999, 1004, 1015, 2999, 5000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test_y.ws.jsonl"


def refusal(path: Path, data: bytes) -> CassetteError:
    path.write_bytes(data)
    with pytest.raises(CassetteError) as caught:
        Recording(path)
    error = caught.value
    assert type(error) is CassetteError
    assert error.path == path
    assert str(error).startswith(f"{path}:{error.line}: ")
    return error


def events_of(recording: Recording) -> list[list[tuple[int, object]]]:
    return [[(connection.line, connection.dial), *connection.events()] for connection in recording.connections]


def test_a_recording_is_read_with_its_lines(path):
    path.write_bytes(b"\n".join(GOOD) + b"\n")
    recording = Recording(path)
    assert recording.header == HEADER
    assert events_of(recording) == [list(enumerate(EVENTS, start=2))]
    [connection] = recording.connections
    assert list(connection.sent()) == [(4, EVENTS[2])]
    assert (connection.number, connection.sent_count, connection.received_count) == (1, 1, 1)
    assert connection.answer == EVENTS[1]


def test_events_can_be_read_again_and_at_once(path):
    path.write_bytes(b"\n".join(GOOD))
    [connection] = Recording(path).connections
    first, second = connection.events(), connection.events()
    assert list(zip(first, second, strict=True)) == [(pair, pair) for pair in enumerate(EVENTS[1:], start=3)]


def test_a_missing_newline_at_the_end_does_no_harm(path):
    path.write_bytes(b"\n".join(GOOD))
    assert len(Recording(path).connections) == 1


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(path):
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(GOOD) + b"\r\n")
    assert events_of(Recording(path)) == [list(enumerate(EVENTS, start=2))]


def test_empty_lines_after_the_end_do_no_harm(path):
    path.write_bytes(b"\n".join(GOOD) + b"\n\n \n")
    assert len(Recording(path).connections) == 1


def test_a_recording_without_connections_is_a_recording(path):
    path.write_bytes(b"\n".join(lines_of()))
    assert Recording(path).connections == []


def test_a_later_version_is_refused_and_says_what_to_do(path):
    data = b"\n".join([HEAD.replace(b'"version":2', b'"version":3'), *GOOD[1:]])
    error = refusal(path, data)
    assert error.line == 1
    assert "'connex-ws' version 3; this release reads 'connex-ws' version 1 to 2: upgrade pytest-connex" in str(error)


def test_version_1_is_read(path):
    path.write_bytes(b"\n".join([HEAD.replace(b'"version":2', b'"version":1'), *GOOD[1:]]))
    recording = Recording(path)
    assert recording.header.version == 1
    assert events_of(recording) == [list(enumerate(EVENTS, start=2))]


def test_what_came_too_late_and_what_was_left_are_read(path):
    events = [
        Dial(1, 0.0, URL),
        Open(1, 0.1),
        Dial(2, 0.1, URL),
        Closed(1, 0.2, "server", 1012, "", 0.15, False, True),
        Late(1, 0.3, "x"),
        Left(2, 0.4),
        Late(1, 0.5, None, b"y"),
    ]
    path.write_bytes(b"\n".join(lines_of(*events)))
    first, second = Recording(path).connections
    assert [event for _, event in first.events()] == [events[1], events[3], events[4], events[6]]
    assert (first.closing, first.late, first.sent_count) == (events[3], [events[4], events[6]], 0)
    assert (second.answer, second.ended, second.closing) == (events[5], True, None)


def test_another_format_is_refused(path):
    error = refusal(path, b"\n".join([HEAD.replace(b"connex-ws", b"connex-xx"), *GOOD[1:]]))
    assert (error.line, "'connex-xx' version 2" in str(error)) == (1, True)


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b"", 1, "not the header"),
        (b"\n", 1, "not the header"),
        (b"garbage\n", 1, "not the header"),
        (b"\xff\xfe\n", 1, "not the header"),
        (b"\n".join(GOOD[1:]), 1, "not the header"),
        (HEAD, 1, "truncated"),
        (b"\n".join(GOOD[:-1]) + b"\n", 6, "truncated"),
        (b"\n".join(GOOD[:-1]), 6, "truncated"),
        (b"\n".join(GOOD)[:-3], 7, "not an event"),
        (b"\n".join([*GOOD[:3], GOOD[3][:20]]), 4, "not an event"),
        (b"\n".join([*GOOD[:3], b"garbage", *GOOD[3:]]), 4, "not an event: JSON is malformed"),
        (b"\n".join([*GOOD[:3], b"", *GOOD[3:]]), 4, "not an event"),
        (b"\n".join([*GOOD[:3], b'{"event":"sent","conn":1,"at":0.2,"text":"\xff"}', *GOOD[4:]]), 4, "not an event"),
        (b"\n".join([HEAD, HEAD, *GOOD[1:]]), 2, "not an event"),
        (b"\n".join([*GOOD[:-1], b'{"event":"end","events":4}']), 7, "the end event counts 4 events, found 5"),
        (b"\n".join([*GOOD[:-2], GOOD[-1]]), 6, "the end event counts 5 events, found 4"),
        (b"\n".join([*GOOD, GOOD[2]]), 8, "there is more after the end event"),
    ],
    ids=[
        "empty", "empty-line", "garbage", "not-utf-8", "no-header", "header-only", "no-end", "no-end-no-newline",
        "end-cut", "event-cut", "garbage-line", "blank-line", "bad-utf-8-line", "second-header", "end-counts-less",
        "event-lost", "more-after-end",
    ],
)  # fmt: skip
def test_a_file_that_is_no_complete_recording_is_refused_with_its_line(path, data, line, said):
    error = refusal(path, data)
    assert error.line == line
    assert said in str(error)


@pytest.mark.parametrize(
    ("events", "line", "said"),
    [
        ([Open(1, 0.0)], 2, "connection 1 has not been dialled"),
        ([Dial(1, 0.0, URL), Open(2, 0.0)], 3, "connection 2 has not been dialled"),
        ([Dial(2, 0.0, URL)], 2, "connection 2 is dialled where 1 was expected"),
        ([Dial(0, 0.0, URL)], 2, "connection 0 is dialled where 1 was expected"),
        ([Dial(1, 0.0, URL), Dial(1, 0.0, URL)], 3, "connection 1 is dialled where 2 was expected"),
        ([Dial(1, 0.0, URL), Sent(1, 0.0, "x")], 3, "connection 1 is not open"),
        ([Dial(1, 0.0, URL), Received(1, 0.0, "x")], 3, "connection 1 is not open"),
        ([Dial(1, 0.0, URL), Closed(1, 0.0, "server", 1000)], 3, "connection 1 is not open"),
        ([*EVENTS[:2], Open(1, 0.2)], 4, "connection 1 is answered twice"),
        ([*EVENTS[:2], Left(1, 0.2)], 4, "connection 1 is answered twice"),
        ([*EVENTS[:2], Late(1, 0.2, "x")], 4, "connection 1 was not closed before"),
        ([Dial(1, 0.0, URL), Left(1, 0.2), Late(1, 0.2, "x")], 4, "connection 1 was not closed before"),
        ([*EVENTS, Late(1, 0.5)], 7, "a message is either text or binary"),
        ([*EVENTS[:2], Rejected(1, 0.2, 401)], 4, "connection 1 is answered twice"),
        ([*EVENTS, Received(1, 0.5, "late")], 7, "connection 1 has ended already"),
        ([*EVENTS, Closed(1, 0.5, "client", 1000)], 7, "connection 1 has ended already"),
        ([Dial(1, 0.0, URL), Rejected(1, 0.0, 401), Open(1, 0.0)], 4, "connection 1 has ended already"),
        ([Dial(1, 0.0, URL), Refused(1, 0.0, "OSError"), Sent(1, 0.0, "x")], 4, "connection 1 has ended already"),
        ([*EVENTS[:3], Received(1, 0.1999, "x")], 5, "time runs backwards, from 0.2 to 0.1999"),
        ([Dial(1, -1.0, URL)], 2, "time runs backwards, from 0.0 to -1.0"),
        ([*EVENTS[:2], Received(1, 0.2)], 4, "a message is either text or binary"),
        ([*EVENTS[:4], Received(1, 0.3, "x", b"x")], 6, "a message is either text or binary"),
        ([*EVENTS[:2], Sent(1, 0.2)], 4, "a message is either text or binary"),
        ([*EVENTS[:4], Closed(1, 0.4, "server", 1000, "x" * 124)], 6, "the reason of a close has at most 123 bytes"),
        ([*EVENTS[:4], Closed(1, 0.4, "server", 1000, "é" * 62)], 6, "the reason of a close has at most 123 bytes"),
        *[([*EVENTS[:4], Closed(1, 0.4, "server", code)], 6, f"{code} is no close code") for code in NO_CLOSE_CODES],
        ([Dial(1, 0.0, URL), Rejected(1, 0.0, 199)], 3, "199 is no status that a handshake is rejected with"),
        ([Dial(1, 0.0, URL), Rejected(1, 0.0, 600)], 3, "600 is no status that a handshake is rejected with"),
        ([Dial(1, 0.0, "https://ws.connex.invalid/")], 2, "what is dialled is no URL"),
        ([Dial(1, 0.0, "wss://[")], 2, "what is dialled is no URL"),
        (EVENTS[:4], 6, "connection 1 never ends"),
        ([Dial(1, 0.0, URL)], 3, "connection 1 never ends"),
    ],
)
def test_events_out_of_order_are_refused_with_their_line(path, events, line, said):
    error = refusal(path, b"\n".join(lines_of(*events)))
    assert (error.line, said in str(error)) == (line, True)


@pytest.mark.parametrize("what", ["folder", "missing"])
def test_what_cannot_be_opened_is_refused_with_its_path(path, what):
    if what == "folder":
        path.mkdir()
    with pytest.raises(CassetteError, match=re.escape(f"{path}: the recording cannot be read: ")) as caught:
        Recording(path)
    assert (caught.value.path, caught.value.line) == (path, None)


@given(st.binary() | st.lists(st.sampled_from(GOOD) | st.binary(max_size=30)).map(b"\n".join))
@example(b"\n".join(GOOD))
def test_any_bytes_are_a_recording_or_one_error_with_its_path(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.ws.jsonl"
    path.write_bytes(data)
    try:
        recording = Recording(path)
    except CassetteError as error:
        assert error.path == path
        assert error.line is not None
    else:
        assert all(list(connection.events()) for connection in recording.connections)


@given(st.data())
def test_a_good_recording_with_some_bytes_changed_is_read_or_refused(tmp_path_factory, data):
    whole = bytearray(b"\n".join(GOOD))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.ws.jsonl"
    path.write_bytes(whole)
    try:
        recording = Recording(path)
    except CassetteError as error:
        assert error.path == path
    else:
        for connection in recording.connections:
            list(connection.events())


@given(st.integers(0, len(b"\n".join(GOOD)) - 1))
def test_a_recording_cut_anywhere_is_refused(tmp_path_factory, length):
    path = tmp_path_factory.getbasetemp() / "cut.ws.jsonl"
    path.write_bytes(b"\n".join(GOOD)[:length])
    with pytest.raises(CassetteError):
        Recording(path)


def test_interleaved_connections_stream_back_each_its_own(write: Write):
    """Larger than one stretch of reading, in runs of every length."""
    tape, chance = Tape(), random.Random(7)
    expected: dict[int, list[object]] = {}
    conns = [tape.dial() for _ in range(3)]
    for conn in conns:
        tape.opened(conn)
    for number in range(6_000):
        conn = chance.choice(conns) if number % 97 else conns[number % 3]
        kind = tape.sent if chance.random() < 0.2 else tape.received
        kind(conn, f"{number} on {conn}: " + "x" * chance.choice((0, 10, 200)))
    for conn in conns:
        tape.closed(conn)
    for event in tape.events:
        expected.setdefault(event.conn, []).append(event)

    path = write(tape)
    assert path.stat().st_size > 8 * 65_536
    recording = Recording(path)
    lines = path.read_bytes().splitlines()
    for connection in recording.connections:
        found = list(connection.events())
        assert [event for _, event in found] == expected[connection.number][1:]
        assert [event for _, event in connection.sent()] == [
            event for event in expected[connection.number] if isinstance(event, Sent)
        ]
        assert connection.received_count == sum(isinstance(event, Received) for _, event in found)
        assert all(lines[line - 1] == msgspec.json.encode(event) for line, event in found)


def test_reading_one_long_connection_keeps_only_stretches_in_memory(write: Write):
    tape = Tape()
    conn = tape.dial()
    tape.opened(conn).received(conn, *["x" * 300] * 5_000).closed(conn)
    [connection] = Recording(write(tape)).connections
    assert connection.received_count == 5_000
    assert sum(1 for _ in connection.events()) == 5_002
    assert len(list(connection.stretches())) <= 40


def test_nothing_is_read_for_what_was_never_sent(write: Write):
    tape = Tape()
    conn = tape.dial()
    path = write(tape.opened(conn).received(conn, "x").closed(conn))
    [connection] = Recording(path).connections
    path.unlink()
    assert list(connection.sent()) == []


@pytest.mark.parametrize("reason", ["x" * 123, "é" * 61 + "x"], ids=["characters", "bytes"])
def test_a_reason_of_as_many_bytes_as_a_close_can_hold_is_read(path, reason):
    path.write_bytes(b"\n".join(lines_of(*EVENTS[:4], Closed(1, 0.4, "server", 1000, reason))))
    [connection] = Recording(path).connections
    assert connection.closing.reason == reason


@pytest.mark.parametrize("kept", [0, 1, 65_536, 1 << 30])
@pytest.mark.parametrize("before", [0, 1, 300, 3_000])
def test_a_message_is_read_wherever_in_the_file_it_stands(write: Write, monkeypatch, kept, before):
    """Also where all of it, a part, or nothing is kept in memory."""
    monkeypatch.setattr(store, "_KEPT", kept)
    tape = Tape()
    conns = [tape.dial(), tape.dial()]
    for conn in conns:
        tape.opened(conn).received(conn, *["x" * 100] * before)
    for conn in (1, 2, 1):
        tape.sent(conn, f"{conn} at {len(tape.events)}").received(conn, *["y" * 100] * before)
    for conn in conns:
        tape.closed(conn)
    for connection in Recording(write(tape)).connections:
        expected = [
            (line, event) for line, event in enumerate(tape.events, start=2) if event.conn == connection.number
        ]
        sent = [(line, event) for line, event in expected if isinstance(event, Sent)]
        assert list(connection.events()) == expected[1:]
        assert list(connection.sent()) == sent
        assert (connection.first_sent, connection.sent_count) == (sent[0], len(sent))


def test_connections_overlap_that_were_there_at_the_same_time(write: Write):
    tape = Tape()
    conns = [tape.dial(), tape.dial()]
    tape.opened(1).opened(2).closed(1)
    conns.append(tape.dial())
    tape.opened(3).closed(2).closed(3)
    connections = Recording(write(tape)).connections
    overlapping = {(one.number, two.number) for one in connections for two in connections if one.overlaps(two)}
    assert overlapping - {(conn, conn) for conn in conns} == {(1, 2), (2, 1), (2, 3), (3, 2)}


@pytest.mark.parametrize("code", [1000, 1003, 1005, 1006, 1014, 3000, 4999])
def test_the_code_of_a_close_is_read(path, code):
    path.write_bytes(b"\n".join(lines_of(*EVENTS[:4], Closed(1, 0.4, "server", code))))
    [connection] = Recording(path).connections
    assert connection.closing == Closed(1, 0.4, "server", code)


@pytest.mark.parametrize("answer", [Rejected(1, 0.0, 200), Rejected(1, 0.0, 599), Refused(1, 0.0, "OSError")])
def test_an_answer_that_ends_its_connection_is_no_close(path, answer):
    path.write_bytes(b"\n".join(lines_of(Dial(1, 0.0, URL), answer)))
    [connection] = Recording(path).connections
    assert (connection.answer, connection.closing, connection.last_line) == (answer, None, 3)


def test_a_line_that_cannot_be_read_is_told_with_its_cause(path):
    error = refusal(path, b"\n".join([*GOOD[:3], b"garbage", *GOOD[4:]]))
    assert (error.line, type(error.__cause__)) == (4, msgspec.DecodeError)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8080/ws", "wss://ws.connex.invalid"])
def test_a_dial_has_one_of_two_schemes(path, url):
    path.write_bytes(b"\n".join(lines_of(Dial(1, 0.0, url), *EVENTS[1:])))
    [connection] = Recording(path).connections
    assert connection.dial.url == url
