"""Tests on a virtual clock: who gets one, what shares it, and what the sandbox and recordings do on it."""

from __future__ import annotations

import pytest

from .conftest import Project, live_at

ON_VIRTUAL = """
import asyncio, pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.connex(clock="virtual")

def is_virtual():
    return type(asyncio.get_running_loop()).__name__ == "VirtualLoop"

class Stopwatch:
    def __init__(self):
        self.start = asyncio.get_running_loop().time()

    @property
    def seconds(self):
        return round(asyncio.get_running_loop().time() - self.start, 6)

PING = '{"action": "ping", "id": 7}'
"""

BOOK = """
async def test_book(connex_ws):
    watch = Stopwatch()
    await connex_ws.subscribe("ETH/USDT", depth=5)
    frames = [await connex_ws.recv() for _ in range(21)]
    await connex_ws.ping(1)
    print("seconds:", watch.seconds)
"""

LIVE = ("https://r.example", "wss://w.example", "a-key-of-some-length", "a-secret-of-some-length")


def on_virtual(project: Project, source: str, *args: str) -> pytest.RunResult:
    project.test(ON_VIRTUAL + source)
    return project.run(*args)


def passes(project: Project, source: str, *args: str, count: int = 1) -> None:
    on_virtual(project, source, *args).assert_outcomes(passed=count)


# --- Who gets one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "ini", "option", "virtual"),
    [
        ("", "", "", False),
        ("virtual", "", "", True),
        ("", "virtual", "", True),
        ("", "", "virtual", True),
        ("", "virtual", "real", False),
        ("", "real", "virtual", True),
        ("virtual", "real", "real", True),
        ("real", "virtual", "virtual", False),
    ],
)
def test_the_marker_wins_over_the_command_line_and_that_over_the_ini(project, marker, ini, option, virtual):
    if ini:
        project.ini(f"connex_clock = {ini}")
    project.test(
        f"""
        import asyncio, pytest

        @pytest.mark.connex({f"clock={marker!r}" if marker else ""})
        async def test_it():
            assert (type(asyncio.get_running_loop()).__name__ == "VirtualLoop") is {virtual}
        """
    )
    project.run(*([f"--connex-clock={option}"] if option else [])).assert_outcomes(passed=1)


def test_a_test_that_is_not_connex_s_keeps_its_loop(project):
    project.test(
        """
        import asyncio

        async def test_it():
            assert type(asyncio.get_running_loop()).__name__ != "VirtualLoop"
        """
    )
    project.run("--connex-clock=virtual").assert_outcomes(passed=1)


def test_tests_before_and_after_keep_their_loops(project):
    project.test(
        """
        import asyncio, pytest

        def loop():
            return type(asyncio.get_running_loop()).__name__

        async def test_a_before(connex_config): assert loop() != "VirtualLoop"

        @pytest.mark.connex(clock="virtual")
        async def test_b(): assert loop() == "VirtualLoop"

        async def test_c_after(connex_config): assert loop() != "VirtualLoop"

        async def test_d_other(): assert loop() != "VirtualLoop"

        @pytest.mark.connex(clock="virtual")
        async def test_e(connex_config): assert loop() == "VirtualLoop"
        """
    )
    project.run().assert_outcomes(passed=5)


def test_a_test_without_a_loop_may_ask_for_one(project):
    passes(project, "def test_it(connex_config): pass")


def test_fixtures_test_and_teardown_share_one_loop_and_its_time(project):
    passes(
        project,
        """
        @pytest.fixture
        async def clock():
            loop = asyncio.get_running_loop()
            await asyncio.sleep(100)
            yield loop
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(100)
            assert loop.time() == pytest.approx(1_000 + 300)

        async def test_it(clock, connex_ws, connex_ws_connect):
            assert asyncio.get_running_loop() is clock
            await asyncio.sleep(100)
            async with connex_ws_connect() as another:
                assert (await connex_ws.ping(1)).id == (await another.ping(1)).id
            assert clock.time() == pytest.approx(1_000 + 200)
        """.replace("\n        ", "\n"),
        "--connex-sandbox",
    )


NAMES = """
class TestA:
    @pytest.mark.parametrize("depth", [5, 10])
    async def test_ws(self, connex_ws, depth):
        await connex_ws.subscribe("ETH/USDT", depth)

async def test_plain(connex_ws):
    await connex_ws.ping(1)
"""


def test_names_of_tests_do_not_change(project):
    project.test("import pytest\n" + NAMES)
    real, virtual = (project.run("--collect-only", "-q", f"--connex-clock={clock}") for clock in ("real", "virtual"))
    names = ["test_it.py::TestA::test_ws[5]", "test_it.py::TestA::test_ws[10]", "test_it.py::test_plain"]
    assert virtual.outlines[:3] == real.outlines[:3] == names


