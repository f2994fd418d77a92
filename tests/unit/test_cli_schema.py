"""``connex schema`` and ``connex decimals``: what they print, and with what they exit."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from .commands import run
from .market_frames import market_frames

HTTP = """
interactions:
- request: {method: GET, uri: 'https://rest.connex.invalid/v1/status', headers: {}, body: null}
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: '{"status": "healthy", "load": 1.10}'}}
version: 1
"""


class Result:
    def __init__(self, *args: object) -> None:
        ran = run(*args)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        self.code, self.out, self.err = ran.exit_code, ran.stdout, ran.stderr


@pytest.fixture
def recording(tape, write) -> Path:
    tape.connection(*(("received", text) for text in market_frames([7], 30)))
    return write(tape)


def broken(tape, write) -> Path:
    tape.connection(("received", '{"event": "pong", "id": 7}'), ("received", '{"event": "pong", "event": "pong"}'))
    return write(tape)


# --- infer --------------------------------------------------------------------------------------------------------


def test_schemas_are_pinned_beside_the_recordings(recording, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = Result("schema", "infer", recording.name)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "orderbook.snapshot        3 messages  new        cassettes/schemas/orderbook.snapshot.schema.json",
        "orderbook.update         21 messages  new        cassettes/schemas/orderbook.update.schema.json",
        "pong                      3 messages  new        cassettes/schemas/pong.schema.json",
        "subscribed                3 messages  new        cassettes/schemas/subscribed.schema.json",
    ]
    assert json.loads((tmp_path / "cassettes/schemas/pong.schema.json").read_text())["title"] == "pong"
    again = Result("schema", "infer", recording.name).out
    assert again.count("unchanged") == 4


def test_a_folder_stands_for_the_recordings_in_it(recording, tmp_path):
    (tmp_path / "test_rest.yaml").write_text("connex: {}\n" + HTTP)
    (tmp_path / "foreign.yaml").write_text("a: 1\n")
    ran = Result("schema", "infer", tmp_path, "--out", tmp_path / "out")
    assert ran.code == 0
    assert "rest.v1.status" in ran.out
    assert "orderbook.update" in ran.out


def test_the_bodies_of_an_http_recording_keep_their_numbers(tmp_path):
    path = tmp_path / "test_rest.yaml"
    path.write_text(HTTP)
    assert Result("schema", "infer", path, "--out", tmp_path).code == 0
    pinned = json.loads((tmp_path / "rest.v1.status.schema.json").read_text())
    assert pinned["properties"]["load"] == {"type": "number", "x-scale": [2, 2]}


@pytest.mark.parametrize("command", [("schema", "infer"), ("decimals",)])
def test_a_message_that_is_not_json_is_an_error_with_its_place(command, tape, write):
    path = broken(tape, write)
    ran = Result(*command, path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        f"connex {' '.join(command)}: {path}:5: the key 'event' stands twice in one object",
        "leave out what is not JSON with --skip",
    ]


def test_a_message_that_is_not_json_is_left_out_on_demand(tape, write, tmp_path):
    ran = Result("schema", "infer", broken(tape, write), "--skip", "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (0, "1 messages are not JSON and were left out\n")
    assert ran.out.split()[:3] == ["pong", "1", "messages"]


@pytest.mark.parametrize("command", [("schema", "infer"), ("decimals",)])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.ws.jsonl", None, "there is no "),
        ("empty.ws.jsonl", "", "not the header"),
        ("bad.yaml", "{", "not YAML"),
        ("bad.txt", "hello", "not a recording of HTTP"),
    ],
)
def test_a_file_that_is_no_recording_is_an_error(command, name, content, said, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    ran = Result(*command, tmp_path / name)
    assert ran.code == 2
    assert said in ran.err


def test_an_empty_folder_is_an_error(tmp_path):
    ran = Result("decimals", tmp_path)
    assert (ran.code, ran.err) == (2, f"connex decimals: there are no recordings in {tmp_path}\n")


def test_recordings_without_a_message_are_an_error(tape, write, tmp_path):
    ran = Result("schema", "infer", write(tape.connection()), "--out", tmp_path)
    assert ran.code == 2
    assert "there is no message in these recordings" in ran.err


@pytest.mark.parametrize("command", [("infer", "x"), ("diff", "x", "y")])
def test_without_the_extra_the_command_says_what_to_install(command, monkeypatch):
    monkeypatch.setattr(import_module("pytest_connex.cli.schema"), "_LIBRARIES", ("no_such_library",))
    ran = Result("schema", *command)
    assert (ran.code, ran.err) == (
        2,
        f"connex schema {command[0]}: this needs the extra schema: pip install 'pytest-connex[schema]'\n",
    )


# --- diff ---------------------------------------------------------------------------------------------------------


def pinned(folder: Path, **members: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "x.schema.json"
    path.write_text(json.dumps({"title": "x", "type": "object", "properties": members, "required": ["a"]}))
    return path


def test_no_change_exits_with_zero(tmp_path):
    path = pinned(tmp_path, a={"type": "string"})
    ran = Result("schema", "diff", path, path)
    assert (ran.code, ran.out) == (0, "no change\n")


def test_an_addition_exits_with_zero(tmp_path):
    old = pinned(tmp_path / "old", a={"type": "string"})
    new = pinned(tmp_path / "new", a={"type": "string"}, b={"type": "integer"})
    ran = Result("schema", "diff", old, new)
    assert (ran.code, ran.out) == (0, "addition  x: b: added: nothing -> integer\n0 breaking, 1 not\n")


def test_a_breaking_change_comes_first_and_exits_with_one(tmp_path):
    pinned(tmp_path / "old", a={"type": "string"})
    pinned(tmp_path / "new", a={"type": ["string", "null"]}, Z={"type": "integer"})
    ran = Result("schema", "diff", tmp_path / "old", tmp_path / "new")
    assert (ran.code, ran.out.splitlines()) == (
        1,
        [
            "breaking  x: a: nullable: never null -> null",
            "addition  x: Z: added: nothing -> integer",
            "1 breaking, 1 not",
        ],
    )


@pytest.mark.parametrize("nonsense", ["", "[]", '{"type": "nonsense"}', '{"a": 1, "a": 2}', '{"minimum": NaN}'])
def test_a_schema_that_is_none_exits_with_two(tmp_path, nonsense):
    path = pinned(tmp_path, a={"type": "string"})
    other = tmp_path / "other.schema.json"
    other.write_text(nonsense)
    ran = Result("schema", "diff", path, other)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"connex schema diff: {other}: ")


def test_a_file_and_a_folder_are_not_compared(tmp_path):
    path = pinned(tmp_path, a={"type": "string"})
    ran = Result("schema", "diff", path, tmp_path)
    assert (ran.code, ran.err) == (2, "connex schema diff: name two schemas, or two folders of them\n")


def test_what_is_not_there_is_not_compared(tmp_path):
    path = pinned(tmp_path, a={"type": "string"})
    ran = Result("schema", "diff", path, tmp_path / "missing.schema.json")
    assert ran.code == 2
    assert "the schema cannot be read: No such file" in ran.err


# --- decimals -----------------------------------------------------------------------------------------------------


def test_the_table_and_the_verdict_are_printed(recording):
    ran = Result("decimals", recording)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("class               path              as      count  digits  decimals")
    end = lines.index("")
    assert "read them from the text" in lines[end + 1]
    assert lines[end + 2] == "a float would change only the text of"
    assert lines[end + 3].startswith("  orderbook.snapshot: asks[][0]: ")


def test_the_numbers_of_an_http_recording_are_looked_at(tmp_path):
    path = tmp_path / "test_rest.yaml"
    path.write_text(HTTP)
    ran = Result("decimals", path)
    assert ran.code == 0
    assert ran.out.endswith("a float would change only the text of\n  rest.v1.status: load: 1.10 -> 1.1\n")
