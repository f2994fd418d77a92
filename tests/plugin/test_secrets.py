"""Secrets on every way out of a run: files of recordings, the terminal, JUnit XML, logs."""

from __future__ import annotations

import html
from xml.etree import ElementTree

import pytest

from ..unit.upstream import Upstream, ok, says
from .conftest import Project, live_at

UNUSUAL = "gehe1m-é鍵\"'\\&<>+/=%x"

CONFTEST = f"""
import pytest

VALUE = {UNUSUAL!r}

def pytest_connex_secrets(config):
    return [VALUE]

@pytest.fixture
def value():
    return VALUE
"""

EVERY_CHANNEL = """
import logging, threading, unittest, warnings
import pytest
from conftest import VALUE

pytestmark = pytest.mark.filterwarnings("default")

def test_passes_and_prints(value):
    print("printed", value, repr(value), value.encode(), ascii(value), value.encode().hex(" "))
    logging.getLogger("mine").warning("logged %r %s", value.encode(), {"value": value})

def test_shows_locals(value):
    raw, held, dump = value.encode(), {"a": [value, (value,)]}, value.encode().hex(" ")
    cut, end = "x" * 100 + value + "y" * 300, "x" * 300 + value + "y" * 100
    assert value == "other", {"held": value}

def test_shows_a_difference(value):
    assert {"a": value, "b": 1} == {"a": "other", "b": 1}

def test_raises_in_a_chain(value):
    try:
        raise ValueError(value)
    except ValueError as exc:
        exc.add_note(value)
        raise ExceptionGroup(value, [KeyError(value)]) from exc

def test_warns(value):
    warnings.warn(value)

def test_fails_in_a_thread(value):
    def fail():
        raise ValueError(value)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

def test_fails_where_nobody_listens(value):
    class Falls:
        def __del__(self):
            raise ValueError(value)
    Falls()

def test_skips(value):
    pytest.skip(value)

def test_is_expected_to_fail(value):
    pytest.xfail(value)

@pytest.mark.xfail(reason=VALUE)
def test_is_marked_to_fail():
    assert False

@pytest.mark.xfail(reason=VALUE, strict=True)
def test_passes_against_its_mark():
    pass

@pytest.mark.skip(reason=VALUE)
def test_is_marked_to_skip():
    pass

@pytest.mark.parametrize("parameter", [VALUE])
def test_has_it_in_its_name(parameter):
    pass

def test_records_properties(value, record_property, record_testsuite_property):
    record_property("one", value)
    record_property("nested", {"a": [value], value: value.encode()})
    record_testsuite_property("all", value)

@pytest.mark.filterwarnings("ignore")
def test_records_an_attribute(value, record_xml_attribute):
    record_xml_attribute("own", value)

class TestCase(unittest.TestCase):
    def test_compares(self):
        self.assertEqual(VALUE, "other")
"""

SUBTESTS = """
def test_has_subtests(value, subtests):
    with subtests.test(msg=value, parameter=value):
        print(value)
        assert value == "other"
"""


def spellings(value: str) -> set[str]:
    quoted = value + "'\""
    return {
        value,
        html.escape(value),
        repr(quoted)[1:-4],
        ascii(quoted)[1:-4],
        repr(value.encode() + b"'\"")[2:-4],
        value.encode().hex(" "),
        value.encode().hex(),
        value.encode().decode("latin-1"),
        value[:8],
        value[-8:],
    }


def assert_hidden(text: str) -> None:
    """Assert that no line of ``text`` shows the value, or a good part of it; the name of the channel does."""
    for line in text.splitlines():
        for read in (line, html.unescape(line)):
            assert [shown for shown in spellings(UNUSUAL) if shown in read] == []


@pytest.fixture
def secretive(project: Project) -> Project:
    """A project with a value that every encoding escapes, and that nothing may show."""
    project.pytester.makeconftest(CONFTEST)
    return project


# --- Reports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("-n1",), ("--color=yes", "--tb=short"), ("-o", "log_cli=true")], ids=" ".join)
def test_nothing_that_a_run_reports_shows_a_secret(secretive, more):
    secretive.test(EVERY_CHANNEL + (SUBTESTS if hasattr(pytest, "Subtests") else ""))
    result = secretive.run_apart(
        "-p", "no:cacheprovider", "-rA", "-vv", "--showlocals", "--log-level=DEBUG", "--log-file=all.log",
        "--junitxml=junit.xml", "-o", "junit_logging=all", "-o", "junit_family=xunit1", *more,
        beside=("xdist", "xdist.looponfail") if more == ("-n1",) else (),
    )  # fmt: skip
    shown = result.stdout.str()
    junit = (secretive.path / "junit.xml").read_text("utf-8")
    assert result.ret == 1
    assert "printed ***" in shown
    assert "logged b'***'" in shown
    assert "in test_has_it_in_its_name" not in shown
    for text in (shown, result.stderr.str(), junit, (secretive.path / "all.log").read_text("utf-8")):
        assert_hidden(text)
    assert ElementTree.fromstring(junit).tag == "testsuites"


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("raise KeyboardInterrupt(value)", "KeyboardInterrupt: ***"),
        ("pytest.exit(value)", "Exit: ***"),
    ],
)
def test_an_interrupted_run_shows_no_secret(secretive, ending, said):
    secretive.test(f"import pytest\n\ndef test_it(value):\n    held = [value]\n    {ending}\n")
    result = secretive.run_apart("--full-trace", "--showlocals")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert said in result.stdout.str()
    assert_hidden(result.stdout.str() + result.stderr.str())


