"""When a live run stops before its first test."""

from __future__ import annotations

import pytest

from pytest_connex.config import VARIABLES

from .test_options import refused

WS_ONLY = "def test_it(connex_connect):\n    pass\n"
REST = "def test_it(connex_rest):\n    pass\n"
GOOD = {
    "CONNEX_REST_URL": "https://gateway.example/api",
    "CONNEX_WS_URL": "wss://gateway.example/ws",
    "CONNEX_API_KEY": "a-key-of-some-length",
    "CONNEX_API_SECRET": "a-secret-of-some-length",
}


@pytest.fixture
def configure(monkeypatch):
    def set_all(**changed: str | None) -> None:
        for name, value in {**GOOD, **changed}.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return set_all


def test_nothing_configured_names_everything(project):
    project.test(REST)
    refused(project.run("--connex-live"), f"nothing is configured. Set {', '.join(VARIABLES)}")


def test_two_unset_variables_are_both_named(project, configure):
    configure(CONNEX_REST_URL=None, CONNEX_API_KEY=None)
    project.test(REST)
    refused(project.run("--connex-live"), "CONNEX_REST_URL, CONNEX_API_KEY not set")


@pytest.mark.parametrize("distributed", [False, True], ids=["alone", "distributed"])
def test_a_run_that_lacks_a_variable_runs_no_test(project, configure, distributed):
    configure(CONNEX_WS_URL=None, CONNEX_API_SECRET=None)
    project.test(f"{WS_ONLY}\ndef test_other():\n    open('ran', 'w')\n")
    result = project.run_distributed("--connex-live") if distributed else project.run("--connex-live")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not (project.path / "ran").exists()
    assert "CONNEX_WS_URL, CONNEX_API_SECRET not set" in result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in result.stdout.str()


def test_half_credentials_stop_a_run_that_needs_none(project, configure):
    configure(CONNEX_API_SECRET=None)
    project.test(WS_ONLY)
    refused(project.run("--connex-live"), "CONNEX_API_SECRET not set")


def test_market_data_needs_no_credentials(project, configure):
    configure(CONNEX_REST_URL=None, CONNEX_API_KEY=None, CONNEX_API_SECRET=None)
    project.test(WS_ONLY)
    assert project.run("--connex-live").ret == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONNEX_REST_URL", "gateway.example", "CONNEX_REST_URL must be a URL with https:// and a host"),
        ("CONNEX_REST_URL", "https://me:pw@gateway.example", "CONNEX_REST_URL carries credentials"),
        ("CONNEX_REST_URL", "http://gateway.example", "CONNEX_REST_URL uses http:// for gateway.example"),
        ("CONNEX_WS_URL", "ws://gateway.example", "CONNEX_WS_URL uses ws:// for gateway.example"),
        ("CONNEX_API_KEY", "   ", "CONNEX_API_KEY is blank"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(project, configure, name, value, message):
    configure(**{name: value})
    project.test(REST)
    result = project.run("--connex-live")
    refused(result, message)
    assert "pw@" not in result.stderr.str()


def test_plaintext_can_be_allowed(project, configure):
    configure(CONNEX_WS_URL="ws://gateway.example")
    project.test(WS_ONLY)
    assert project.run("--connex-live", "--connex-allow-plaintext=true").ret == 0


def test_a_dotenv_file_fills_what_the_environment_lacks(project, configure):
    configure(CONNEX_WS_URL=None)
    (project.path / ".env").write_text("CONNEX_WS_URL=wss://from-file.example\nCONNEX_API_KEY=not-this-one\n")
    project.test(
        """
        def test_it(connex_config):
            assert connex_config.ws_url == "wss://from-file.example"
            assert connex_config.api_key == "a-key-of-some-length"
        """
    )
    assert project.run("--connex-live").ret == 0


def test_a_recorded_run_does_not_read_the_dotenv_file(project):
    (project.path / ".env").write_text("CONNEX_WS_URL=wss://from-file.example\n")
    project.test("def test_it(connex_config):\n    assert connex_config.ws_url.startswith('ws://127.0.0.1:')")
    assert project.run().ret == 0


def test_short_secrets_refuse_to_record(project, configure):
    configure(CONNEX_API_KEY="short")
    project.test(WS_ONLY)
    refused(project.run("--connex-live", "--connex-record"), "1 secret value(s) have fewer than 8 characters")
