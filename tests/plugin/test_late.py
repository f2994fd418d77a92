"""Fixtures that are asked for at run time work as if they had been requested by name."""

from __future__ import annotations

import pytest

ASKED = """
import pytest
import requests

@pytest.fixture
def where(request):
    return request.getfixturevalue(request.param)

@pytest.mark.parametrize("where", ["connex_config", "connex_proxy"], indirect=True)
def test_in_a_fixture(where):
    assert requests.get(where.rest_url + "/v1/status").status_code == 401

def test_in_a_test(request):
    assert requests.get(request.getfixturevalue("connex_config").rest_url + "/v1/status").status_code == 401

@pytest.fixture
def client(request):
    return request.getfixturevalue("connex_rest")

def test_a_client(client):
    assert client.get("/v1/status").json()["status"] == "healthy"

def test_by_name(connex_config):
    assert requests.get(connex_config.rest_url + "/v1/status").status_code == 401

def test_again_when_the_value_is_there_already(request):
    assert requests.get(request.getfixturevalue("connex_config").rest_url + "/v1/status").status_code == 401
"""
BLOCKED = """
import socket
import pytest

def test_it(request):
    request.getfixturevalue("connex_config")
    with socket.socket() as raw, pytest.raises(Exception, match="reached for 192.0.2.1:9"):
        raw.connect(("192.0.2.1", 9))

def test_of_somebody_else():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
"""


def test_they_are_recorded_and_replayed(project):
    project.test(ASKED)
    recorded = project.run("--connex-sandbox", "--connex-record=rewrite")
    recorded.assert_outcomes(passed=6)
    recorded.stdout.fnmatch_lines(["recordings: 0 read, 6 written, 0 missing"])
    replayed = project.run()
    replayed.assert_outcomes(passed=6)
    replayed.stdout.fnmatch_lines(["recordings: 6 read, 0 written, 0 missing"])


@pytest.mark.parametrize("only", ["in_a_fixture", "in_a_test", "a_client"])
def test_alone_too(project, only):
    project.test(ASKED)
    project.run("--connex-sandbox", "--connex-record=rewrite", "-k", only)
    assert project.run("-k", only).parseoutcomes()["passed"] >= 1


def test_without_a_recording_they_fail_with_the_verdict(project):
    project.test(ASKED)
    result = project.run()
    result.assert_outcomes(failed=6)
    assert "KeyError" not in result.stdout.str()
    assert result.stdout.str().count("E       pytest_connex.errors.CassetteMissing: cassettes/") == 6


def test_without_a_recording_they_are_skipped_where_that_is_asked(project):
    project.test(ASKED)
    project.run("--connex-missing-cassette=skip").assert_outcomes(skipped=6)


def test_the_network_is_blocked(project):
    project.test(BLOCKED)
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["E *NetworkBlocked: a recorded test reached for 192.0.2.1:9: *"])


def test_what_a_recording_has_is_to_be_used(project):
    project.test(ASKED)
    project.record()
    project.test(ASKED.replace('client.get("/v1/status").json()["status"] == "healthy"', "client"))
    result = project.run("-k", "a_client")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteUnplayed: *"])


def test_a_doctest_asks_too(project):
    project.pytester.makepyfile(
        module='''
        """
        >>> import requests
        >>> config = getfixture("connex_config")
        >>> requests.get(config.rest_url + "/v1/status").status_code
        401
        """
        '''
    )
    options = ["--doctest-modules", "module.py"]
    project.run("--connex-sandbox", "--connex-record", *options).assert_outcomes(passed=1)
    replayed = project.run(*options)
    replayed.assert_outcomes(passed=1)
    replayed.stdout.fnmatch_lines(["recordings: 1 read, 0 written, 0 missing"])


def test_a_sandbox_of_the_own_is_had_too(project):
    project.test(
        """
        import requests

        def test_it(request):
            sandbox = request.getfixturevalue("connex_sandbox")
            assert requests.get(sandbox.rest_url + "/v1/status").status_code == 401
        """
    )
    project.run().assert_outcomes(passed=1)


def test_a_sandbox_that_comes_too_late_is_refused_with_the_marker(project):
    project.test(
        """
        def test_it(request):
            request.getfixturevalue("connex_config")
            request.getfixturevalue("connex_sandbox")
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*request it by name, or mark the test with @pytest.mark.connex_sandbox"])


def test_a_run_that_asks_for_nothing_of_ours_has_no_section(project):
    project.test("def test_it(request): request.getfixturevalue('tmp_path')")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= connex =*")
