"""Two families of exceptions, so that retry code cannot swallow a verdict."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from pytest_connex import errors
from pytest_connex.errors import (
    AuthenticationError,
    CassetteError,
    CassetteExhausted,
    CassetteMismatch,
    CassetteMissing,
    CassetteUnplayed,
    ConfigError,
    ConnectionLost,
    ConnexError,
    DataFormatError,
    LoopScopeError,
    RateLimitError,
    ReplayAborted,
    RequestError,
    SecretFound,
    SubscriptionError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ConfigError, OSError),
        (ConfigError, RuntimeError),
        (AuthenticationError, PermissionError),
        (ConnectionLost, ConnectionError),
        (DataFormatError, ValueError),
        (LoopScopeError, RuntimeError),
    ],
)
def test_errors_are_also_what_existing_code_catches(kind, builtin):
    with pytest.raises(builtin):
        raise kind("x")
    assert issubclass(kind, ConnexError)


@pytest.mark.parametrize(
    "kind", [CassetteMissing, CassetteMismatch, CassetteExhausted, CassetteUnplayed, SecretFound]
)
def test_verdicts_are_not_caught_as_errors_of_connex(kind):
    assert issubclass(kind, CassetteError)
    assert not issubclass(kind, (ConnexError, OSError, ValueError))


def test_an_aborted_replay_ends_a_loop_that_catches_every_exception():
    assert issubclass(ReplayAborted, BaseException)
    assert not issubclass(ReplayAborted, Exception)


@pytest.mark.parametrize(
    ("path", "line", "message"),
    [
        (None, None, "broken"),
        (Path("a/b.ws.jsonl"), None, "a/b.ws.jsonl: broken"),
        (Path("a/b.ws.jsonl"), 7, "a/b.ws.jsonl:7: broken"),
        (None, 7, "broken"),
    ],
)
def test_a_cassette_error_begins_with_where(path, line, message):
    error = CassetteError("broken", path, line)
    assert (str(error), error.path, error.line) == (message, path, line)


def test_errors_carry_what_programs_need():
    assert AuthenticationError("x", "unknown_key").code == "unknown_key"
    assert SubscriptionError("x", "invalid_depth").code == "invalid_depth"
    request = RequestError("x", 503, "down")
    assert (request.status, request.code) == (503, "down")
    limited = RateLimitError("x", "limit", 2.5)
    assert (limited.status, limited.code, limited.retry_after) == (429, "limit", 2.5)
    lost = ConnectionLost("x", 4001, "bye")
    assert (str(lost), lost.code, lost.reason) == ("x", 4001, "bye")


def test_a_config_error_of_one_message_prints_as_that_message():
    assert str(ConfigError("CONNEX_WS_URL is not a URL")) == "CONNEX_WS_URL is not a URL"


def test_the_tree_in_the_docstring_names_every_exception():
    drawn = set(re.findall(r"── (\w+)", errors.__doc__))
    assert {kind.__name__ for kind in ALL} == drawn - {"BaseException", "Exception"}


def test_a_verdict_takes_advice_once_and_where_recording_again_helps():
    verdict = CassetteMissing("nothing there")
    verdict.advise("record it: pytest")
    verdict.advise("record it: pytest")
    assert str(verdict) == "nothing there\nrecord it: pytest"
    hopeless = CassetteError("no player", again=False)
    hopeless.advise("record it: pytest")
    assert str(hopeless) == "no player"
