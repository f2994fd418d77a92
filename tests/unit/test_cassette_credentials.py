"""Which headers must be there, and what they must hold."""

from __future__ import annotations

import pytest

from pytest_connex.cassette.credentials import ANY_HEADERS, HeaderRules

RULES = HeaderRules(frozenset({"authorization", "x-key"}), frozenset({"accept"}))
KEY = ("X-Key", "connex-recorded-key")


@pytest.mark.parametrize(
    ("recorded", "actual", "misses"),
    [
        ([], [], []),
        ([KEY], [KEY], []),
        ([KEY], [("x-KEY", "anything")], []),
        ([], [KEY], []),
        ([KEY], [], ["x-key: expected connex-recorded-key, actual none"]),
        (
            [KEY, ("Authorization", "a"), ("Authorization", "b")],
            [("X-Other", "1")],
            ["authorization: expected a, b, actual none", "x-key: expected connex-recorded-key, actual none"],
        ),
        ([("Accept", "a")], [("accept", "a")], []),
        ([("Accept", "a")], [("accept", "b")], ["accept: expected a, actual b"]),
        ([("Accept", "a")], [("accept", "a"), ("Accept", "b")], ["accept: expected a, actual a, b"]),
        ([], [("accept", "a")], ["accept: expected none, actual a"]),
        ([("X-Other", "1")], [("X-Other", "2")], []),
    ],
)
def test_what_differs_is_told(recorded, actual, misses):
    assert RULES.misses(recorded, actual) == misses
    assert ANY_HEADERS.misses(recorded, actual) == []


def test_more_credentials_fit_and_are_not_equal():
    assert RULES.misses([], [KEY]) == []
    assert not RULES.are_equal([], [KEY])
    assert RULES.are_equal([KEY], [KEY, ("X-Other", "1")])
    assert not RULES.are_equal([("Accept", "a")], [])