def test_a_recording_of_one_clock_is_read_on_the_other(project):
    project.test("import pytest\n" + NAMES)
    project.record("--connex-clock=virtual")
    project.run("--connex-clock=real").assert_outcomes(passed=3)
    files = sorted(file.name for file in (project.path / "cassettes" / "test_it").iterdir())
    assert files == ["TestA.test_ws[10].ws.jsonl", "TestA.test_ws[5].ws.jsonl", "test_plain.ws.jsonl"]


# --- Who cannot have one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["module", "session"])
def test_a_loop_of_a_wider_scope_is_a_usage_error(project, scope):
    project.test(
        f"""
        import pytest

        @pytest.mark.asyncio(loop_scope="{scope}")
        @pytest.mark.connex(clock="virtual")
        async def test_it(): pass
        """
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: test_it.py::test_it: a test on a virtual clock has an event loop of its own: drop its "
            'loop_scope, or set it to "function"'
        ]
    )


def test_a_loop_of_its_own_may_be_asked_for_in_words(project):
    passes(project, '@pytest.mark.asyncio(loop_scope="function")\nasync def test_it(): assert is_virtual()')


def test_a_wider_default_of_loops_is_a_usage_error(project):
    project.ini("asyncio_default_test_loop_scope = session")
    result = on_virtual(project, "async def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *a test on a virtual clock has an event loop of its own*"])


def test_a_live_run_keeps_the_real_clock(project, monkeypatch):
    live_at(monkeypatch, *LIVE)
    passes(project, "async def test_it(connex_connect): assert not is_virtual()", "--connex-live")


def test_a_live_run_keeps_a_test_with_a_sandbox_of_its_own(project, monkeypatch):
    live_at(monkeypatch, *LIVE)
    passes(project, "async def test_it(connex_sandbox, connex_ws): assert is_virtual()", "--connex-live")


REST = "async def test_it(connex_rest_async):\n    assert (await connex_rest_async.get('/v1/status')).is_success\n"


def test_asynchronous_rest_asks_the_sandbox(project):
    passes(project, REST + "    assert is_virtual()\n", "--connex-sandbox")


def test_asynchronous_rest_replays(project):
    project.test(REST)
    project.record()
    passes(project, REST + "    assert is_virtual()\n")


# --- Recordings ------------------------------------------------------------------------------------------


@pytest.fixture
def book(project: Project) -> Project:
    """A project whose one test, which reads a snapshot and 20 updates within a second, is recorded."""
    project.test_recorded(ON_VIRTUAL + BOOK)
    return project


@pytest.mark.parametrize(("pace", "seconds"), [("instant", 0.0), ("recorded", 1.0), ("0.5", 0.5), ("60", 60.0)])
def test_a_recording_replays_at_its_pace(book, pace, seconds):
    result = book.run(f"--connex-pace={pace}", "-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"seconds: {seconds}"])


def test_while_recording_the_sandbox_keeps_its_intervals(project):
    project.test(ON_VIRTUAL + BOOK)
    project.record("-rP", "--connex-sandbox-interval=0.5").stdout.fnmatch_lines(["seconds: 10.0"])


def test_a_client_that_reconnects_with_back_off_waits_its_full_time(project):
    source = """
async def test_ws(connex_connect, connex_config):
    watch, opened = Stopwatch(), []
    for wait in (5, 10, 0):
        async with connex_connect(connex_config.ws_url) as ws:
            opened.append(watch.seconds)
            await ws.send(PING)
            await ws.recv()
        await asyncio.sleep(wait)
    assert opened == [0, 5, 15]
"""
    project.test(ON_VIRTUAL + source)
    project.record()
    for pace in ("instant", "recorded"):
        passes(project, source, f"--connex-pace={pace}")


def test_200_runs_are_alike(project):
    source = """
seen = set()

@pytest.mark.parametrize("number", range(200))
async def test_ws(connex_ws, number):
    watch = Stopwatch()
    await connex_ws.subscribe("ETH/USDT", depth=5)
    frames = []
    for _ in range(5):
        frame = await connex_ws.recv()
        frames.append((watch.seconds, frame.sequence, repr(frame.bids), repr(frame.asks)))
        await asyncio.sleep(0.07)
    seen.add(tuple(frames))
    assert len(seen) == 1
"""
    passes(project, source, "--connex-sandbox", count=200)


# --- The sandbox -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [("drop_after(2)", None, ""), ("close_after(2, 4002, 'maintenance')", 4002, "maintenance")],
)
def test_a_connection_ends_as_it_is_scripted(project, fault, code, reason):
    passes(
        project,
        f"""
async def test_it(connex_sandbox, connex_connect):
    connex_sandbox.faults.{fault}
    watch, answers = Stopwatch(), []
    async with connex_connect(connex_sandbox.ws_url) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await asyncio.sleep(1)
                await ws.send(PING)
                answers.append(await ws.recv())
    frame = caught.value.rcvd
    assert (len(answers), watch.seconds) == (2, 3.0)
    assert (frame and frame.code, frame.reason if frame else "") == ({code}, {reason!r})
""",
    )


