"""Whatever bytes a recording holds: its events, or one error that says where it is bad. Nothing else is raised."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.events import Closed, Dial, End, Event, Open, Received, Refused, Rejected, Sent
from pytest_connex.cassette.http_file import read_http
from pytest_connex.cassette.http_writing import HttpWriter
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.errors import CassetteError
from pytest_connex.secrets.redaction import Redactor

from .stage import HEADER, HOST

URL = f"{HOST}/"
EVENTS: list[Event] = [
    Dial(1, 0.0, URL, ["v1"], {"X-Mine": "1"}),
    Dial(2, 0.0, URL),
    Open(1, 0.1, subprotocol="v1", headers={"X-Session": "7"}),
    Rejected(2, 0.1, 429, {"Retry-After": "2"}, "slow down"),
    Sent(1, 0.2, '{"id": 1, "price": 1.10}'),
    Received(1, 0.3, "é\u2028\x00"),
    Dial(3, 0.3, URL),
    Received(1, 0.3, None, b"\x00\xff"),
    Refused(3, 0.4, "ConnectionRefusedError", 111, "Connection refused"),
    Closed(1, 0.5, "server", 1012, "restart"),
]
LINES = [*map(msgspec.json.encode, (HEADER, *EVENTS)), msgspec.json.encode(End(len(EVENTS)))]
GOOD = b"\n".join(LINES) + b"\n"

HTTP = """\
connex:
  interactions: 2
  recorded_at: '2026-11-23T15:00:00Z'
interactions:
- request:
    body: null
    headers:
      Accept:
      - '*/*'
    method: GET
    uri: https://rest.connex.invalid/v1/status
  response:
    body:
      string: '{"status": "healthy", "price": 1.10}'
    headers:
      Content-Type:
      - application/json
    status:
      code: 200
      message: OK
- request:
    body: !!binary |
      AAEC/w==
    headers: {}
    method: POST
    uri: https://rest.connex.invalid/v1/order
  response:
    body:
      string: ''
    headers: {}
    status:
      code: 429
      message: "slow d\\u00f6wn"
version: 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


def read_whole(path: Path) -> None:
    """Read everything there is in a recording."""
    for connection in Recording(path).connections:
        assert connection.ended
        assert len(list(connection.sent())) == connection.sent_count
        received = [event for _, event in connection.events() if type(event) is Received]
        assert len(received) == connection.received_count
        for _, event in connection.events():
            assert event.conn == connection.number


