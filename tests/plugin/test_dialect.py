"""The dialect of a project: spoken by the sandbox in every way it is run, and recorded and replayed."""

from __future__ import annotations

import pytest

DIALECT = """
import pytest
from pytest_connex import Dialect

class MyDialect(Dialect):
    status_path = "/v2/status"
    key_header = "X-MY-KEY"

    def authenticate(self, api_key, api_secret, nonce):
        signature = self.sign(api_key, api_secret, nonce)
        return {"op": "login", "args": {"key": api_key, "nonce": int(nonce), "signature": signature}}

    def subscribe(self, symbol, depth=50):
        return {"op": "subscribe", "topic": f"book.{depth}.{symbol}"}

    volatile_paths = (*Dialect.volatile_paths, "args.key", "args.nonce", "args.signature")

@pytest.fixture(scope="session")
def connex_dialect():
    return MyDialect()
"""

TESTS = """
def test_rest(connex_rest):
    assert connex_rest.status()["status"] == "healthy"
    assert connex_rest.get("/v1/status").status_code == 404

async def test_ws(connex_ws):
    answer = await connex_ws.subscribe("ETH/USDC", depth=3)
    assert (answer.symbol, answer.depth) == ("ETH/USDC", 3)
    assert len((await connex_ws.recv()).bids) == 3
"""

OWN = """
def test_own(connex_sandbox, connex_dialect, connex_rest):
    assert connex_sandbox.dialect is connex_dialect
    assert connex_rest.status()["status"] == "healthy"
"""


def test_the_sandbox_of_a_run_and_one_of_a_test_speak_the_dialect_of_the_project(project):
    project.pytester.makeconftest(DIALECT)
    project.test(TESTS + OWN)
    project.record().assert_outcomes(passed=3)
    project.run().assert_outcomes(passed=3)


def test_each_module_may_have_a_dialect_of_its_own(project):
    plain = 'def test_plain(connex_rest): assert connex_rest.get("/v1/status").status_code == 200'
    project.pytester.makepyfile(test_a=plain, test_b=DIALECT + TESTS, test_c=plain)
    project.run("--connex-sandbox").assert_outcomes(passed=4)


def test_a_dialect_may_have_parameters(project):
    project.pytester.makeconftest(
        DIALECT.replace('scope="session")', 'scope="session", params=[Dialect, MyDialect])').replace(
            "connex_dialect():\n    return MyDialect()", "connex_dialect(request):\n    return request.param()"
        )
    )
    project.test(OWN + TESTS.partition("async")[0].partition("    assert connex_rest.get")[0])
    project.run("--connex-sandbox").assert_outcomes(passed=4)


def test_a_dialect_that_cannot_be_served_is_told_in_a_line(project):
    project.test("""
import pytest
from pytest_connex import Dialect

class Half(Dialect):
    def encode(self, message):
        return "42" + super().encode(message)

@pytest.fixture(scope="session")
def connex_dialect():
    return Half()

def test_it(connex_sandbox): ...
def test_url(connex_config): ...
""")
    result = project.run("--connex-sandbox")
    result.assert_outcomes(errors=2)
    told = (
        "*the sandbox cannot speak the dialect Half: decode() does not read what encode() writes of authenticate()*"
    )
    result.stdout.fnmatch_lines([told, told])
    assert "language.py" not in result.stdout.str()


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_nonces_are_stale_when_the_clock_of_the_sandbox_is_ahead_or_behind(project, clock):
    project.test(f"""
import pytest
from pytest_connex.errors import AuthenticationError

pytestmark = pytest.mark.connex(clock="{clock}")

async def test_it(connex_sandbox, connex_ws_connect):
    for skew in (60, -60):
        connex_sandbox.clock_skew = skew
        with pytest.raises(AuthenticationError) as caught:
            await connex_ws_connect().open()
        assert caught.value.code == "stale_nonce"
    connex_sandbox.clock_skew = 20
    async with connex_ws_connect() as ws:
        assert connex_sandbox.clock_skew == 20.0
""")
    project.run().assert_outcomes(passed=1)


def test_a_client_waits_as_long_as_the_rate_limit_says(project):
    project.test("""
import pytest


@pytest.fixture
def waited():
    return []

@pytest.fixture
def connex_sleep(waited, connex_sandbox):
    def lift(seconds):
        waited.append(seconds)
        connex_sandbox.rate_limit = 2
    return lift

def test_it(connex_sandbox, connex_rest, waited):
    connex_sandbox.rate_limit = 2
    remaining = [connex_rest.get("/v1/status").headers["X-RateLimit-Remaining"] for _ in range(3)]
    assert remaining == ["1", "0", "1"]
    [wait] = waited
    assert 0 < wait <= 60

def test_another_test_has_its_own(connex_sandbox, connex_rest):
    assert connex_sandbox.rate_limit == 100_000
""")
    project.run().assert_outcomes(passed=2)


def test_books_of_two_exchanges_are_followed_on_one_connection(project):
    project.test("""
async def test_it(connex_orderbook):
    markets = [("binance", 3), ("binance", 20), ("okx", 3)]
    books = [await connex_orderbook("ETH/USDT", depth, exchange=name) for name, depth in markets]
    for book in books:
        await book.follow(5)
    assert [(book.exchange, len(book.bids)) for book in books] == markets
""")
    project.run("--connex-sandbox").assert_outcomes(passed=1)
