"""Modes, markers, the header and the terminal section."""

from __future__ import annotations

import pytest

MARKED = """
import pytest

@pytest.mark.connex_live
def test_live(): pass

@pytest.mark.connex_recorded
def test_recorded(): pass

@pytest.mark.connex_sandbox
def test_sandbox(connex_sandbox): assert connex_sandbox.rest_url.startswith("http://127.0.0.1:")

def test_plain(): pass
"""


def test_a_recorded_run_says_what_it_skips_and_how_to_run_it(project):
    project.test(MARKED)
    result = project.run("-rs", "--strict-markers")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs the live gateway: run with --connex-live"])


def test_a_sandbox_run_says_what_it_skips_and_how_to_run_it(project):
    project.test(MARKED)
    result = project.run("-rs", "--connex-sandbox")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*runs from its recording only: run without --connex-sandbox"])


def test_the_header_says_where_traffic_goes(project, monkeypatch):
    project.test("def test_it(): pass")
    project.run().stdout.fnmatch_lines(
        ["connex: recorded: REST https://rest.connex.invalid, WebSocket wss://ws.connex.invalid, key conn...-key"]
    )
    project.run("--connex-sandbox", "--connex-record").stdout.fnmatch_lines(
        ["connex: sandbox, recording (once): embedded sandbox, seed 7"]
    )
    monkeypatch.setenv("CONNEX_WS_URL", "wss://gateway.example")
    monkeypatch.setenv("CONNEX_API_KEY", "AKfYcbwXYZ0123456789abcd")
    monkeypatch.setenv("CONNEX_API_SECRET", "a-secret-of-some-length")
    result = project.run("--connex-live")
    result.stdout.fnmatch_lines(
        [
            "connex: live: REST not set, WebSocket wss://gateway.example from the environment, "
            "key AKfY...abcd from the environment, secret from the environment"
        ]
    )
    assert "a-secret" not in result.stdout.str()


def test_the_header_of_a_live_run_tells_a_file_from_the_environment(project, monkeypatch):
    project.test("def test_it(): pass")
    (project.path / ".env").write_text(
        "CONNEX_REST_URL=https://elsewhere.example\nCONNEX_WS_URL=wss://elsewhere.example\n"
        "CONNEX_API_KEY=key-of-the-file\n"
    )
    monkeypatch.setenv("CONNEX_WS_URL", "wss://elsewhere.example")
    monkeypatch.setenv("CONNEX_API_KEY", "AKfYcbwXYZ0123456789abcd")
    project.run("--connex-live").stdout.fnmatch_lines(
        [
            "connex: live: REST https://elsewhere.example from .env, WebSocket wss://elsewhere.example from the "
            "environment and .env, key AKfY...abcd from the environment, secret not set"
        ]
    )


@pytest.mark.parametrize("distributed", [False, True], ids=["alone", "distributed"])
def test_the_terminal_section_counts(recorded, distributed):
    result = recorded.run_distributed() if distributed else recorded.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*= connex =*", "tests: 2 recorded", "recordings: 2 read, 0 written, 0 missing"])


def test_the_terminal_section_lists_what_was_written(project):
    from .conftest import BOTH

    project.test(BOTH)
    project.record().stdout.fnmatch_lines(
        [
            "tests: 2 sandbox",
            "recordings: 0 read, 2 written, 0 missing",
            "  written: cassettes/test_it/test_rest.yaml",
            "  written: cassettes/test_it/test_ws.ws.jsonl",
        ]
    )


def test_a_run_without_connex_has_no_section(project):
    project.test("def test_it(): pass")
    assert "= connex =" not in project.run().stdout.str()


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_both_modes_of_asyncio_work(project, mode):
    project.test(
        """
        import pytest

        @pytest.mark.asyncio
        async def test_it(connex_ws):
            assert (await connex_ws.ping(1)).id == 1
        """
    )
    assert project.run("--connex-sandbox", f"--asyncio-mode={mode}").ret == 0


def test_a_connection_on_another_loop_says_which_scope_to_set(project):
    project.test(
        """
        import pytest

        @pytest.mark.asyncio(loop_scope="module")
        async def test_it(connex_ws):
            await connex_ws.ping(1)
        """
    )
    result = project.run("--connex-sandbox")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*LoopScopeError*another event loop*loop_scope*"])


def test_a_session_fixture_cannot_request_a_connection(project):
    project.test(
        """
        import pytest

        @pytest.fixture(scope="session")
        def client(connex_rest): return connex_rest

        def test_it(client): pass
        """
    )
    project.run("--connex-sandbox").stdout.fnmatch_lines(["*ScopeMismatch*"])


def test_an_overridden_dialect_decides_what_is_volatile(project):
    project.test(
        """
        import dataclasses, pytest, time
        from pytest_connex import Dialect

        @pytest.fixture(scope="session")
        def connex_dialect():
            return dataclasses.replace(Dialect(), volatile_paths=("note",))

        async def test_ws(connex_config, connex_connect):
            async with connex_connect(connex_config.ws_url) as ws:
                await ws.send('{"action": "ping", "note": "%d"}' % time.time_ns())
                await ws.recv()
        """
    )
    project.record()
    assert project.run().ret == 0


def test_names_of_recordings_do_not_collide(project):
    project.test(
        """
        import pytest

        class TestA:
            @pytest.mark.parametrize("value", ["a/b", "a:b", "x" * 300], ids=str)
            async def test_ws(self, connex_ws, value):
                await connex_ws.send({"action": "ping", "note": value})
                await connex_ws.recv()
        """
    )
    project.record()
    files = sorted((project.path / "cassettes" / "test_it").iterdir())
    assert len(files) == 3
    assert all(file.name.startswith("TestA.test_ws[") for file in files)
    assert project.run().ret == 0


@pytest.mark.parametrize("fixture", ["connex_rest_async", "connex_respx"])
def test_without_the_extra_a_fixture_says_what_to_install(project, fixture):
    project.pytester.makeconftest("import sys\nsys.modules['httpx'] = None\nsys.modules['respx'] = None\n")
    project.test(f"async def test_it({fixture}):\n    pass\n")
    result = project.run_apart("--connex-sandbox")
    result.stdout.fnmatch_lines([f"*{fixture} needs the extra httpx: pip install 'pytest-connex[[]httpx[]]'*"])