def reads_or_refuses(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        read_whole(path)
    except CassetteError as error:
        assert type(error) is CassetteError
        assert error.path == path
        assert error.line is not None
        assert 1 <= error.line <= data.count(b"\n") + 2
        assert str(error).startswith(f"{path}:{error.line}: ")


def http_reads_or_refuses(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        document = read_http(path)
    except CassetteError as error:
        assert type(error) is CassetteError
        assert error.path == path
        assert error.line is None or 1 <= error.line <= len(re.split(b"[\r\n\x85\xa8\xa9]", data)) + 1
        assert str(error).startswith(f"{path}:")
    else:
        assert isinstance(document["interactions"], list)


# --- Mutations --------------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([10**30, -(10**30), 1e308, "", "AAEC/w==", "\x00", "client", 1006, 1, 2, 3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


NASTY = [b"\x00", b"\n", b"\r\n", b"\r", b'"', b"\\", b"\xff", b"{"]


@st.composite
def flipped(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes changed, put in or taken out."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(changed) - 1))
        new = draw(st.binary(max_size=3) | st.sampled_from(NASTY))
        changed[place : place + draw(st.integers(0, 3))] = new
        if not changed:
            break
    return bytes(changed)


@st.composite
def rearranged(draw: st.DrawFn, lines: list[bytes]) -> bytes:
    """Lines missing, doubled or swapped, and the count made right again, or not."""
    changed = list(lines)
    for _ in range(draw(st.integers(1, 4))):
        if not changed:
            break
        at = draw(st.integers(0, len(changed) - 1))
        match draw(st.sampled_from(["delete", "double", "swap", "move"])):
            case "delete":
                del changed[at]
            case "double":
                changed.insert(at, changed[at])
            case "swap":
                other = draw(st.integers(0, len(changed) - 1))
                changed[at], changed[other] = changed[other], changed[at]
            case "move":
                changed.insert(draw(st.integers(0, len(changed) - 1)), changed.pop(at))
    if changed and draw(st.booleans()):
        changed[-1] = msgspec.json.encode(End(len(changed) - 2))
    return draw(st.sampled_from([b"\n", b"\r\n"])).join(changed)


@st.composite
def with_other_values(draw: st.DrawFn, lines: list[bytes]) -> bytes:
    """Members of any JSON, left out or new, in lines that are still JSON."""
    changed = list(lines)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(changed) - 1))
        members = json.loads(changed[at])
        name = draw(st.sampled_from([*members, "text", "binary", "more"]))
        if draw(st.booleans()):
            members[name] = draw(values)
        else:
            members.pop(name, None)
        changed[at] = json.dumps(members, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")
    return b"\n".join(changed)


any_bytes = st.binary() | st.lists(st.sampled_from(LINES) | st.binary(max_size=30)).map(b"\n".join)


@given(any_bytes | flipped(GOOD) | rearranged(LINES) | with_other_values(LINES))
def test_any_bytes_are_events_or_one_error_with_file_and_line(folder: Path, data: bytes) -> None:
    reads_or_refuses(folder / "any.ws.jsonl", data)


@given(st.integers(0, len(GOOD) - 2))
def test_a_recording_cut_anywhere_is_refused(folder: Path, length: int) -> None:
    path = folder / "cut.ws.jsonl"
    path.write_bytes(GOOD[:length])
    with pytest.raises(CassetteError):
        read_whole(path)


HTTP_LINES = HTTP.encode().splitlines()
OTHERS = "interactions:|- request:|version: 1|&a x|*a|<<: *a|!!int ''|!!bool x|!!timestamp x|? [a]|? {a: b}|[|{"
http_tokens = st.sampled_from([*HTTP_LINES, *OTHERS.encode().split(b"|")])


@given(
    st.binary()
    | st.text(max_size=60).map(str.encode)
    | st.lists(http_tokens, max_size=12).map(b"\n".join)
    | flipped(HTTP.encode())
    | rearranged(HTTP_LINES)
)
def test_any_bytes_are_interactions_or_one_error_with_the_file(folder: Path, data: bytes) -> None:
    http_reads_or_refuses(folder / "any.yaml", data)


@given(st.integers(0, len(HTTP) - 2))
def test_an_http_recording_cut_anywhere_is_refused(folder: Path, length: int) -> None:
    path = folder / "cut.yaml"
    path.write_text(HTTP[:length])
    with pytest.raises(CassetteError):
        read_http(path)


# --- Bad input, one by one ---------------------------------------------------------------------------------


def refusal(path: Path, data: bytes) -> CassetteError:
    path.write_bytes(data)
    with pytest.raises(CassetteError) as caught:
        read_whole(path)
    assert type(caught.value) is CassetteError
    assert caught.value.path == path
    return caught.value


def with_events(*events: Event) -> bytes:
    return b"\n".join(map(msgspec.json.encode, (HEADER, *events, End(len(events)))))


def with_line(number: int, line: bytes) -> bytes:
    """The good recording with another line in place of line ``number``."""
    return b"\n".join([*LINES[: number - 1], line, *LINES[number:]])


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (with_line(1, LINES[0].replace(b'"version":2', b'"version":3')), 1, "'connex-ws' version 3; this release"),
        (b"\n".join(LINES[1:]), 1, "not the header"),
        (b"\n".join(LINES[:-1]), 11, "truncated: its last line must be the end event"),
        (with_line(12, b'{"event":"end","events":9}'), 12, "the end event counts 9 events, found 10"),
        (with_line(12, b'{"event":"end","events":11}'), 12, "the end event counts 11 events, found 10"),
        (with_events(Dial(1, 0.0, URL), Dial(1, 0.0, URL)), 3, "connection 1 is dialled where 2 was expected"),
        (with_events(Sent(1, 0.0, "x")), 2, "connection 1 has not been dialled"),
        (with_events(Dial(1, 0.0, URL), Sent(1, 0.0, "x")), 3, "connection 1 is not open"),
        (with_events(Dial(1, 0.0, URL), Received(1, 0.0, "x")), 3, "connection 1 is not open"),
        (with_events(*EVENTS[:1], *EVENTS[2:3], EVENTS[9], Sent(1, 0.5, "x")), 5, "connection 1 has ended already"),
        (with_events(*EVENTS[:6], Received(1, 0.29, "x")), 8, "time runs backwards, from 0.3 to 0.29"),
        (with_line(9, b'{"event":"received","conn":1,"at":0.3,"binary":"A*=="}'), 9, "Invalid base64"),
        (with_line(9, b'{"event":"received","conn":1,"at":0.3,"binary":"AAA"}'), 9, "Invalid base64"),
        (with_line(6, LINES[5].replace(b"0.2", b"0.2\x00")), 6, "not an event: JSON is malformed"),
        (GOOD.replace(b"\n", b"\x00\n", 2), 1, "not the header"),
        (b"\x00" * 5_000, 1, "not the header"),
        (with_line(6, b'{"deep":' + DEEP + b',"event":"sent","conn":1,"at":0.2,"text":"x"}'), 6, "not an event"),
        (with_line(1, b'{"deep":' + DEEP + b"}"), 1, "not the header"),
        (with_line(6, b"\xff\xfe" + LINES[5]), 6, "not an event"),
        (with_line(6, b'{"event":"sent","conn":1,"at":0.2,"text":"\\ud800"}'), 6, "not an event"),
        (with_line(6, b'{"event":"sent","conn":1,"at":NaN,"text":"x"}'), 6, "not an event"),
        (with_line(6, b'{"event":"sent","conn":1,"at":1e999,"text":"x"}'), 6, "not an event"),
    ],
    ids=[
        "version-3", "no-header", "no-end", "end-counts-less", "end-counts-more", "same-number-twice",
        "before-dial", "sent-before-open", "received-before-open", "after-closed", "time-runs-backwards",
        "no-base64", "base64-cut", "nul-in-line", "nul-after-lines", "nul-only", "deep-line", "deep-header",
        "not-utf-8", "half-a-character", "not-a-number", "infinite",
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_its_line(tmp_path: Path, data: bytes, line: int, said: str) -> None:
    error = refusal(tmp_path / "bad.ws.jsonl", data)
    assert error.line == line
    assert said in str(error)


def test_carriage_returns_within_a_line_are_white_space(tmp_path: Path) -> None:
    path = tmp_path / "tape.ws.jsonl"
    path.write_bytes(with_line(6, LINES[5].replace(b',"conn"', b',\r"conn"')))
    read_whole(path)
    assert [line for line, _ in Recording(path).connections[0].sent()] == [6]


@pytest.mark.parametrize("data", [GOOD.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + GOOD], ids=["crlf", "bom"])
def test_windows_line_ends_and_a_byte_order_mark_are_accepted(tmp_path: Path, data: bytes) -> None:
    path, plain = tmp_path / "tape.ws.jsonl", tmp_path / "plain.ws.jsonl"
    path.write_bytes(data)
    plain.write_bytes(GOOD)
    read_whole(path)
    assert Recording(path).header == HEADER
    assert contents(path) == contents(plain)


def contents(path: Path) -> list[object]:
    return [(connection.dial, list(connection.events())) for connection in Recording(path).connections]


LONG = 5_000_000
"""The length of a long line; one of 500 MB was tried by hand, and was read and refused as this one is."""


def test_a_long_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.ws.jsonl"
    path.write_bytes(with_events(EVENTS[0], EVENTS[2], Received(1, 0.3, "x" * LONG), EVENTS[9]))
    [connection] = Recording(path).connections
    assert [len(event.payload) for _, event in connection.events() if isinstance(event, Received)] == [LONG]


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"x" * LONG, 1), (with_line(6, b'"' + b"x" * LONG), 6), (with_line(6, LINES[5][:-2] + b"x" * LONG), 6)],
    ids=["only", "not-an-object", "cut"],
)
def test_a_long_bad_line_is_refused_and_not_shown_whole(tmp_path: Path, data: bytes, line: int) -> None:
    error = refusal(tmp_path / "long.ws.jsonl", data)
    assert error.line == line
    assert len(str(error)) < 1_000


