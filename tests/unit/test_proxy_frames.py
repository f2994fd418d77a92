"""Frames as bytes: what is read of them, however they are cut, and what is none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode

from pytest_connex.cassette.events import BrokenFrame, NotText
from pytest_connex.proxy.frames import (
    Broken,
    Control,
    FrameReader,
    Head,
    Incoming,
    client_frame,
    close_payload,
    frame_head,
)


def read(data: bytes, sizes: list[int] | None = None, masked: bool = True) -> list[Incoming]:
    """Read bytes in pieces of these sizes, over and over; without any, all at once."""
    reader, found, place = FrameReader(masked), [], 0
    for number in range(len(data) + 1):
        if place >= len(data) or reader.broken:
            break
        size = sizes[number % len(sizes)] if sizes else len(data)
        found += reader.receive(data[place : place + size])
        place += size
    return found


def serialized(opcode: Opcode, data: bytes, final: bool = True, masked: bool = True) -> bytes:
    return Frame(opcode, data, final).serialize(mask=masked)


messages = st.one_of(st.text(max_size=300), st.binary(max_size=300), st.just("x" * 70_000))


@given(st.lists(st.tuples(messages, st.lists(st.integers(0, 300), max_size=3)), max_size=5), st.data())
def test_messages_are_whole_however_they_are_fragmented_and_cut(said, data):
    masked = data.draw(st.booleans())
    raw, expected = b"", []
    for message, cuts in said:
        payload = message.encode() if isinstance(message, str) else message
        places = [0, *sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
        parts = [payload[start:stop] for start, stop in itertools.pairwise(places)]
        for index, part in enumerate(parts):
            kind = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
            raw += serialized(Opcode.CONT if index else kind, part, index == len(parts) - 1, masked)
            raw += serialized(Opcode.PING, b"between", masked=masked)
            expected.append(Control(Opcode.PING, b"between"))
        expected.insert(len(expected) - 1, message)
    sizes = data.draw(st.lists(st.integers(1, 5_000), max_size=5))
    assert read(raw, sizes, masked) == expected


@given(st.binary(max_size=60), st.lists(st.integers(1, 10), max_size=4))
def test_any_bytes_are_read_or_broken_and_nothing_of_what_is_broken_is_lost(raw, sizes):
    whole, cut = read(raw), read(raw, sizes)
    assert [type(item) for item in whole] == [type(item) for item in cut]
    if whole and isinstance(whole[-1], Broken):
        assert raw.endswith(whole[-1].data)
        assert whole[-1].frame == cut[-1].frame == BrokenFrame(whole[-1].data[:2])
        assert whole[-1].reason == cut[-1].reason


MASK = bytes(4)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x83\x80" + MASK, "invalid opcode"),
        (b"\x81\x01a", "incorrect masking"),
        (b"\xc1\x81" + MASK + b"a", "reserved bits must be 0"),
        (b"\xb1\x81" + MASK + b"a", "reserved bits must be 0"),
        (b"\x09\x80" + MASK, "fragmented control frame"),
        (b"\x89\xfe\x00\x7e" + MASK + bytes(126), "control frame too long"),
        (b"\x80\x80" + MASK, "unexpected continuation frame"),
        (b"\x88\x81" + MASK + b"a", "invalid close frame"),
        (b"\x88\x82" + MASK + b"\x00\x01", "invalid close frame"),
        (b"\x88\x83" + MASK + b"\x03\xe8\xff", "invalid close frame"),
    ],
)
def test_what_is_no_frame_is_handed_over_as_it_is(raw, reason):
    before = client_frame(Opcode.TEXT, b"before")
    text, broken = read(before + raw + b"and more")
    assert text == "before"
    assert broken == Broken(reason, BrokenFrame(raw[:2]), raw + b"and more")


def test_what_is_wrong_with_a_frame_is_known_before_all_of_it_has_come():
    reader = FrameReader(masked=True)
    assert reader.receive(b"\x83") == []
    [broken] = reader.receive(b"\xff")
    assert (broken.reason, broken.data, reader.broken) == ("invalid opcode", b"\x83\xff", True)


def test_the_fragments_before_a_broken_frame_are_handed_over_with_it():
    first, second = b"\x01\x81" + MASK + b"a", b"\x00\x82" + MASK + b"bc"
    wrong = b"\x81\x80" + MASK
    [broken] = read(first + second + wrong)
    assert (broken.reason, broken.data) == ("expected a continuation frame", first + second + wrong)


def test_a_text_that_is_no_utf8_is_a_message_of_its_own_kind_and_reading_goes_on():
    found = read(client_frame(Opcode.TEXT, b"\xff") + client_frame(Opcode.TEXT, b"ok"))
    assert found == [NotText(b"\xff"), "ok"]
    assert type(found[0]) is NotText


def test_compressed_messages_are_read_and_written():
    theirs, ours = (PerMessageDeflate(False, False, 12, 12) for _ in range(2))
    frames = [Frame(Opcode.TEXT, b"aaaa" * 100).serialize(mask=False, extensions=[theirs]) for _ in range(2)]
    assert len(client_frame(Opcode.TEXT, b"aaaa" * 100, [ours])) < 50
    reader = FrameReader(masked=False, extensions=[ours])
    assert reader.receive(b"".join(frames)) == ["aaaa" * 100] * 2
    [broken] = reader.receive(b"\xc1\x03\xff\xff\xff")
    assert broken.reason == "decompression failed"


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("final", [True, False])
def test_heads_are_those_of_websockets(size, final):
    for masked in (True, False):
        expected = Frame(Opcode.BINARY, bytes(size), final).serialize(mask=masked)
        head = frame_head(Opcode.BINARY, size, masked, final)
        assert expected.startswith(head)
        assert len(expected) == len(head) + 4 * masked + size


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "bad key"), (1005, "")])
def test_the_payload_of_a_close_is_read_back(code, reason):
    close = Close.parse(close_payload(code, reason))
    assert (close.code, close.reason) == (code, reason)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_the_head_of_a_handshake_ends_with_an_empty_line_wherever_it_is_cut(size):
    raw, head, opening, frames = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x81\x00\r\n\r\n", Head(), b"", b""
    ended = False
    for place in range(0, len(raw), size):
        piece = raw[place : place + size]
        if ended:
            frames += piece
            continue
        before, after = head.split(piece)
        opening += before
        ended = after is not None
        frames += after or b""
    assert (opening, frames) == (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x81\x00\r\n\r\n")
