"""What would be lost, or could not be played, fails the test that is recorded and says what; nothing is written."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from .conftest import Project, live_at

pytestmark = pytest.mark.usefixtures("wide_terminal")

SECRET = "secret-of-nothing-is-lost-1"

HEAD = """
import asyncio
import os
import resource
import signal
import socket
import threading
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import websockets
from websockets.sync.client import connect

REST, WS = os.environ["CONNEX_REST_URL"], os.environ["CONNEX_WS_URL"]  # kept from before the run began
CASSETTES = Path(__file__).with_name("cassettes") / "test_it"

def through(connex_config):
    assert requests.get(connex_config.rest_url + "/plain").text == "plain"

@pytest.fixture
def ending(connex_config):
    yield
    requests.get(REST + "/plain")

@pytest.fixture(scope="module")
def shared(connex_config):
    through(connex_config)
    requests.get(REST + "/plain")
"""

AROUND = r"this went around the recording: a dial of 127\.0\.0\.1:\d+"

WAYS: dict[str, tuple[str, str]] = {
    # what goes around the proxy
    "requests": ("through(connex_config); requests.get(REST + '/plain')", AROUND),
    "websockets": ("through(connex_config); connect(WS).__enter__().close()", AROUND),
    "a_thread": (
        """
        through(connex_config)
        thread = threading.Thread(target=requests.get, args=[REST + "/plain"])
        thread.start()
        thread.join()
        """,
        AROUND,
    ),
    "aiohttp": (
        """
        async def ask():
            async with aiohttp.ClientSession() as session, session.get(REST + "/plain") as answer:
                await answer.read()
        through(connex_config)
        asyncio.run(ask())
        """,
        AROUND,
    ),
    "httpx_that_swallows": (
        """
        through(connex_config)
        try:
            httpx.get(REST + "/plain")
        except Exception:
            pass
        """,
        AROUND,
    ),
    "a_shared_fixture": ("request.getfixturevalue('shared')", AROUND),
    # what cannot be looked into, or must not be written
    "an_answer_in_brotli": (
        "assert requests.get(connex_config.rest_url + '/brotli').status_code == 200",
        "the answer is encoded with br, which cannot be searched for secrets",
    ),
    "an_answer_that_is_no_gzip": (
        """
        with pytest.raises(requests.RequestException):
            requests.get(connex_config.rest_url + "/no-gzip")
        """,
        "the body of an answer is *",
    ),
    "a_compressed_secret": (
        """
        with connect(connex_config.ws_url) as ws:
            ws.send(zlib.compress(connex_config.api_secret.encode()))
            ws.recv(timeout=20)
        """,
        r"SecretFound: .*:4: a secret was left in this line; nothing was written",
    ),
    # what cannot be written, or is not what was written
    "a_limit_of_the_disk": (
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with connect(connex_config.ws_url) as ws:
                for number in range(40):
                    ws.send(f"{number} " * 2_000)
                    ws.recv(timeout=20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        """,
        "cannot be written",
    ),
    "a_file_that_is_changed_meanwhile": (
        """
        with connect(connex_config.ws_url) as ws:
            for number in range(40):
                ws.send(f"{number} " * 2_000)
                ws.recv(timeout=20)
            [made] = CASSETTES.glob("*.tmp")
            made.write_bytes(b"")
        """,
        "cannot be played: *",
    ),
    "a_file_in_the_way": (
        """
        through(connex_config)
        CASSETTES.mkdir(parents=True, exist_ok=True)
        CASSETTES.joinpath("test_a_file_in_the_way.yaml").mkdir()
        """,
        "cannot be written",
    ),
}

CONTROL = """
def test_control(connex_config):
    through(connex_config)
    with connect(connex_config.ws_url) as ws:
        ws.send("control")
        assert ws.recv(timeout=20) == "control"
"""


def answered(connection: ServerConnection, request: Request) -> Response | None:
    if "Upgrade" in request.headers:
        return None
    bodies = {
        "/brotli": (b"\x8b\x02\x80brotli\x03", {"Content-Encoding": "br"}),
        "/no-gzip": (gzip.compress(b"it" * 99)[:9] + b"?" * 99, {"Content-Encoding": "gzip"}),
    }
    body, headers = bodies.get(request.path, (b"plain", {}))
    fields = Headers({**headers, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(200, "OK", fields, body)


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A gateway that a live run finds, on this machine; every message comes back."""
    with serve(echo, "127.0.0.1", 0, process_request=answered) as server:
        thread = threading.Thread(target=server.serve_forever, name="live")
        thread.start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        live_at(monkeypatch, f"http://{address}", f"ws://{address}", "key-of-all-1", SECRET)
        yield
        server.shutdown()
        thread.join()


def test_of(name: str, body: str) -> str:
    lines = body.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join([f"def test_{name}(connex_config, request):", *("    " + line[margin:] for line in lines), ""])


test_of.__test__ = False  # type: ignore[attr-defined]


def record(project: Project) -> pytest.RunResult:
    return project.run_apart("--connex-live", "--connex-record=rewrite", "-rfE", timeout=120)


def written(project: Project) -> list[str]:
    return sorted(path.name for path in (project.path / "cassettes").rglob("*.*") if path.is_file())


def test_every_way_to_lose_traffic_fails_its_test_and_says_what_was_lost(project, live):
    project.test("\n\n".join([HEAD, *(test_of(name, body) for name, (body, _) in WAYS.items()), CONTROL]))
    result = record(project)
    for name, (_, told) in WAYS.items():
        result.stdout.re_match_lines([rf"(FAILED|ERROR) test_it.py::test_{name} - .*{told}"])
    outcomes = result.parseoutcomes()
    assert set(outcomes) <= {"failed", "errors", "passed"}
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) >= len(WAYS)
    assert written(project) == ["test_control.ws.jsonl", "test_control.yaml"]
