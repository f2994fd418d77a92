"""Stamps of one tape: in order, and those of HTTP alone at theirs."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.stamps import TapeClock

FRAME, MOMENT = "frame", "moment"


@given(st.lists(st.tuples(st.sampled_from([FRAME, MOMENT]), st.floats(0, 1e6))))
def test_whatever_the_clock_says_stamps_are_in_order_and_those_of_http_alone(steps):
    times = iter([now for _, now in steps])
    clock = TapeClock(lambda: next(times))
    stamps = [(kind, clock.frame(next(times)) if kind == FRAME else clock.moment()) for kind, _ in steps]
    for index, (kind, stamp) in enumerate(stamps):
        assert stamp >= 0
        assert float(f"{stamp:.6f}") == stamp
        for other, later in stamps[index + 1 :]:
            assert later > stamp if MOMENT in (kind, other) else later >= stamp


def test_the_first_stamp_is_zero_and_others_are_seconds_after_it():
    now = [1000.5]
    clock = TapeClock(lambda: now[0])
    assert clock.frame(1000.5) == 0.0
    now[0] = 1002.0
    assert (clock.frame(1002.0), clock.frame(1002.0), clock.moment()) == (1.5, 1.5, 1.500001)
    assert clock.frame(1002.0) == 1.500002
    now[0] = 1003.25
    assert (clock.moment(), clock.frame(1002.0)) == (2.75, 2.750001)


def test_asking_for_a_time_gives_no_stamp():
    clock = TapeClock(lambda: 1000.5)
    clock.moment()
    assert (clock.elapsed(1001.5), clock.elapsed(7.0), clock.frame(1000.5)) == (1.0, 0.0, 0.000001)


def test_a_moment_may_be_the_first():
    clock = TapeClock(lambda: 7.0)
    assert (clock.moment(), clock.moment(), clock.frame(7.0)) == (0.0, 0.000001, 0.000002)


@pytest.mark.parametrize("count", [2000])
def test_threads_never_share_the_stamp_of_a_moment(count):
    clock = TapeClock(lambda: 0.0)
    found: list[list[float]] = [[], [], []]
    threads = [
        threading.Thread(target=lambda own=own: own.extend(clock.moment() for _ in range(count))) for own in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in found)
    assert len({stamp for own in found for stamp in own}) == 3 * count
