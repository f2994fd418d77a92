"""Writing files: whole and without secrets, or not at all."""

from __future__ import annotations

import base64
import errno
import os
import re
from pathlib import Path

import pytest

from pytest_connex.cassette import writing
from pytest_connex.cassette.events import Closed, Dial, Open, Sent
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter, Writer, put_in_place
from pytest_connex.errors import CassetteError, SecretFound
from pytest_connex.secrets.redaction import Redactor

from .conftest import HEADER, URL, left_in

NOTHING = Redactor({})
SECRET = "s3cr3t/with+special=chars=="
LIKE_BASE64 = "Looks+like+base64+really"
REDACTOR = Redactor({SECRET: "connex-recorded-secret"})
EVENTS = [Dial(1, 0.0, URL), Open(1, 0.1), Sent(1, 0.2, "x"), Closed(1, 0.3, "client", 1000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "test_y.ws.jsonl"


def test_a_committed_recording_is_complete_and_alone(path):
    writer = CassetteWriter(path, HEADER, NOTHING)
    for event in EVENTS:
        writer.write(event)
    writer.finish()
    writer.commit()
    assert left_in(path.parent) == ["test_y.ws.jsonl"]
    assert path.read_bytes().splitlines()[-1] == b'{"event":"end","events":4}'
    [connection] = Recording(path).connections
    assert [event for _, event in connection.events()] == EVENTS[1:]


def test_nothing_is_in_its_place_before_the_commit(path):
    writer = CassetteWriter(path, HEADER, NOTHING)
    for event in EVENTS:
        writer.write(event)
    assert not path.exists()
    writer.finish()
    assert not path.exists()
    writer.discard()


@pytest.mark.parametrize("finished", [False, True])
def test_a_discarded_recording_leaves_nothing_behind(path, finished):
    writer = CassetteWriter(path, HEADER, NOTHING)
    writer.write(EVENTS[0])
    if finished:
        writer.finish()
    writer.discard()
    assert left_in(path.parent) == []


def test_discarding_twice_does_no_harm(path):
    writer = CassetteWriter(path, HEADER, NOTHING)
    writer.discard()
    writer.discard()
    assert left_in(path.parent) == []


def test_a_discarded_recording_leaves_the_old_one_as_it_was(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    writer = CassetteWriter(path, HEADER, NOTHING)
    writer.write(EVENTS[0])
    writer.discard()
    assert path.read_bytes() == b"old"
    assert left_in(path.parent) == ["test_y.ws.jsonl"]


def test_a_commit_replaces_the_old_recording(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    writer = CassetteWriter(path, HEADER, NOTHING)
    writer.finish()
    writer.commit()
    assert Recording(path).connections == []


def test_a_file_where_a_folder_is_needed_is_an_error_with_the_path(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "test_y.ws.jsonl"
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        CassetteWriter(path, HEADER, NOTHING)
    assert caught.value.path == path


def test_a_folder_in_place_of_the_recording_is_an_error_and_nothing_is_left(path):
    (path / "in-the-way").mkdir(parents=True)
    writer = CassetteWriter(path, HEADER, NOTHING)
    writer.finish()
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        writer.commit()
    assert caught.value.path == path
    writer.discard()
    assert left_in(path.parent) == ["test_y.ws.jsonl"]


def test_a_full_disk_is_an_error_with_the_path(path):
    writer = Writer(path, NOTHING)
    writer._file.close()
    writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  (the writer closes it)
    writer.write_line(b"x")
    with pytest.raises(CassetteError, match="cannot be written: No space left on device") as caught:
        writer.flush()
    assert caught.value.path == path
    writer.discard()
    assert left_in(path.parent) == []


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "No space left on device. Make room, or choose another folder"),
        (errno.EDQUOT, "Disk quota exceeded. Make room, or choose another folder"),
        (errno.EACCES, "Permission denied. Make the folder writable, or choose another"),
    ],
)
def test_what_stops_the_writing_is_told_with_its_cure(path, monkeypatch, number, cure):
    writer = CassetteWriter(path, HEADER, NOTHING)
    writer.finish()

    def failing(*paths: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writing.os, "replace", failing)
    with pytest.raises(CassetteError, match=re.escape(cure)):
        writer.commit()
    monkeypatch.undo()
    writer.discard()


def test_a_secret_is_refused_with_file_and_line_and_not_said(path):
    writer = CassetteWriter(path, HEADER, REDACTOR)
    writer.write(EVENTS[0])
    writer.write(EVENTS[1])
    writer.write(Sent(1, 0.2, f"my secret is {SECRET}"))
    with pytest.raises(SecretFound) as caught:
        writer.flush()
    assert (caught.value.path, caught.value.line) == (path, 4)
    assert str(caught.value) == f"{path}:4: a secret was left in this line; nothing was written"
    writer.discard()
    assert left_in(path.parent) == []


def test_a_secret_in_the_header_is_refused_at_line_1(path):
    header = type(HEADER)(HEADER.format, 1, "", "live", "", f"test[{SECRET}]")
    with pytest.raises(SecretFound) as caught:
        CassetteWriter(path, header, REDACTOR)
    assert caught.value.line == 1
    assert left_in(path.parent) == []


@pytest.mark.parametrize("length", [99, 9_999])
@pytest.mark.parametrize("inner", [SECRET.encode(), base64.b64decode(LIKE_BASE64)], ids=["itself", "in base64"])
def test_a_binary_message_with_a_secret_is_refused(path, length, inner):
    """Also one in whose base64 it stands."""
    redactor = Redactor({SECRET: "connex-recorded-secret", LIKE_BASE64: "connex-recorded-key"})
    writer = CassetteWriter(path, HEADER, redactor)
    with pytest.raises(SecretFound) as caught:  # noqa: PT012, large ones are searched at once
        writer.write(Sent(1, 0.0, None, bytes(length) + inner + b"\xff"))
        writer.flush()
    assert caught.value.line == 2
    writer.discard()


@pytest.mark.parametrize("length", [99, 9_999])
def test_a_binary_message_without_one_is_written_in_its_place(path, length):
    events = [*EVENTS[:2], Sent(1, 0.1, "a"), Sent(1, 0.2, None, bytes(length)), Sent(1, 0.2, "b"), EVENTS[-1]]
    writer = CassetteWriter(path, HEADER, REDACTOR)
    for event in events:
        writer.write(event)
    writer.finish()
    writer.commit()
    [connection] = Recording(path).connections
    assert [event for _, event in connection.events()] == events[1:]


def test_two_writers_of_one_path_in_one_process_do_not_mix(path):
    """The temporary name has the process in it, so that parallel workers never write into one file."""
    import os

    writer = Writer(path, NOTHING)
    assert left_in(path.parent) == [f".test_y.ws.jsonl.{os.getpid()}.tmp"]
    writer.discard()


def test_many_lines_are_searched_at_once_and_the_one_with_a_secret_is_named(path):
    writer = CassetteWriter(path, HEADER, REDACTOR)

    def write_all() -> None:
        for number in range(3_000):
            writer.write(Sent(1, 0.0, SECRET if number == 700 else f"message {number}"))

    with pytest.raises(SecretFound) as caught:
        write_all()
    assert (writer.lines < 3_000, caught.value.line) == (True, 702)
    writer.discard()


# --- What is put in its place, and taken back ---------------------------------------------------------------


def finished(path: Path, text: str) -> Writer:
    writer = Writer(path, NOTHING)
    for line in text.encode().splitlines():
        writer.write_line(line)
    writer.finish()
    return writer


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    return [tmp_path / "one.yaml", tmp_path / "two.yaml"]


@pytest.mark.parametrize("before", [None, "old: 1\n"])
def test_files_get_into_their_places_and_nothing_else_is_left(places, before):
    obsolete = places[0].with_name("obsolete.yaml")
    missing = places[0].with_name("missing.yaml")
    obsolete.write_text("x")
    for path in places if before else []:
        path.write_text(before)
    removed = put_in_place([finished(path, "new: 1\n") for path in places], [obsolete, missing])
    assert removed == [obsolete]
    assert left_in(places[0].parent) == ["one.yaml", "two.yaml"]
    assert [path.read_text() for path in places] == ["new: 1\n"] * 2


@pytest.mark.parametrize("before", [None, "old: 1\n"])
def test_where_one_file_cannot_have_its_place_every_other_is_as_it_was(places, before):
    if before:
        places[0].write_text(before)
    (places[1] / "in-the-way").mkdir(parents=True)
    obsolete = places[0].with_name("obsolete.yaml")
    obsolete.write_text("x")
    writers = [finished(path, "new: 1\n") for path in places]
    with pytest.raises(CassetteError) as caught:
        put_in_place(writers, [obsolete])
    for writer in writers:
        writer.discard()
    assert caught.value.path == places[1]
    assert left_in(places[0].parent) == ["obsolete.yaml", *(["one.yaml"] if before else []), "two.yaml"]
    assert not before or places[0].read_text() == before


def test_what_is_taken_back_is_what_was_there_last(tmp_path):
    """Not what a commit that nobody settled has left."""
    path = tmp_path / "one.yaml"
    for text in ("first: 1\n", "second: 1\n"):
        finished(path, text).commit()
    writer = finished(path, "third: 1\n")
    writer.commit()
    writer.roll_back()
    assert path.read_text() == "second: 1\n"
    assert left_in(tmp_path) == ["one.yaml"]


GONE, ALIVE, OF_SOMEBODY_ELSE = 111, 222, 333


def test_what_killed_runs_have_left_of_a_recording_is_removed_and_nothing_else(tmp_path, monkeypatch):
    def kill(process: int, signal: int) -> None:
        assert signal == 0
        if process == GONE:
            raise ProcessLookupError
        if process == OF_SOMEBODY_ELSE:
            raise PermissionError

    monkeypatch.setattr(writing.os, "kill", kill)
    removed = [f".one.yaml.{GONE}.tmp", f".one.yaml.{GONE}.old.tmp"]
    kept = [
        *(f".one.yaml.{process}.{ending}" for process in (ALIVE, OF_SOMEBODY_ELSE) for ending in ("tmp", "old.tmp")),
        f".two.yaml.{GONE}.tmp",
        f".one.yaml.{GONE}.yaml",
        ".one.yaml.nobody.tmp",
        f"one.yaml.{GONE}.tmp",
    ]
    for name in (*removed, *kept):
        (tmp_path / name).write_text("x")
    finished(tmp_path / "one.yaml", "new: 1\n").discard()
    assert left_in(tmp_path) == sorted(kept)
