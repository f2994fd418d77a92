"""One test's recordings from open to commit, with the test's part played by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_connex.cassette.events import Closed, Open, Received, Sent
from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_file import read_interactions
from pytest_connex.cassette.session import CassetteSession, Plan, Settings
from pytest_connex.cassette.store import Recording
from pytest_connex.config import ConnexConfig, recorded_config
from pytest_connex.errors import (
    CassetteError,
    CassetteMismatch,
    CassetteMissing,
    CassetteStale,
    CassetteUnplayed,
    SecretFound,
)
from pytest_connex.protocol import Dialect
from pytest_connex.upstreams import all_upstreams

from .conftest import HEADER, URL, Tape, left_in, write_tape

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", "s3cr3t/with+special=chars=="
AGAIN = "record it again: pytest --again"
HTTP = "connex:\n  interactions: 0\ninteractions: []\nversion: 1\n"
EXCHANGE = ConnexConfig(
    mode="sandbox",
    rest_url="https://rest.example",
    ws_url="wss://ws.example/",
    api_key=KEY,
    api_secret=SECRET,
)

Make = Callable[..., CassetteSession]


class Judge:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.began: list[CassetteError] = []
        self.asked = 0

    def begin(self, verdict: CassetteError) -> None:
        self.began.append(verdict)

    def asked_again(self) -> None:
        self.asked += 1


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_x" / "test_y"


@pytest.fixture
def make(stem: Path, judge: Judge) -> Iterator[Make]:
    """Make a session that is open."""
    sessions: list[CassetteSession] = []

    def opened(action: str, config: ConnexConfig | None = None, **changed: object) -> CassetteSession:
        facts = {"test": "tests/test_x.py::test_y", "stem": stem, "source": "sandbox", "generator": "pytest-connex 0"}
        plan = Plan(**{"action": action, "again": AGAIN, **facts, **changed})
        known = config or (EXCHANGE if action == "record" else recorded_config())
        session = CassetteSession(plan, lambda: Settings(known, Dialect(), all_upstreams(known, {})), judge)
        session.open()
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        session.discard()


@pytest.fixture
def recorded(tape: Tape, stem: Path) -> Path:
    """A recording of one connection: the client sends ``a`` and receives ``1``."""
    stem.parent.mkdir(parents=True)
    return write_tape(stem.with_name("test_y.ws.jsonl"), tape.connection(("sent", "a"), ("received", "1")))


@pytest.fixture
def recording(make: Make) -> CassetteSession:
    """A session that has recorded ``a`` and its echo, and is closed."""
    session = make("record")
    passes(session, "a")
    session.close()
    return session


def passes(session: CassetteSession, *messages: str, headers: dict[str, str] | None = None, ends: bool = True) -> int:
    """Let a connection pass on which everything is said back, and return its number."""
    recorder, now = session.recorder(), session.clock.now
    conn = recorder.dial(now(), EXCHANGE.ws_url, (), headers)
    recorder.opened(conn, now(), None, {})
    for message in messages:
        recorder.sent(conn, now(), message)
        recorder.received(conn, now(), message)
    if ends:
        recorder.closed(conn, now(), "client", 1000, "")
    return conn


def asks(session: CassetteSession, body: bytes = b"ok", *headers: tuple[str, str]) -> None:
    """Let a request pass, and its answer."""
    conversation = session.http_recorder().asked(HttpRequest("GET", "https://rest.example/time", [], b""))
    conversation.answered(200, "OK", [("Content-Length", str(len(body))), *headers])
    conversation.piece(body)
    conversation.ended("whole")


def plays(session: CassetteSession, *messages: str) -> list[str | bytes]:
    """Have a client send messages, close, and return what it was given."""
    playback = session.player().dial(URL)
    given = playback.deliver(10)
    for message in messages:
        playback.sent(message)
        given += playback.deliver(10)
    for _ in given:
        playback.read()
    assert playback.closed(1000) is None
    return given


def first() -> CassetteError:
    return CassetteError("the first")


# --- The plan --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "exists"), [(".ws.jsonl", True), (".yaml", True), ("[1].yaml", False), (".ws", False), ("", False)]
)
def test_a_recording_of_either_kind_exists(make, stem, there, exists):
    stem.parent.mkdir(parents=True)
    stem.with_name(stem.name + there).write_text("")
    assert make("pass").plan.exists() is exists


def test_a_dot_in_the_name_of_a_test_stays_in_those_of_its_recordings(make, tmp_path):
    plan = make("pass", stem=tmp_path / "TestA.test_y[1.10]").plan
    assert [plan.websocket_path.name, plan.http_path.name] == [
        "TestA.test_y[1.10].ws.jsonl",
        "TestA.test_y[1.10].yaml",
    ]


# --- Open ------------------------------------------------------------------------------------------------


def test_a_session_that_leaves_recordings_alone_reads_none(make, recorded):
    recorded.write_text("garbage")
    session = make("pass")
    assert (session.verdict, session.account.read, session.has_websockets) == (None, [], False)


def test_what_is_there_is_read_and_accounted_for(make, recorded, stem):
    stem.with_name("test_y.yaml").write_text(HTTP)
    assert make("replay").account.read == [str(recorded), str(stem.with_name("test_y.yaml"))]


def test_what_is_not_there_is_no_verdict_before_it_is_asked_for(make):
    session = make("replay")
    assert (session.verdict, session.account.read, session.account.missing) == (None, [], [])


def test_a_recording_that_cannot_be_read_is_the_verdict(make, recorded):
    recorded.write_text("garbage\n")
    verdict = make("replay").verdict
    assert type(verdict) is CassetteError
    assert (verdict.path, verdict.line) == (recorded, 1)


def test_what_is_to_be_recorded_is_not_read(make, recorded):
    recorded.write_text("garbage\n")
    session = make("record")
    assert (session.verdict, session.account.read) == (None, [])


@pytest.mark.parametrize(("stale", "counted"), [("fail", 1), ("warn", 2)])
def test_recordings_that_are_too_old_are_told_of_and_the_first_of_them_is_the_verdict(make, stem, stale, counted):
    stem.parent.mkdir(parents=True)
    old = stem.with_name("test_y.ws.jsonl"), stem.with_name("test_y.yaml")
    write_tape(old[0], Tape(), replace(HEADER, recorded_at="2020-01-01T00:00:00Z"))
    old[1].write_text(f"connex:\n  recorded_at: '2020-01-01T00:00:00Z'\n{HTTP.partition(chr(10))[2]}")
    session = make("replay", max_age=30, stale=stale)
    assert session.account.stale == list(map(str, old[:counted]))
    if stale == "warn":
        assert session.verdict is None
    else:
        assert (type(session.verdict), session.verdict.path) == (CassetteStale, old[0])


# --- What is played --------------------------------------------------------------------------------------


def test_a_recording_is_played(make, recorded):
    session = make("replay")
    assert plays(session, "a") == ["1"]
    assert (session.verdict, session.unplayed()) == (None, None)


def test_one_player_plays_for_the_whole_test(make, recorded):
    session = make("replay")
    assert session.player() is session.player()
    assert session.http_player() is session.http_player()


def test_without_a_recording_there_is_no_player(make, stem):
    session = make("replay")
    with pytest.raises(CassetteMissing, match="no WebSocket is recorded for this test") as caught:
        session.player()
    assert (session.has_websockets, caught.value.path) == (False, stem.with_name("test_y.ws.jsonl"))


def test_the_dialect_and_the_plan_say_what_may_differ(make, tape, stem):
    stem.parent.mkdir(parents=True)
    write_tape(stem.with_name("test_y.ws.jsonl"), tape.connection(("sent", '{"id": 1, "note": "x"}')))
    assert plays(make("replay", volatile=("note",)), '{"id": 2, "note": "y"}') == []
    with pytest.raises(CassetteMismatch):
        plays(make("replay"), '{"id": 2, "note": "y"}')


def test_both_players_keep_one_order(make, recorded):
    session = make("replay")
    assert session.player().order is session.http_player().order


# --- Verdicts --------------------------------------------------------------------------------------------


def test_the_first_verdict_stays(make):
    session, verdict = make("replay"), first()
    session.fail(verdict)
    session.fail(CassetteError("the second"))
    assert session.verdict is session.final_verdict() is verdict


@pytest.mark.parametrize(
    ("verdict", "missing"),
    [
        (CassetteMissing("no", Path("/a/test_y.yaml")), ["/a/test_y.yaml"]),
        (CassetteMissing("no"), []),
        (CassetteMismatch("no", Path("/a/test_y.yaml")), []),
    ],
)
def test_a_verdict_of_missing_names_the_file_in_the_account(make, verdict, missing):
    session = make("replay")
    session.fail(verdict)
    assert session.account.missing == missing


def test_a_missing_file_after_the_verdict_does_not_count(make):
    session = make("replay")
    session.fail(first())
    session.fail(CassetteMissing("no", Path("/a/test_y.yaml")))
    assert session.account.missing == []


def test_the_judge_is_told_of_the_first_verdict_with_advice_and_of_every_other_question(make, judge):
    session, verdict = make("replay"), first()
    session.fail(verdict)
    assert (judge.began, judge.asked) == ([verdict], 0)
    assert str(verdict) == f"the first\n{AGAIN}"
    session.fail(CassetteError("the second"))
    assert (judge.began, judge.asked) == ([verdict], 1)


def test_a_missing_recording_of_what_may_have_been_renamed_says_so(make):
    session = make("replay", renaming="run connex move")
    session.fail(CassetteMissing("no"))
    assert str(session.verdict).endswith(f"{AGAIN}\nrun connex move")


def test_a_missing_recording_that_is_found_at_the_start_counts_as_no_question(make, recorded, judge):
    recorded.write_text("garbage\n")
    session = make("replay")
    assert (judge.began, judge.asked) == ([session.verdict], 0)


# --- Unplayed --------------------------------------------------------------------------------------------


def test_a_connection_that_was_never_opened_is_unplayed(make, recorded):
    error = make("replay").unplayed()
    assert type(error) is CassetteUnplayed
    assert (error.path, error.line) == (recorded, 2)
    assert str(error).endswith(
        f"the test left a part of its recording unused:\n  line 2: connection 1 was never opened\n{AGAIN}"
    )


def test_after_a_verdict_nothing_is_unplayed(make, recorded):
    session = make("replay")
    session.fail(first())
    assert session.unplayed() is None


@pytest.mark.parametrize("action", ["record", "pass"])
def test_a_session_that_does_not_replay_leaves_nothing_unplayed(make, recorded, action):
    assert make(action).unplayed() is None


def test_without_a_recording_nothing_is_unplayed(make):
    assert make("replay").unplayed() is None


@pytest.mark.parametrize(("strict", "kind"), [(False, type(None)), (True, CassetteUnplayed)])
def test_a_strict_plan_wants_every_received_message_read(make, tape, stem, strict, kind):
    stem.parent.mkdir(parents=True)
    path = stem.with_name("test_y.ws.jsonl")
    write_tape(path, tape.connection(("sent", "a"), ("received", "1"), ("received", "2")))
    session = make("replay", strict=strict)
    playback = session.player().dial(URL)
    playback.sent("a")
    assert playback.deliver(10) == ["1", "2"]
    playback.read()
    playback.closed(1000)
    assert type(session.unplayed()) is kind


def test_an_interaction_of_http_that_was_never_played_comes_first(make, recording):
    asks(recording)
    recording.commit()
    session = make("replay")
    error = session.unplayed()
    assert type(error) is CassetteUnplayed
    assert error.path == session.plan.http_path


# --- What is recorded ------------------------------------------------------------------------------------


def test_a_conversation_is_recorded_and_written_by_the_commit(recording, stem):
    path = stem.with_name("test_y.ws.jsonl")
    assert not path.exists()
    recording.commit()
    [connection] = Recording(path).connections
    events = [event for _, event in connection.events()]
    assert connection.dial.url == URL
    assert [type(event) for event in events] == [Open, Sent, Received, Closed]
    assert [event.payload for event in events[1:3]] == ["a", "a"]


def test_a_committed_recording_is_accounted_for_and_alone(recording, stem):
    recording.commit()
    assert recording.account.written == [str(stem.with_name("test_y.ws.jsonl"))]
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]


def test_a_recording_says_where_it_came_from(recording, stem):
    recording.commit()
    header = Recording(stem.with_name("test_y.ws.jsonl")).header
    assert (header.source, header.generator, header.test) == ("sandbox", "pytest-connex 0", "tests/test_x.py::test_y")
    assert header.recorded_at.endswith("Z")


def test_a_recording_replays(recording, make):
    recording.commit()
    session = make("replay")
    assert plays(session, "a") == ["a"]
    assert (session.verdict, session.unplayed()) == (None, None)


def test_credentials_secrets_and_secret_members_are_replaced(make, stem):
    session = make("record", secrets=("hunter2-hunter2",))
    passes(session, f'{{"a": "{KEY}", "b": "{SECRET}", "c": "hunter2-hunter2", "token": "abc"}}')
    session.close()
    session.commit()
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    [(_, sent)] = connection.sent()
    assert sent.payload == (
        '{"a": "connex-recorded-key", "b": "connex-recorded-secret", "c": "connex-recorded-value", '
        '"token": "connex-recorded-token"}'
    )


def test_the_headers_of_the_key_and_the_secret_are_replaced_whosever_they_are(make, stem):
    session = make("record")
    headers = {"X-CONNEX-API-KEY": "another-key-0123", "x-connex-api-secret": "another-secret", "X-N": "1.10"}
    passes(session, headers=headers)
    session.close()
    session.commit()
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    assert connection.dial.headers == {
        "X-CONNEX-API-KEY": "connex-recorded-x-connex-api-key",
        "x-connex-api-secret": "connex-recorded-x-connex-api-secret",
        "X-N": "1.10",
    }


def test_what_is_still_open_when_the_test_ends_is_recorded_as_given_up(make, stem):
    session = make("record")
    passes(session, ends=False)
    session.close()
    session.commit()
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    *_, (_, ending) = connection.events()
    assert (ending.by, ending.code) == ("client", 1006)


def test_nothing_is_recorded_after_the_end_of_the_test(make, stem):
    session = make("record")
    conn = passes(session, "a", ends=False)
    session.close()
    session.recorder().sent(conn, session.clock.now(), "late")
    session.commit()
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    assert [event.payload for _, event in connection.sent()] == ["a"]


def test_a_test_without_traffic_writes_nothing(make, stem):
    session = make("record")
    session.close()
    session.commit()
    assert (session.account.written, left_in(stem.parent)) == ([], [])


@pytest.mark.parametrize("action", ["replay", "pass"])
def test_a_session_that_does_not_record_writes_and_removes_nothing(make, recorded, action):
    before = recorded.read_bytes()
    session = make(action)
    session.commit()
    assert (session.account.written, recorded.read_bytes()) == ([], before)


# --- Both files, or none ---------------------------------------------------------------------------------


def test_both_recordings_are_written(recording, stem):
    asks(recording)
    recording.commit()
    assert left_in(stem.parent) == ["test_y.ws.jsonl", "test_y.yaml"]
    assert recording.account.written == [str(stem.with_name(name)) for name in left_in(stem.parent)]
    [interaction] = read_interactions(stem.with_name("test_y.yaml"))
    assert (interaction.request.url, interaction.body) == ("https://rest.connex.invalid/time", b"ok")


def test_an_http_recording_no_longer_produced_is_removed(recording, stem):
    stem.with_name("test_y.yaml").write_text("old")
    recording.commit()
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]
    assert recording.account.removed == [str(stem.with_name("test_y.yaml"))]


def test_a_websocket_recording_no_longer_produced_is_removed(make, recorded, stem):
    session = make("record")
    asks(session)
    session.close()
    session.commit()
    assert left_in(stem.parent) == ["test_y.yaml"]
    assert session.account.removed == [str(recorded)]


def test_recordings_of_a_test_without_traffic_are_removed(make, recorded, stem):
    stem.with_name("test_y.yaml").write_text("old")
    session = make("record")
    session.close()
    session.commit()
    assert left_in(stem.parent) == []


def test_http_that_cannot_be_recorded_leaves_both_as_they_were(recording, stem):
    for name in ("test_y.ws.jsonl", "test_y.yaml"):
        stem.with_name(name).write_text(f"old {name}")
    asks(recording, b"no gzip", ("Content-Encoding", "gzip"))
    with pytest.raises(CassetteError, match="the body of an answer is") as caught:
        recording.commit()
    assert caught.value is recording.verdict
    assert caught.value.path == stem.with_name("test_y.yaml")
    assert {entry.name: entry.read_text() for entry in stem.parent.iterdir()} == {
        "test_y.ws.jsonl": "old test_y.ws.jsonl",
        "test_y.yaml": "old test_y.yaml",
    }
    assert recording.account.written == []


def test_a_secret_in_a_message_is_the_verdict_and_leaves_nothing_behind(make, stem, monkeypatch):
    monkeypatch.setattr("pytest_connex.secrets.redaction.Redactor.payload", lambda self, payload: payload)
    session = make("record")
    passes(session, f"my secret is {SECRET}")
    session.close()
    assert type(session.verdict) is SecretFound
    assert (session.verdict.path, session.verdict.line) == (stem.with_name("test_y.ws.jsonl"), 4)
    assert left_in(stem.parent) == []


def test_a_folder_that_cannot_be_written_takes_no_recorder(make, tmp_path):
    (tmp_path / "file").write_text("in the way")
    session = make("record", stem=tmp_path / "file" / "test_y")
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        session.recorder()
    assert caught.value.path == tmp_path / "file" / "test_y.ws.jsonl"


def test_a_folder_that_cannot_be_written_fails_the_commit(make, tmp_path):
    (tmp_path / "file").write_text("in the way")
    session = make("record", stem=tmp_path / "file" / "test_y")
    asks(session)
    session.close()
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        session.commit()
    assert caught.value.path == tmp_path / "file" / "test_y.yaml"


def test_an_http_recording_that_cannot_take_its_place_leaves_the_other_as_it_was(recording, stem):
    stem.with_name("test_y.ws.jsonl").write_text("old")
    (stem.with_name("test_y.yaml") / "in-the-way").mkdir(parents=True)
    asks(recording)
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        recording.commit()
    assert caught.value.path == stem.with_name("test_y.yaml")
    assert stem.with_name("test_y.ws.jsonl").read_text() == "old"
    assert left_in(stem.parent) == ["test_y.ws.jsonl", "test_y.yaml"]


def test_a_recording_that_cannot_take_its_place_leaves_nothing_behind(recording, stem):
    (stem.with_name("test_y.ws.jsonl") / "in-the-way").mkdir(parents=True)
    asks(recording)
    with pytest.raises(CassetteError, match="the recording cannot be written: "):
        recording.commit()
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]


# --- Discard ---------------------------------------------------------------------------------------------


def test_a_discarded_recording_leaves_the_old_one_alone(recording, stem):
    stem.with_name("test_y.ws.jsonl").write_text("old")
    recording.discard()
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]
    assert stem.with_name("test_y.ws.jsonl").read_text() == "old"


def test_discarding_after_the_commit_keeps_what_was_written(recording, stem):
    recording.commit()
    recording.discard()
    assert len(Recording(stem.with_name("test_y.ws.jsonl")).connections) == 1


@pytest.mark.parametrize("action", ["record", "replay", "pass"])
def test_there_may_be_nothing_to_discard(make, recorded, action):
    before = recorded.read_bytes()
    session = make(action)
    session.close()
    session.discard()
    assert recorded.read_bytes() == before