@pytest.mark.parametrize("read", [Recording, read_http])
def test_a_folder_in_place_of_the_file_is_an_error_with_its_path(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with pytest.raises(CassetteError, match=re.escape(f"{tmp_path}: the recording cannot be read: ")) as caught:
        read(tmp_path)
    assert "Is a directory" in str(caught.value)
    assert caught.value.path == tmp_path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("read", [Recording, read_http])
def test_a_file_without_read_permission_is_an_error_with_its_path(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "shut"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(CassetteError, match="the recording cannot be read: .*Permission denied") as caught:
        read(path)
    assert caught.value.path == path


@pytest.mark.parametrize(("read", "opening"), [(Recording, "open"), (read_http, "read_text")])
def test_a_file_that_the_system_does_not_open_is_an_error_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object], opening: str
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "shut"))

    monkeypatch.setattr(Path, opening, refuse)
    with pytest.raises(CassetteError, match="the recording cannot be read: .*Permission denied") as caught:
        read(tmp_path / "shut")
    assert caught.value.path == tmp_path / "shut"


# --- Bad HTTP recordings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary é", "!!python/object:os.system x", "*nobody",
     "9" * 5_000, "2026-99-99", '"\\ud800"', "\x07", "[" * 1_500 + "]" * 1_500],
    ids=["int", "float", "bool", "timestamp", "binary", "python", "alias", "digits", "date", "half", "bell", "deep"],
)  # fmt: skip
def test_values_that_yaml_cannot_have_are_refused_with_their_line(tmp_path: Path, value: str) -> None:
    http_reads_or_refuses(tmp_path / "bad.yaml", HTTP.replace("version: 1", f"note: {value}\nversion: 1").encode())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"interactions: []\n{HTTP.replace('method', 'methods')}", 6),
        (f"interactions: none\n{HTTP.replace('method', 'methods')}", 6),
        (f"? {{a: b}}\n: c\n{HTTP}", 1),
        (f"---\n{HTTP}---\n{HTTP}", None),
        ("[]\n", 1),
        ("", 1),
        ("\n\n", 1),
    ],
    ids=["interactions-twice", "another-kind-first", "mapping-as-key", "two-documents", "list", "empty", "blank"],
)
def test_an_http_file_of_another_shape_is_refused(tmp_path: Path, text: str, line: int | None) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(CassetteError) as caught:
        read_http(path)
    assert (type(caught.value), caught.value.path) == (CassetteError, path)
    assert line is None or caught.value.line == line


