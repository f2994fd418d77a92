"""What recordings have to know of a test, once its fixtures know it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_connex.config import ConnexConfig
from pytest_connex.errors import CassetteError
from pytest_connex.plugin.settings import settings_of
from pytest_connex.protocol import Dialect

HERE = ConnexConfig(rest_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:2", api_key="the-key-of-the-test")
BEHIND = ConnexConfig(rest_url="https://r.example", ws_url="wss://w.example")
KNOWN = {"connex_config": HERE, "connex_dialect": Dialect(), "tmp_path": "/"}


def test_keys_and_dialect_are_those_of_the_test_and_servers_those_behind_it():
    run = SimpleNamespace(behind=BEHIND, upstreams={"venue": "https://venue.example"})
    settings = settings_of(run, KNOWN)
    assert (settings.config, settings.dialect) == (HERE, KNOWN["connex_dialect"])
    assert settings.upstreams == {
        "rest": "https://r.example",
        "ws": "wss://w.example",
        "venue": "https://venue.example",
    }


def test_where_nothing_is_behind_it_the_servers_are_those_of_the_test():
    assert settings_of(SimpleNamespace(behind=None, upstreams={}), KNOWN).upstreams == {
        "rest": "http://127.0.0.1:1",
        "ws": "ws://127.0.0.1:2",
    }


@pytest.mark.parametrize("name", ["connex_config", "connex_dialect"])
def test_what_the_fixtures_do_not_know_yet_is_said(name):
    known = {other: value for other, value in KNOWN.items() if other != name}
    with pytest.raises(CassetteError) as caught:
        settings_of(SimpleNamespace(behind=None, upstreams={}), known)
    assert str(caught.value) == f"{name} is needed for recordings, and the fixture has not been set up"
