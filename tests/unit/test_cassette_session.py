"""One test's recordings from open to commit, with the test's part played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace
from pytest_connex.cassette.driving import Driven
from vcr.cassette import Cassette
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from pytest_connex.cassette.events import Closed, Open, Received, Sent
from pytest_connex.cassette.session import PATIENCE, CassetteSession, Plan
from pytest_connex.cassette.store import Recording
from pytest_connex.config import ConnexConfig, recorded_config
from pytest_connex.errors import (
    CassetteError,
    CassetteExhausted,
    CassetteMismatch,
    CassetteMissing,
    CassetteStale,
    CassetteUnplayed,
    ReplayAborted,
    SecretFound,
)
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.endpoint import State
from pytest_connex.proxy.replay import Replay, Verdict

from .conftest import HEADER, URL, Tape, write_tape
from .stopwatch import on_a_virtual_clock

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", "s3cr3t/with+special=chars=="
AGAIN = "record it again: pytest --again"
HTTP = "connex:\n  interactions: 0\ninteractions: []\nversion: 1\n"

Make = Callable[..., CassetteSession]


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_x" / "test_y"


@pytest.fixture
def make(stem: Path) -> Make:
    """Make a session that is open."""

    def opened(action: str, config: ConnexConfig | None = None, **changed: object) -> CassetteSession:
        facts = {"test": "tests/test_x.py::test_y", "stem": stem, "source": "sandbox", "generator": "pytest-connex 0"}
        plan = Plan(**{"action": action, "again": AGAIN, **facts, **changed})
        session = CassetteSession(plan, lambda: (config or recorded_config(), Dialect()))
        session.open()
        return session

    return opened


@pytest.fixture
def recorded(tape: Tape, stem: Path) -> Path:
    """A recording of one connection: the client sends ``a`` and receives ``1``."""
    stem.parent.mkdir(parents=True)
    return write_tape(stem.with_name("test_y.ws.jsonl"), tape.connection(("sent", "a"), ("received", "1")))


@pytest.fixture
async def exchange() -> AsyncIterator[ConnexConfig]:
    """A server that says everything back."""

    async def echo(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield ConnexConfig(mode="sandbox", ws_url=f"ws://127.0.0.1:{port}/", api_key=KEY, api_secret=SECRET)


@pytest.fixture
async def recording(make: Make, exchange: ConnexConfig) -> CassetteSession:
    """A session that has recorded ``a`` and its echo, and is closed."""
    session = make("record", exchange)
    await say(session, exchange.ws_url, "a")
    session.close()
    return session


async def say(session: CassetteSession, url: str, *messages: str) -> list[str | bytes]:
    async with session.connect()(url) as ws:
        answers = []
        for message in messages:
            await ws.send(message)
            answers.append(await ws.recv())
    await session.hang_up()
    return answers


def first() -> CassetteError:
    return CassetteError("the first")


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


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
    assert (session.verdict, session.account.read, session.http) == (None, [], None)


def test_a_session_that_leaves_recordings_alone_gives_the_real_connect(make):
    assert make("pass").connect() is websockets_connect


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
        for _ in range(PATIENCE):  # nothing was asked for so far
            session.fail(first())


@pytest.mark.parametrize(("scripted", "records"), [(False, True), (True, False)])
def test_scripted_answers_are_not_recorded(make, scripted, records):
    assert (make("record", scripted_http=scripted).http is not None) is records


# --- Dials -----------------------------------------------------------------------------------------------


async def test_a_recording_answers(make, recorded):
    session = make("replay")
    assert await say(session, URL, "a") == ["1"]
    assert (session.verdict, session.unplayed()) == (None, None)


def test_a_dial_without_a_recording_is_missing(make, stem):
    session = make("replay")
    path = stem.with_name("test_y.ws.jsonl")
    answer = session.behaviour(URL, {})
    assert type(answer) is Verdict
    assert type(session.verdict) is CassetteMissing
    assert str(session.verdict).endswith(f"test_y.ws.jsonl: no WebSocket is recorded for this test\n{AGAIN}")
    assert session.account.missing == [str(path)]


async def test_a_dial_after_a_verdict_gets_the_verdict(make, recorded):
    session = make("replay", again="")
    session.fail(first())
    with pytest.raises(InvalidStatus) as caught:
        await session.connect()(URL)
    assert (caught.value.response.status_code, caught.value.response.body) == (501, b"the first")


async def test_a_second_dial_of_what_is_recorded_once_is_a_mismatch(make, recorded):
    session = make("replay")
    assert type(session.behaviour(URL, {})) is Replay
    assert type(session.behaviour(URL, {})) is Verdict
    assert type(session.verdict) is CassetteMismatch


async def test_the_dialect_says_what_may_differ(make, tape, stem):
    stem.parent.mkdir(parents=True)
    write_tape(stem.with_name("test_y.ws.jsonl"), tape.connection(("sent", '{"id": 1}'), ("received", "1")))
    session = make("replay")
    await say(session, URL, '{"id": 2}')
    assert session.verdict is None


async def test_the_client_may_wait_as_long_as_the_plan_says(make, recorded):
    session = make("replay", replay_timeout=0.01)
    async with session.connect()(URL) as ws:
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
    assert type(session.verdict) is CassetteExhausted
    assert "waited 0.01 s" in str(session.verdict)


async def test_hanging_up_ends_what_a_test_left_open(make, recorded):
    session = make("replay")
    ws = await session.connect()(URL)
    await session.hang_up()
    await asyncio.wait_for(ws.wait_closed(), 5)
    assert ws.close_code == 1006


async def test_hanging_up_ends_what_a_recording_test_left_open(make, exchange):
    session = make("record", exchange)
    ws = await session.connect()(exchange.ws_url)
    await session.hang_up()
    await asyncio.wait_for(ws.wait_closed(), 5)
    assert ws.close_code == 1006
    session.close()
    session.discard()


async def test_hanging_up_ends_what_waits_for_the_close_of_a_server_that_sends_none(make):
    gone = asyncio.Event()

    async def mute(server: ServerConnection) -> None:
        server.protocol.receive_data = lambda data: None
        await server.wait_closed()
        gone.set()

    async with serve(mute, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        session = make("record", ConnexConfig(mode="sandbox", ws_url=url, api_key=KEY, api_secret=SECRET))
        ws = await session.connect()(url)
        closing = asyncio.create_task(ws.close())
        while session._endpoints[0].state is not State.LEFT:
            await asyncio.sleep(0)
        await session.hang_up()
        await asyncio.wait_for(asyncio.gather(closing, gone.wait()), 5)
    session.close()
    session.discard()


# --- Verdicts --------------------------------------------------------------------------------------------


def test_the_first_verdict_stays(make):
    session, verdict = make("replay"), first()
    session.fail(verdict)
    session.fail(CassetteError("the second"))
    assert session.verdict is verdict


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


@pytest.mark.parametrize(
    "ask",
    [lambda session: session.fail(CassetteError("the second")), lambda session: session.behaviour(URL, {})],
    ids=["another miss", "another dial"],
)
def test_a_test_that_goes_on_asking_is_borne_with_for_a_while_and_then_aborted(make, ask):
    session = make("replay", again="")
    session.fail(first())
    for _ in range(PATIENCE):
        ask(session)
    with pytest.raises(ReplayAborted) as caught:
        ask(session)
    assert str(caught.value) == "the test went on after its verdict: the first"


def test_an_abort_is_not_caught_by_a_client_that_catches_every_exception(make):
    session = make("replay")
    session.fail(first())
    asked = 0

    def stubborn() -> None:
        nonlocal asked
        for _ in range(2 * PATIENCE):
            asked += 1
            try:
                session.fail(CassetteError("the second"))
            except Exception:
                pass

    with pytest.raises(ReplayAborted):
        stubborn()
    assert asked == PATIENCE + 1


# --- Ending the test after a verdict ---------------------------------------------------------------------


async def test_a_test_that_waits_for_ever_after_its_verdict_ends_with_it(make):
    session = make("replay", replay_timeout=0.0)

    async def stubborn() -> None:
        session.fail(first())
        await asyncio.Event().wait()

    with session.ending.phase(0.0), pytest.raises(CassetteError, match="the first"):
        await asyncio.wait_for(session.ending.driven(stubborn()), 5)


async def test_a_test_that_goes_on_asking_is_not_waited_for(make):
    session = make("replay", replay_timeout=3600.0)

    async def stubborn() -> None:
        for _ in range(PATIENCE + 1):
            session.fail(first())
        with pytest.raises(ReplayAborted):
            session.fail(first())
        await asyncio.Event().wait()

    with session.ending.phase(3600.0), pytest.raises(CassetteError, match="the first"):
        await asyncio.wait_for(session.ending.driven(stubborn()), 5)


@on_a_virtual_clock
async def test_what_is_cancelled_for_the_last_time_is_borne_with_no_more(make):
    session, asked = make("replay"), []
    session.fail(first())

    async def stubborn() -> None:
        while True:
            try:
                session.fail(CassetteError("another"))
                asked.append("borne with")
            except ReplayAborted:
                asked.append("aborted")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    driven = Driven(stubborn(), first)
    with session.ending.phase(None), session.ending.pressing(driven):
        for second in range(1, 4):
            driven.loop.call_later(second, driven.press)
        with pytest.raises(CassetteError, match="the first"):
            await driven
    assert asked == ["borne with", "borne with", "aborted"]


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
async def test_a_strict_plan_wants_every_received_message_read(make, tape, stem, strict, kind):
    stem.parent.mkdir(parents=True)
    path = stem.with_name("test_y.ws.jsonl")
    write_tape(path, tape.connection(("sent", "a"), ("received", "1"), ("received", "2")))
    session = make("replay", strict=strict)
    assert await say(session, URL, "a") == ["1"]
    assert type(session.unplayed()) is kind


def test_an_interaction_of_http_that_was_never_played_comes_first(make, recorded, monkeypatch):
    session = make("replay")
    error = CassetteUnplayed("of HTTP")
    monkeypatch.setattr(session.http, "unplayed", lambda: error)
    assert session.unplayed() is error


# --- What is recorded ------------------------------------------------------------------------------------


async def test_a_conversation_is_recorded_and_written_by_the_commit(recording, stem):
    path = stem.with_name("test_y.ws.jsonl")
    assert not path.exists()
    recording.commit()
    [connection] = Recording(path).connections
    events = [event for _, event in connection.events()]
    assert connection.dial.url == URL
    assert [type(event) for event in events] == [Open, Sent, Received, Closed]
    assert [event.payload for event in events[1:3]] == ["a", "a"]


async def test_a_committed_recording_is_accounted_for_and_alone(recording, stem):
    recording.commit()
    assert recording.account.written == [str(stem.with_name("test_y.ws.jsonl"))]
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]


async def test_a_recording_says_where_it_came_from(recording, stem):
    recording.commit()
    header = Recording(stem.with_name("test_y.ws.jsonl")).header
    assert (header.source, header.generator, header.test) == ("sandbox", "pytest-connex 0", "tests/test_x.py::test_y")
    assert header.recorded_at.endswith("Z")


async def test_a_recording_replays(recording, make, exchange):
    recording.commit()
    session = make("replay")
    assert await say(session, URL, "a") == ["a"]
    assert (session.verdict, session.unplayed()) == (None, None)


async def test_credentials_secrets_and_secret_members_are_replaced(make, exchange, stem):
    session = make("record", exchange, secrets=("hunter2-hunter2",))
    await say(session, exchange.ws_url, f'{{"a": "{KEY}", "b": "{SECRET}", "c": "hunter2-hunter2", "token": "abc"}}')
    session.close()
    session.commit()
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    [(_, sent)] = connection.sent()
    assert sent.payload == (
        '{"a": "connex-recorded-key", "b": "connex-recorded-secret", "c": "connex-recorded-value", '
        '"token": "connex-recorded-token"}'
    )


async def test_the_headers_of_the_key_and_the_secret_are_replaced_whosever_they_are(make, exchange, stem):
    session = make("record", exchange)
    headers = {"X-CONNEX-API-KEY": "another-key-0123", "x-connex-api-secret": "another-secret", "X-N": "1.10"}
    async with session.connect()(exchange.ws_url, additional_headers=headers):
        pass
    await session.hang_up()
    session.close()
    session.commit()
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    assert connection.dial.headers == {
        "X-CONNEX-API-KEY": "connex-recorded-x-connex-api-key",
        "x-connex-api-secret": "connex-recorded-x-connex-api-secret",
        "X-N": "1.10",
    }


async def test_what_is_still_open_when_the_test_ends_is_recorded_as_given_up(make, exchange, stem):
    session = make("record", exchange)
    ws = await session.connect()(exchange.ws_url)
    session.close()
    session.commit()
    await session.hang_up()
    await asyncio.wait_for(ws.wait_closed(), 5)
    [connection] = Recording(stem.with_name("test_y.ws.jsonl")).connections
    *_, (_, ending) = connection.events()
    assert (ending.by, ending.code) == ("client", 1006)


async def test_nothing_is_recorded_after_the_end_of_the_test(make, exchange, stem):
    session = make("record", exchange)
    async with session.connect()(exchange.ws_url) as ws:
        await ws.send("a")
        await ws.recv()
        session.close()
        await ws.send("late")
        await session.hang_up()
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


async def test_both_recordings_are_written(recording, stem):
    recording.http.text = HTTP
    recording.commit()
    assert left_in(stem.parent) == ["test_y.ws.jsonl", "test_y.yaml"]
    assert recording.account.written == [str(stem.with_name(name)) for name in left_in(stem.parent)]
    assert yaml.safe_load(stem.with_name("test_y.yaml").read_text()) == yaml.safe_load(HTTP)


async def test_an_http_recording_no_longer_produced_is_removed(recording, stem):
    stem.with_name("test_y.yaml").write_text("old")
    recording.http.attach(Cassette("connex"))
    recording.commit()
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]
    assert recording.account.removed == [str(stem.with_name("test_y.yaml"))]


def test_an_http_recording_stays_where_vcr_did_not_run(make, stem):
    stem.parent.mkdir(parents=True)
    stem.with_name("test_y.yaml").write_text("old")
    session = make("record")
    session.close()
    session.commit()
    assert (left_in(stem.parent), session.account.removed) == (["test_y.yaml"], [])


def test_an_http_recording_of_a_test_that_scripts_its_answers_is_removed(make, stem):
    stem.parent.mkdir(parents=True)
    stem.with_name("test_y.yaml").write_text("old")
    session = make("record", scripted_http=True)
    session.close()
    session.commit()
    assert left_in(stem.parent) == []


def test_a_websocket_recording_no_longer_produced_is_removed(make, recorded, stem):
    session = make("record")
    session.http.text = HTTP
    session.close()
    session.commit()
    assert left_in(stem.parent) == ["test_y.yaml"]
    assert session.account.removed == [str(recorded)]


def test_recordings_of_a_test_without_traffic_are_removed(make, recorded, stem):
    stem.with_name("test_y.yaml").write_text("old")
    session = make("record")
    session.http.attach(Cassette("connex"))
    session.close()
    session.commit()
    assert left_in(stem.parent) == []


async def test_a_secret_in_the_http_recording_leaves_both_as_they_were(recording, stem):
    for name in ("test_y.ws.jsonl", "test_y.yaml"):
        stem.with_name(name).write_text(f"old {name}")
    recording.http.text = f"connex:\n  interactions: 0\nnote: {SECRET}\n"
    with pytest.raises(SecretFound) as caught:
        recording.commit()
    assert (caught.value.path, caught.value.line) == (stem.with_name("test_y.yaml"), 3)
    assert {entry.name: entry.read_text() for entry in stem.parent.iterdir()} == {
        "test_y.ws.jsonl": "old test_y.ws.jsonl",
        "test_y.yaml": "old test_y.yaml",
    }


async def test_a_commit_that_failed_accounts_for_no_file(recording):
    recording.http.text = f"note: {SECRET}\n"
    with pytest.raises(SecretFound):
        recording.commit()
    assert recording.account.written == []


async def test_a_secret_in_a_message_is_the_verdict_and_leaves_nothing_behind(make, exchange, stem, monkeypatch):
    monkeypatch.setattr("pytest_connex.secrets.redaction.Redactor.payload", lambda self, payload: payload)
    session = make("record", exchange)
    assert await say(session, exchange.ws_url, f"my secret is {SECRET}") == [f"my secret is {SECRET}"]
    session.close()
    assert type(session.verdict) is SecretFound
    assert (session.verdict.path, session.verdict.line) == (stem.with_name("test_y.ws.jsonl"), 4)
    assert left_in(stem.parent) == []


async def test_a_folder_that_cannot_be_written_is_the_verdict_of_the_dial(make, exchange, tmp_path):
    (tmp_path / "file").write_text("in the way")
    session = make("record", exchange, stem=tmp_path / "file" / "test_y")
    with pytest.raises(InvalidStatus) as caught:
        await session.connect()(exchange.ws_url)
    assert caught.value.response.body.decode() == str(session.verdict)
    assert type(session.verdict) is CassetteError
    assert session.verdict.path == tmp_path / "file" / "test_y.ws.jsonl"


def test_a_folder_that_cannot_be_written_fails_the_commit(make, tmp_path):
    (tmp_path / "file").write_text("in the way")
    session = make("record", stem=tmp_path / "file" / "test_y")
    session.http.text = HTTP
    session.close()
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        session.commit()
    assert caught.value.path == tmp_path / "file" / "test_y.yaml"


async def test_an_http_recording_that_cannot_take_its_place_leaves_the_other_as_it_was(recording, stem):
    stem.with_name("test_y.ws.jsonl").write_text("old")
    (stem.with_name("test_y.yaml") / "in-the-way").mkdir(parents=True)
    recording.http.text = HTTP
    with pytest.raises(CassetteError, match="the recording cannot be written: ") as caught:
        recording.commit()
    assert caught.value.path == stem.with_name("test_y.yaml")
    assert stem.with_name("test_y.ws.jsonl").read_text() == "old"
    assert left_in(stem.parent) == ["test_y.ws.jsonl", "test_y.yaml"]


async def test_a_recording_that_cannot_take_its_place_leaves_nothing_behind(recording, stem):
    (stem.with_name("test_y.ws.jsonl") / "in-the-way").mkdir(parents=True)
    recording.http.text = HTTP
    with pytest.raises(CassetteError, match="the recording cannot be written: "):
        recording.commit()
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]


# --- Discard ---------------------------------------------------------------------------------------------


async def test_a_discarded_recording_leaves_the_old_one_alone(recording, stem):
    stem.with_name("test_y.ws.jsonl").write_text("old")
    recording.discard()
    assert left_in(stem.parent) == ["test_y.ws.jsonl"]
    assert stem.with_name("test_y.ws.jsonl").read_text() == "old"


async def test_discarding_after_the_commit_keeps_what_was_written(recording, stem):
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
