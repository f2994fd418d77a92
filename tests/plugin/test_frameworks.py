"""A verdict is the result of its test whatever markers and frameworks make of a failure."""

from __future__ import annotations

import re
from functools import partial

import pytest

from .conftest import Project

pytestmark = pytest.mark.usefixtures("wide_terminal")

OPTIONS = ("-rA", "--tb=short", "-o", "asyncio_mode=strict", "--connex-replay-timeout=0.2")

SYNC = """
import asyncio
import unittest
import pytest

@pytest.mark.xfail(reason="bug 17")
def test_expected(connex_rest):
    connex_rest.get(PATH)
    assert False

@pytest.mark.xfail(strict=True)
def test_expected_strictly(connex_rest):
    connex_rest.get(PATH)
    assert False

@pytest.mark.xfail(raises=Exception)
def test_expected_to_raise(connex_rest):
    connex_rest.get(PATH)
    assert False

def test_expected_by_a_call(connex_rest):
    connex_rest.get(PATH)
    pytest.xfail("later")

def test_subtests(connex_rest, subtests):
    with subtests.test("one"):
        connex_rest.get(PATH)

class Base:
    @pytest.fixture(autouse=True)
    def client(self, connex_rest):
        self.client = connex_rest

class TestUnit(Base, unittest.TestCase):
    def test_plain(self):
        self.client.get(PATH)

    @unittest.expectedFailure
    def test_expected(self):
        self.client.get(PATH)
        self.fail("expected")

    def test_subtests(self):
        with self.subTest("one"):
            self.client.get(PATH)

class TestAsync(Base, unittest.IsolatedAsyncioTestCase):
    async def test_plain(self):
        self.client.get(PATH)

    async def test_swallowed(self):
        try:
            self.client.get(PATH)
        except Exception:
            pass
        while VERDICT:
            await asyncio.Event().wait()
"""
ANYIO = """
import anyio
import pytest
import sniffio

pytestmark = pytest.mark.anyio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

async def test_rest(connex_rest, anyio_backend):
    assert sniffio.current_async_library() == anyio_backend
    connex_rest.get(PATH)

async def test_swallowed(connex_rest):
    try:
        connex_rest.get(PATH)
    except Exception:
        pass
    while VERDICT:
        await anyio.sleep_forever()

async def test_proxy(connex_proxy):
    import httpx
    async with httpx.AsyncClient() as client:
        assert (await client.get(connex_proxy.rest_url + PATH)).status_code != 501
"""
TRIO = """
import pytest
import trio

@pytest.fixture
async def entered():
    async with trio.open_nursery() as nursery:
        yield nursery

@pytest.mark.trio
async def test_rest(connex_rest, entered):
    connex_rest.get(PATH)

@pytest.mark.trio
async def test_swallowed(connex_rest, entered):
    connex_rest.get("/v1/status")
    while VERDICT:
        try:
            connex_rest.get(PATH)
        except Exception:
            await trio.sleep(0)
"""


def outcomes(result: pytest.RunResult) -> dict[str, set[str]]:
    """What each test ended with: PASSED, XFAIL, or the name of the exception that it FAILED with."""
    found: dict[str, set[str]] = {}
    for line in result.outlines:
        if match := re.match(r"(FAILED|ERROR|PASSED|XFAIL|XPASS) test_it\.py::(\S+)(?: - ([\w.]+))?", line):
            said = match[3].rpartition(".")[2] if match[1] == "FAILED" and match[3] else match[1]
            found.setdefault(match[2], set()).add(said)
    return found


def fails_with_its_verdict(project: Project, source: str, *beside: str) -> dict[str, set[str]]:
    """Record ``source``, replay it as it is and with another path, and return what comes of the latter.

    What waits for ever waits only there, where ``VERDICT`` is true.
    """
    run = partial(project.run_apart, *OPTIONS, beside=beside)
    project.test(f'PATH, VERDICT = "/v1/status", False\n{source}')
    made = run("--connex-sandbox", "--connex-record=rewrite")
    assert made.ret == 0, made.stdout.str()
    assert outcomes(run()) == outcomes(made)
    project.test(f'PATH, VERDICT = "/v1/symbols", True\n{source}')
    result = run()
    assert "INTERNALERROR" not in result.stdout.str()
    return outcomes(result)


def test_markers_and_unittest(project):
    found = fails_with_its_verdict(project, SYNC)
    assert {name: kinds for name, kinds in found.items() if kinds != {"CassetteMismatch"}} == {}
    assert len(found) == 10


def test_anyio(project):
    found = fails_with_its_verdict(project, ANYIO, "anyio")
    names = {f"test_{name}[{backend}]" for name in ("rest", "swallowed", "proxy") for backend in ("asyncio", "trio")}
    assert found == dict.fromkeys(names, frozenset({"CassetteMismatch"}))


def test_pytest_trio(project):
    pytest.importorskip("pytest_trio")
    found = fails_with_its_verdict(project, TRIO, "trio")
    assert found == dict.fromkeys(("test_rest", "test_swallowed"), frozenset({"CassetteMismatch"}))
