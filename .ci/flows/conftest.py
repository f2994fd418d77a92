"""What the flows share: what a client saw is kept while recording, and compared in a replay."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import httpx
import pytest
from trading import LONG

KEPT = Path(__file__).with_name("seen.json")
"""What each flow saw when it was recorded."""

REPORT = "FLOWS_REPORT"
"""Names the file that gets a line for each flow: its name, whether it went well, seconds, what was wrong."""

SEED = "FLOWS_SEED"
"""Names the order in which the flows run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SEED in os.environ:
        random.Random(os.environ[SEED]).shuffle(items)


@pytest.fixture(scope="session")
def connex_upstreams() -> dict[str, str]:
    return {"venue": os.environ.get("VENUE_URL", "http://venue.example")}


@pytest.fixture
def account(request: pytest.FixtureRequest) -> str:
    """The account of this flow, which no other uses."""
    return request.node.name.removeprefix("test_").replace("_", "-").replace("[", "-").replace("]", "")


@pytest.fixture
def rest(connex_config, account: str) -> str:
    return f"{connex_config.rest_url.rstrip('/')}/{account}"


@pytest.fixture
def ws_url(connex_config, account: str) -> str:
    return f"{connex_config.ws_url.rstrip('/')}/{account}/ws"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LONG) as client:
        yield client


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def same(request: pytest.FixtureRequest, connex_config) -> Callable[[object], None]:
    """Return what keeps what was seen while recording; a replay fails unless it sees just the same."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}

    def check(seen: object) -> None:
        seen = json.loads(json.dumps(seen))
        assert seen, "the flow saw nothing"
        if connex_config.mode == "live":
            KEPT.write_text(json.dumps(kept | {request.node.name: seen}, indent=1))
        else:
            assert seen == kept[request.node.name], "the replay is not what was recorded"

    return check


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if REPORT in os.environ and (report.when == "call" or report.failed):
        lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
        written = {"flow": report.nodeid, "failed": report.failed, "seconds": report.duration, "why": lines[:8]}
        with open(os.environ[REPORT], "a") as file:
            file.write(json.dumps(written) + "\n")
