"""Rate limits: counted by hand."""

from __future__ import annotations

from pytest_connex.sandbox.limits import WINDOW_MS, Allowance, RateLimits


def test_what_is_left_counts_down_to_zero_and_stays_there():
    limits = RateLimits(2)
    counted = [limits.count("key", 1_000 + later) for later in range(4)]
    ends = 1_000 + WINDOW_MS
    assert counted == [
        Allowance(True, 1, ends),
        Allowance(True, 0, ends),
        Allowance(False, 0, ends),
        Allowance(False, 0, ends),
    ]


def test_a_window_that_has_ended_begins_anew_with_the_next_request():
    limits = RateLimits(1)
    limits.count("key", 1_000)
    assert limits.count("key", 1_000 + WINDOW_MS) == Allowance(True, 0, 1_000 + 2 * WINDOW_MS)


def test_keys_do_not_meet():
    limits = RateLimits(1)
    assert [limits.count(key, 0).granted for key in ("a", "b", "a")] == [True, True, False]