def test_a_module_or_a_conftest_that_cannot_be_imported_shows_no_secret(secretive):
    raises = "from pathlib import Path\nraise RuntimeError(eval(Path('value').read_text()))\n"
    (secretive.path / "value").write_text(repr(UNUSUAL))
    secretive.test(raises)
    below = secretive.path / "below"
    below.mkdir()
    (below / "conftest.py").write_text(raises)
    (below / "test_below.py").write_text("def test_it(): pass\n")
    result = secretive.run()
    result.assert_outcomes(errors=2)
    assert result.stdout.str().count("RuntimeError: ***") >= 2
    assert_hidden(result.stdout.str() + result.stderr.str())


def test_the_header_shows_no_secret(secretive, monkeypatch):
    key, place = "k3y-in-the-path", "connex.example"
    live_at(monkeypatch, f"https://{place}/{key}/", f"wss://{place}/ws?key={key}", key, "s3cr3t-not-there")
    secretive.test("def test_it(): pass\n")
    result = secretive.run("--connex-live")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["connex: live: REST https://connex.example/*** from *ws[?]key=*** from *, key k3y-...path from *"]
    )
    assert "s3cr3t-not" not in result.stdout.str()


# --- Recordings ------------------------------------------------------------------------------------------


def test_a_secret_beyond_ascii_is_replaced_in_headers_queries_and_messages(secretive):
    secretive.test(
        """
        import json, requests

        def test_rest(connex_config, connex_dialect, value):
            requests.get(
                connex_config.rest_url + "/v1/status",
                params={"key": value},
                headers={**connex_dialect.rest_headers(value, value), "X-Hex": value.encode().hex()},
            )

        async def test_ws(connex_config, connex_connect, value):
            async with connex_connect(connex_config.ws_url) as ws:
                misread = value.encode().decode("latin-1")
                await ws.send(json.dumps({"action": "ping", "id": value, "misread": misread}))
                assert json.loads(await ws.recv())["id"] == value
        """
    )
    secretive.record()
    for path in (secretive.http, secretive.ws):
        text = path.read_text("utf-8")
        assert text.count("connex-recorded-value") == 3  # the sandbox sends the messages back
        assert_hidden(text)
    assert secretive.run().ret == 0


@pytest.mark.parametrize("pack", ["gzip.compress(data)", "zlib.compress(data)", "zlib.compress(data, wbits=-15)"])
def test_a_compressed_secret_is_refused_in_a_message_and_in_a_body(secretive, pack):
    secretive.test(
        f"""
        import gzip, requests, zlib

        def packed(value):
            data = b" ".join(b"%d" % (n * 7919 % 1000003) for n in range(400)) + value.encode()
            return {pack}

        def test_rest(connex_config, value):
            requests.post(connex_config.rest_url + "/v1/status", data=packed(value))

        async def test_ws(connex_config, connex_connect, value):
            async with connex_connect(connex_config.ws_url) as ws:
                await ws.send(packed(value))
                await ws.recv()
        """
    )
    result = secretive.run("--connex-sandbox", "--connex-record=rewrite")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*SecretFound: *test_rest.yaml: *POST *", "*SecretFound: *test_ws.ws.jsonl:4: *"])
    assert not secretive.http.exists()
    assert not secretive.ws.exists()


def test_a_body_that_cannot_be_searched_fails_the_test_that_swallows_the_error(project):
    project.test(
        """
        import requests

        def test_rest(connex_config):
            try:
                requests.post(
                    connex_config.rest_url + "/v1/status", data=b"x", headers={"Content-Encoding": "br"}
                )
            except Exception:
                pass
        """
    )
    result = project.run("--connex-sandbox", "--connex-record=rewrite")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteError: *a request body is encoded with br*"])
    assert not project.http.exists()


def test_a_token_that_the_server_hands_out_is_hidden_in_reports(project, monkeypatch):
    token = "c0ffee00-0000-4000-8000-a-session-of-mine"
    with Upstream(says(ok(b'{"token": "%b"}' % token.encode()))) as upstream:
        live_at(monkeypatch, upstream.url, upstream.url.replace("http", "ws"), "a-key-of-mine", "a-secret-of-mine")
        project.test("""
            import requests

            def test_it(connex_config):
                token = requests.get(f"{connex_config.rest_url}/login").json()["token"]
                print("captured", token)
                assert token == "another"
        """)
        result = project.run("--connex-live", "--connex-record=rewrite", "--showlocals")
    result.assert_outcomes(failed=1)
    assert "captured" in result.stdout.str()
    assert token not in result.stdout.str()