# --- A full disk ------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the temporary files of recordings be the device that is always full."""
    opened = Path.open

    def open_full(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        return opened(Path("/dev/full") if path.suffix == ".tmp" else path, mode, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_full)


needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def record(writer: CassetteWriter, messages: int) -> None:
    for event in [EVENTS[0], EVENTS[2], *[Received(1, 0.3, "x" * 300)] * messages, EVENTS[9]]:
        writer.write(event)
    writer.finish()


@needs_full_device
@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("messages", [1, 1_000])
def test_a_disk_that_is_full_while_recording_is_said_and_the_old_recording_stays(
    tmp_path: Path, messages: int
) -> None:
    path = tmp_path / "tape.ws.jsonl"
    path.write_bytes(GOOD)
    writer = CassetteWriter(path, HEADER, Redactor({}))
    with pytest.raises(CassetteError, match="the recording cannot be written: No space left on device") as caught:
        record(writer, messages)
    writer.discard()
    assert caught.value.path == path
    assert path.read_bytes() == GOOD
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@needs_full_device
@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_is_full_for_http_is_said_and_the_old_recording_stays(tmp_path: Path) -> None:
    path = tmp_path / "test_y.yaml"
    path.write_text(HTTP)
    writer = HttpWriter(path, Redactor({}), {"test": "x"}, 0, [])
    with pytest.raises(CassetteError, match="the recording cannot be written: No space left on device") as caught:
        writer.finish()
    writer.discard()
    assert caught.value.path == path
    assert path.read_text() == HTTP
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
