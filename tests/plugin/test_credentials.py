"""A client that forgets its credentials, or a header that matters, is not answered by a recording."""

from __future__ import annotations

import pytest

REST = """
import os
import pytest
import requests

def test_rest(connex_config):
    headers = {"X-CONNEX-API-KEY": connex_config.api_key, "X-CONNEX-API-SECRET": connex_config.api_secret}
    headers |= {"Authorization": "Bearer " + os.urandom(8).hex(), "X-Account": "main"}
    for name in os.environ.get("WITHOUT", "").split():
        del headers[name]
    headers |= eval(os.environ.get("CHANGED", "{}"))
    answer = requests.get(connex_config.rest_url + "/v1/symbols", headers=headers)
    assert answer.status_code == 200
"""

DIAL = """
import os
import pytest
import websockets

async def test_dial(connex_config):
    headers = {"Authorization": "Bearer " + os.urandom(8).hex(), "X-Account": "main"}
    for name in os.environ.get("WITHOUT", "").split():
        del headers[name]
    headers |= eval(os.environ.get("CHANGED", "{}"))
    async with websockets.connect(connex_config.ws_url, additional_headers=headers) as ws:
        await ws.send('{"action": "ping", "id": 7}')
        assert "pong" in await ws.recv()
"""


@pytest.mark.parametrize(
    ("source", "without"),
    [(REST, "X-CONNEX-API-KEY"), (REST, "X-CONNEX-API-SECRET"), (REST, "Authorization"), (DIAL, "Authorization")],
)
def test_without_credentials_nothing_fits(project, monkeypatch, source, without):
    project.test(source)
    project.record()
    project.run().assert_outcomes(passed=1)
    monkeypatch.setenv("WITHOUT", without)
    ran = project.run()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines([f"*headers: {without.lower()}: expected *connex-recorded-*, actual none*"])


@pytest.mark.parametrize("source", [REST, DIAL])
def test_of_other_headers_those_matter_that_are_named(project, monkeypatch, source):
    project.test(source)
    project.record()
    monkeypatch.setenv("CHANGED", '{"X-Account": "other", "X-More": "1"}')
    project.run().assert_outcomes(passed=1)
    for args in (["--connex-match-headers=X-Account"], ["-o", "connex_match_headers=X-Other, x-account"]):
        ran = project.run(*args)
        ran.assert_outcomes(failed=1)
        ran.stdout.fnmatch_lines(["*headers: x-account: expected main, actual other*"])
    ran = project.run("--connex-match-headers=X-More")
    ran.stdout.fnmatch_lines(["*headers: x-more: expected none, actual 1*"])
    project.test("import pytest\npytestmark = pytest.mark.connex(match_headers=['x-account'])\n" + source)
    ran = project.run()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*headers: x-account: expected main, actual other*"])


TWICE = """
import os
import requests

def test_it(connex_config):
    headers = {"X-CONNEX-API-KEY": connex_config.api_key, "X-CONNEX-API-SECRET": connex_config.api_secret}
    asked = [{}, headers, headers, {}]
    if os.environ.get("TURNED"):
        asked.reverse()
        asked[:2] = reversed(asked[:2])
    for each in asked:
        answer = requests.get(connex_config.rest_url + "/v1/symbols", headers=each)
        assert answer.status_code == (200 if each else 401)
"""


def test_a_request_gets_the_answer_that_was_for_its_credentials(project, monkeypatch):
    project.test(TWICE)
    project.record()
    project.run().assert_outcomes(passed=1)
    monkeypatch.setenv("TURNED", "1")
    project.run().assert_outcomes(passed=1)
