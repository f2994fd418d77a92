"""Traffic while no test that uses Connex is running: it is refused with words, and spoils nothing."""

from __future__ import annotations

LEFT_BEHIND = """
import threading
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

go, heard = threading.Event(), []

def left_behind(config):
    session = requests.Session()
    heard.append(session.get(config.rest_url + "/v1/status").status_code)
    threading.Thread(target=stray, args=(config, session), name="stray").start()

def stray(config, session):
    go.wait(60)
    for client in (session, requests):
        answer = client.get(config.rest_url + "/v1/left-behind")
        heard.append((answer.status_code, answer.text))
    try:
        connect(config.ws_url)
    except InvalidStatus as exc:
        heard.append((exc.response.status_code, exc.response.body.decode()))
    done.set()

done = threading.Event()

def test_a_leaves_a_thread_behind(connex_config):
    left_behind(connex_config)

def test_b_of_somebody_else():
    go.set()
    assert done.wait(60)
    assert [status for status, text in heard[1:]] == [503, 503, 503]
    assert {text.split(":")[0] for status, text in heard[1:]} == {
        "no test that uses Connex is running, so that this belongs to nobody"
    }

def test_c_after_it(connex_config):
    assert requests.get(connex_config.rest_url + "/v1/symbols").status_code == 401
"""


def test_a_thread_that_was_left_behind_is_refused_and_spoils_no_test(project):
    project.test(LEFT_BEHIND)
    project.record().assert_outcomes(passed=3)
    texts = "".join(path.read_text() for path in (project.path / "cassettes").rglob("*.*"))
    assert "left-behind" not in texts
    project.run().assert_outcomes(passed=3)


BEFORE_IT_BEGINS = """
import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

known, refused = [], []

@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    for config in known:
        refused.append(requests.get(config.rest_url + "/v1/nobody").status_code)
        try:
            connect(config.ws_url)
        except InvalidStatus as exc:
            refused.append(exc.response.status_code)
    return (yield)

@pytest.fixture(autouse=True)
def learns(connex_config):
    yield
    known[:] = [connex_config]
"""

BOTH_KINDS = """
import requests
from websockets.sync.client import connect

def said(config):
    assert requests.get(config.rest_url + "/v1/status").status_code == 401
    with connect(config.ws_url) as ws:
        ws.send('{"action": "ping", "id": 7}')
        assert "pong" in ws.recv(timeout=20)

def test_a(connex_config):
    said(connex_config)

def test_b(connex_config):
    said(connex_config)

def test_c_was_not_asked_in_between():
    from conftest import refused
    assert refused == [503, 503] * 2
"""


def test_what_is_asked_while_the_recordings_of_a_test_are_read_belongs_to_nobody(project):
    """As by a thread that the test before has left behind."""
    project.pytester.makeconftest(BEFORE_IT_BEGINS)
    project.test(BOTH_KINDS)
    project.record().assert_outcomes(passed=3)
    project.run().assert_outcomes(passed=3)


OPEN = """
import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

kept = []

def test_a_leaves_a_connection_open(connex_config):
    ws = connect(connex_config.ws_url)
    kept.append(ws)
    ws.send('{"action": "ping", "id": 7}')
    assert "pong" in ws.recv(timeout=20)

def test_b_of_somebody_else():
    with pytest.raises(ConnectionClosed):
        kept[0].recv(timeout=20)
        kept[0].send("to nobody")
        kept[0].recv(timeout=20)

def test_c_after_it(connex_config):
    with pytest.raises(ConnectionClosed):
        kept[0].send("to nobody")
        kept[0].recv(timeout=20)
    assert requests.get(connex_config.rest_url + "/v1/symbols").status_code == 401
"""


def test_a_connection_that_was_left_open_ends_with_its_test(project):
    project.test(OPEN)
    project.record("-W", "ignore").assert_outcomes(passed=3)
    project.run("-W", "ignore").assert_outcomes(passed=3)


POOL = """
import pytest
import requests

@pytest.fixture(scope="session")
def pool():
    with requests.Session() as session:
        yield session

@pytest.mark.parametrize("number", range(3))
def test_it(pool, connex_config, number):
    assert pool.get(f"{connex_config.rest_url}/v1/status?number={number}").status_code == 401
"""


def test_a_pool_of_connections_may_be_kept(project):
    project.test(POOL)
    project.record().assert_outcomes(passed=3)
    project.run().assert_outcomes(passed=3)
    recorded = sorted((project.path / "cassettes" / "test_it").iterdir())
    assert ["number=0" in path.read_text() for path in recorded] == [True, False, False]


def test_a_run_without_a_test_that_uses_connex_has_no_proxy(project):
    project.test("import threading\ndef test_it(): assert 'connex-proxy' not in str(threading.enumerate())\n")
    project.run_apart().assert_outcomes(passed=1)