def test_handshakes_are_refused_as_they_are_scripted(project):
    passes(
        project,
        """
async def test_it(connex_sandbox, connex_connect):
    connex_sandbox.faults.refuse_handshake(status=429, retry_after=2)
    with pytest.raises(InvalidStatus) as caught:
        await connex_connect(connex_sandbox.ws_url)
    response = caught.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (429, "2")
    async with connex_connect(connex_sandbox.ws_url) as ws:
        await ws.send(PING)
        assert "pong" in await ws.recv()
""",
    )


def test_the_client_reconnects_with_back_off_after_refused_handshakes(project):
    passes(
        project,
        """
async def test_it(connex_sandbox, connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
    connex_sandbox.faults.refuse_handshake(times=2)
    watch = Stopwatch()
    await connex_ws.reconnect()
    assert watch.seconds == 15.0
    assert (await connex_ws.recv()).symbol == "ETH/USDT"
""",
    )


def test_connections_are_dropped(project):
    passes(
        project,
        """
async def test_it(connex_sandbox, connex_connect):
    async with connex_connect(connex_sandbox.ws_url) as one, connex_connect(connex_sandbox.ws_url) as two:
        asyncio.get_running_loop().call_later(3, connex_sandbox.drop_connections)
        watch = Stopwatch()
        for ws in (one, two):
            with pytest.raises(ConnectionClosed) as caught:
                await ws.recv()
            assert (caught.value.rcvd, watch.seconds) == (None, 3.0)
    async with connex_connect(connex_sandbox.ws_url) as again:
        await again.send(PING)
        assert "pong" in await again.recv()
""",
    )


def test_a_heartbeat_comes_after_five_seconds_of_silence(project):
    passes(
        project,
        """
async def test_it(connex_sandbox, connex_connect):
    watch, heard = Stopwatch(), []
    async with connex_connect(connex_sandbox.ws_url) as ws:
        for _ in range(3):
            assert "heartbeat" in await ws.recv()
            heard.append(watch.seconds)
        await asyncio.sleep(1)
        await ws.send(PING)
        assert "pong" in await ws.recv()
        assert "heartbeat" in await ws.recv()
        heard.append(watch.seconds)
    assert heard == [5.0, 10.0, 15.0, 21.0]
""",
    )


def test_nonces_are_held_against_the_clock_on_the_wall(project):
    passes(
        project,
        """
import time

async def test_it(connex_config, connex_connect, connex_dialect):
    nonce = str(time.time_ns() // 1_000_000)
    async with connex_connect(connex_config.ws_url) as ws:
        await asyncio.sleep(61)
        message = connex_dialect.authenticate(connex_config.api_key, connex_config.api_secret, nonce)
        await ws.send(connex_dialect.encode(message))
        while "heartbeat" in (answer := await ws.recv()):
            pass
        assert "authenticated" in answer
""",
        "--connex-sandbox",
    )


def test_a_session_is_opened_again_after_minutes(project):
    passes(
        project,
        """
async def test_it(connex_ws_connect):
    for _ in range(3):
        async with connex_ws_connect() as ws:
            assert (await ws.ping(1)).id == 1
            await asyncio.sleep(61)
""",
        "--connex-sandbox",
    )


# --- Tests that somebody else runs -----------------------------------------------------------------------

OTHER_RUNNER = (
    "*ERROR: test_it.py::{test}: a virtual clock is given through pytest-asyncio, which does not run this test: drop "
    'its other runner (the marker anyio or trio, IsolatedAsyncioTestCase) or mark it asyncio; or set clock="real"'
)


@pytest.mark.parametrize("mode", ["auto", "strict"])
@pytest.mark.parametrize(
    "test",
    [
        "@pytest.mark.anyio\nasync def test_it(connex_config): pass",
        "async def test_it(anyio_backend, connex_config): pass",
    ],
)
def test_a_test_of_anyio_is_refused(project, mode, test):
    project.test(f"{ON_VIRTUAL}\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n\n{test}\n")
    result = project.run("-o", f"asyncio_mode={mode}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([OTHER_RUNNER.format(test="test_it")])


def test_a_test_of_anyio_keeps_its_clock_where_it_asks_for_the_real_one(project):
    project.test(
        """
        import pytest

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        @pytest.mark.anyio
        @pytest.mark.connex(clock="real")
        async def test_it(connex_config): pass
        """
    )
    project.run("--connex-clock=virtual").assert_outcomes(passed=1)


def test_a_test_of_unittest_is_refused(project):
    result = on_virtual(
        project,
        """
        import unittest

        class TestX(unittest.IsolatedAsyncioTestCase):
            async def test_y(self): pass
        """.replace("\n        ", "\n"),
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([OTHER_RUNNER.format(test="TestX::test_y")])
