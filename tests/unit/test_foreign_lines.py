"""Lines of a time and a text."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.events import Dial, Open, Received, Sent
from pytest_connex.errors import CassetteError
from pytest_connex.foreign.lines import looks_like_lines, read_lines
from pytest_connex.foreign.traffic import Exchange, Lost, Traffic

FILE = Path("capture.txt")
URL = "wss://connex.example:9443/stream?streams=a@depth/b@trade"
OTHER = "wss://other.example/"


def read(*lines: str) -> list[Traffic]:
    return list(read_lines((f"{line}\n".encode() for line in lines), FILE))


def test_each_kind_of_line_is_what_it_says():
    assert read(
        "https://connex.example/api/depth?limit=5 -> 99.5: {}",
        f"{URL} <-> 100.25",
        f'{URL} <- 101.5: {{"op":"subscribe"}}',
        '102.75: {"a": 1.10, "é": "x"}',
        "103: ",
    ) == [
        Exchange(99.5, "GET", "https://connex.example/api/depth?limit=5", (), None, 200, "OK", (), b"{}"),
        Dial(1, 100.25, URL),
        Open(1, 100.25),
        Sent(1, 101.5, '{"op":"subscribe"}'),
        Received(1, 102.75, '{"a": 1.10, "é": "x"}'),
        Received(1, 103.0, ""),
        Lost(1, 103.0),
    ]


def test_the_next_connection_ends_the_one_before():
    traffic = read(f"{URL} <-> 1", "2: a", f"{OTHER} <-> 3", f"{OTHER} <- 4: b", "5: c")
    assert [(item.conn, type(item)) for item in traffic] == [
        (1, Dial),
        (1, Open),
        (1, Received),
        (1, Lost),
        (2, Dial),
        (2, Open),
        (2, Sent),
        (2, Received),
        (2, Lost),
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))))
def test_any_text_is_kept_to_the_byte(texts):
    traffic = read(f"{URL} <-> 1", *(f"2.5: {text}" for text in texts))
    assert [item.text for item in traffic if isinstance(item, Received)] == texts


def test_empty_lines_are_nothing_and_nothing_is_no_traffic():
    assert read("", f"{URL} <-> 1", "") == [Dial(1, 1.0, URL), Open(1, 1.0), Lost(1, 1.0)]
    assert read("") == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["nonsense"], "capture.txt:1: not a line of this format: expected 'URL <-> EPOCH'"),
        ([f"{URL} <-> 1", '{"cut off": 1}'], "capture.txt:2: not a line of this format"),
        ([f"{URL} <-> 1: text"], "capture.txt:1: not a line of this format"),
        ([f"{URL} <-> 1", "2"], "capture.txt:2: not a line of this format"),
        ([f"{URL} <-> 1", f"{URL} <- 2"], "capture.txt:2: not a line of this format"),
        (["1: a"], "capture.txt:1: no connection is open: a line 'URL <-> EPOCH' opens one"),
        ([f"{URL} <- 1: a"], "capture.txt:1: no connection is open"),
        ([f"{URL} <-> 1", f"{OTHER} <- 2: a"], f"capture.txt:2: sent to {OTHER}, and the connection that is open is"),
        (["ftp://connex.example/ <-> 1"], "capture.txt:1: not the URL of a WebSocket"),
        (["nonsense <-> 1"], "capture.txt:1: not the URL of a WebSocket"),
        ([f"{URL} <-> 1e300"], "capture.txt:1: 1e+300 is no time in epoch seconds"),
        ([f"{URL} <-> 1", "nonsense <- 2: a"], "capture.txt:2: sent to nonsense"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(lines, said):
    with pytest.raises(CassetteError) as caught:
        read(*lines)
    assert str(caught.value).startswith(said)


def test_bytes_that_are_no_text_are_named():
    with pytest.raises(CassetteError) as caught:
        list(read_lines([f"{URL} <-> 1\n".encode(), b"2: \xff\n"], FILE))
    assert str(caught.value) == "capture.txt:2: not UTF-8 at byte 4 of the line: this format holds text only"


@given(st.lists(st.binary(max_size=60)))
def test_any_lines_are_read_or_one_error_says_why(lines):
    try:
        list(read_lines([f"{URL} <-> 1\n".encode(), *lines], FILE))
    except CassetteError as exc:
        assert exc.line is not None


def test_a_long_file_is_read_line_by_line():
    def lines() -> Iterator[bytes]:
        yield f"{URL} <-> 1\n".encode()
        for number in range(50_000):
            yield b"%d: %s\n" % (number, b"x" * 1000)

    tracemalloc.start()
    try:
        count = sum(isinstance(item, Received) for item in read_lines(lines(), FILE))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert peak < 5_000_000  # bytes, of 50 million


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (f"{URL} <-> 1\n".encode(), True),
        (b"\n1633998512.06: {}\n", True),
        (b'{"log": {}}', False),
        (b"4146:9:websocket;", False),
        (b"\xff\xfe", False),
        (b"", False),
    ],
)
def test_the_beginning_tells_the_format(head, is_one):
    assert looks_like_lines(head) is is_one
