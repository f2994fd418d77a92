"""What the clients of a test are given, and on whose tape a connection of a shared fixture is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from pytest_connex.cassette.events import Dial, Event, Open, Received, Sent
from pytest_connex.cassette.session import CassetteSession, Plan, Settings
from pytest_connex.cassette.store import Recording
from pytest_connex.config import ConnexConfig, recorded_config
from pytest_connex.errors import CassetteError, CassetteMismatch, CassetteMissing, CassetteUnplayed
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.served import Served
from pytest_connex.upstreams import all_upstreams

from .conftest import URL, Tape, write_tape
from .doorway import connects

Connect = Callable[..., Any]


class Judge:
    def begin(self, verdict: CassetteError) -> None: ...

    def asked_again(self) -> None: ...


class House:
    """A shared fixture and the tests that use it, in one mode."""

    def __init__(self, folder: Path, action: str, ws_url: str = "") -> None:
        self.current: CassetteSession | None = None
        self._folder = folder
        self._action = action
        self._config = ConnexConfig(ws_url=ws_url) if ws_url else recorded_config()
        self.fixture = self.session("@fixture")
        self.served = Served(self.fixture, lambda: self.current)
        self.connect: Connect = connects(self.served.dial)

    def session(self, name: str, **changed: Any) -> CassetteSession:
        settings = Settings(self._config, Dialect(), all_upstreams(self._config, {}))
        facts = {"action": self._action, "test": name, "stem": self._folder / name, "source": "sandbox"}
        session = CassetteSession(
            Plan(**{**facts, "generator": "made by hand", "again": "record it", **changed}), lambda: settings, Judge()
        )
        session.open()
        return session

    def hand_over(self) -> None:
        """The fixture has been set up."""
        self.served.turn(self.fixture, None)

    def begins(self, session: CassetteSession) -> None:
        self.current = session
        self.served.turn(None, session)

    def ends(self, session: CassetteSession) -> None:
        self.served.part(session)
        self.current = None
        session.close()
        session.commit()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that says everything back."""

    async def echo(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def recorded(tmp_path: Path, name: str, *script: tuple[str, str]) -> Path:
    return write_tape(tmp_path / f"{name}.ws.jsonl", Tape().connection(*script))


def events_of(path: Path) -> list[Event]:
    [connection] = Recording(path).connections
    return [connection.dial, *(event for _, event in connection.events())]


async def says(ws: ClientConnection, message: str) -> str | bytes:
    await ws.send(message)
    return await asyncio.wait_for(ws.recv(), 10)


# --- One test --------------------------------------------------------------------------------------------


async def test_a_recording_answers(tmp_path):
    recorded(tmp_path, "@fixture", ("sent", "a"), ("received", "1"))
    house = House(tmp_path, "replay")
    async with house.connect(URL) as ws:
        assert await says(ws, "a") == "1"
    assert (house.fixture.verdict, house.fixture.unplayed()) == (None, None)


async def test_a_dial_without_a_recording_is_missing(tmp_path):
    house = House(tmp_path, "replay")
    with pytest.raises(InvalidStatus) as caught:
        await house.connect(URL)
    assert type(house.fixture.verdict) is CassetteMissing
    assert caught.value.response.body.decode() == str(house.fixture.verdict)
    assert house.fixture.account.missing == [str(tmp_path / "@fixture.ws.jsonl")]


async def test_a_dial_after_a_verdict_gets_the_verdict(tmp_path):
    recorded(tmp_path, "@fixture")
    house = House(tmp_path, "replay")
    house.fixture.fail(CassetteError("the first", again=False))
    with pytest.raises(InvalidStatus) as caught:
        await house.connect(URL)
    assert (caught.value.response.status_code, caught.value.response.body) == (501, b"the first")


async def test_a_second_dial_of_what_is_recorded_once_is_a_mismatch(tmp_path):
    recorded(tmp_path, "@fixture")
    house = House(tmp_path, "replay")
    async with house.connect(URL):
        with pytest.raises(InvalidStatus):
            await house.connect(URL)
    assert type(house.fixture.verdict) is CassetteMismatch


async def test_a_folder_that_cannot_be_written_is_the_verdict_of_the_dial(tmp_path, url):
    (tmp_path / "file").write_text("in the way")
    house = House(tmp_path / "file", "record", url)
    with pytest.raises(InvalidStatus) as caught:
        await house.connect(url)
    assert caught.value.response.body.decode() == str(house.fixture.verdict)
    assert type(house.fixture.verdict) is CassetteError


async def test_stopping_gives_up_the_server_and_what_was_open_is_recorded_as_such(tmp_path):
    gone = asyncio.Event()

    async def talk(ws: ServerConnection) -> None:
        await ws.send(await ws.recv())
        await ws.wait_closed()
        gone.set()

    async with serve(talk, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        house = House(tmp_path, "record", url)
        ws = await house.connect(url)
        assert await says(ws, "a") == "a"
        await house.served.stop()
        await asyncio.wait_for(gone.wait(), 10)
        house.fixture.close()
        house.fixture.commit()
        ws.transport.abort()
        await ws.wait_closed()
    *events, end = events_of(tmp_path / "@fixture.ws.jsonl")
    assert [type(event) for event in events] == [Dial, Open, Sent, Received]
    assert (end.by, end.code) == ("client", 1006)


async def test_what_is_only_passed_on_is_recorded_nowhere(tmp_path, url):
    house = House(tmp_path, "pass", url)
    async with house.connect(url) as ws:
        assert await says(ws, "a") == "a"
    assert list(tmp_path.iterdir()) == []


async def test_it_knows_its_connections(tmp_path):
    recorded(tmp_path, "@fixture")
    house = House(tmp_path, "replay")
    behaviour = house.served.dial(URL, {})
    assert house.served.has(behaviour)
    assert not house.served.has(House(tmp_path, "replay").served.dial(URL, {}))


# --- A fixture that several tests share --------------------------------------------------------------------


async def records(tmp_path: Path, url: str) -> None:
    """Record a fixture that logs in, a test that asks for ``a``, one that is idle, and one that asks for ``b``."""
    house = House(tmp_path, "record", url)
    async with house.connect(url) as ws:
        await says(ws, "login")
        house.hand_over()
        for name, message in (("first", "a"), ("idle", ""), ("last", "b")):
            test = house.session(name)
            house.begins(test)
            if message:
                assert await says(ws, message) == message
            house.ends(test)
        house.served.take_back()
    house.fixture.close()
    house.fixture.commit()


async def test_what_passes_while_a_test_runs_is_on_its_tape(tmp_path, url):
    await records(tmp_path, url)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "@fixture.ws.jsonl",
        "first.ws.jsonl",
        "last.ws.jsonl",
    ]
    own = events_of(tmp_path / "@fixture.ws.jsonl")
    assert [event.payload for event in own if isinstance(event, Sent)] == ["login"]
    assert (own[-1].by, own[-1].code) == ("client", 1000)
    for name, message in (("first", "a"), ("last", "b")):
        dial, opened, asked, answered, end = events_of(tmp_path / f"{name}.ws.jsonl")
        assert (dial.url, dial.of, dial.number, type(opened)) == (URL, "@fixture", 1, Open)
        assert [asked.payload, answered.payload] == [message, message]
        assert (end.by, end.code) == ("test", 1006)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("names", [("first", "last"), ("last",), ("last", "first")])
async def test_each_test_goes_on_from_its_own_tape_whichever_runs(tmp_path, url, names, strict):
    await records(tmp_path, url)
    house = House(tmp_path, "replay")
    async with house.connect(URL) as ws:
        assert await says(ws, "login") == "login"
        house.hand_over()
        for name in names:
            test = house.session(name, strict=strict)
            house.begins(test)
            message = {"first": "a", "last": "b"}[name]
            assert await says(ws, message) == message
            assert (test.verdict, test.unplayed()) == (None, None)
            house.ends(test)
        house.served.take_back()
    assert (house.fixture.verdict, house.fixture.unplayed()) == (None, None)


async def test_what_a_test_did_not_use_of_its_part_is_unplayed(tmp_path, url):
    await records(tmp_path, url)
    house = House(tmp_path, "replay")
    async with house.connect(URL) as ws:
        await says(ws, "login")
        house.hand_over()
        test = house.session("first")
        house.begins(test)
        error = test.unplayed()
        house.served.take_back()
    assert type(error) is CassetteUnplayed
    assert "never sent: 'a'" in str(error)


async def test_a_test_that_has_no_part_in_the_connection_may_send_nothing(tmp_path, url):
    await records(tmp_path, url)
    recorded(tmp_path, "other")
    house = House(tmp_path, "replay")
    async with house.connect(URL) as ws:
        await says(ws, "login")
        house.hand_over()
        test = house.session("other")
        house.begins(test)
        await ws.send("a")
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert caught.value.rcvd.code == 4900
    assert "nothing is recorded of that connection for what runs now" in str(test.verdict)
    assert house.fixture.verdict is None


async def test_what_is_said_between_two_tests_is_the_next_one_s(tmp_path):
    talking: list[ServerConnection] = []

    async def talk(ws: ServerConnection) -> None:
        talking.append(ws)
        await ws.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        house = House(tmp_path, "record", url)
        async with house.connect(url) as ws:
            house.hand_over()
            await talking[0].send("tick")
            assert await ws.recv() == "tick"
            test = house.session("test")
            house.begins(test)
            house.ends(test)
            house.served.take_back()
    house.fixture.close()
    house.fixture.commit()
    assert [event.payload for event in events_of(tmp_path / "test.ws.jsonl") if isinstance(event, Received)] == [
        "tick"
    ]
