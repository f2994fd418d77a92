"""Scripted misbehaviour, without a server: what is wrong next, how often, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pytest_connex.errors import ConfigError
from pytest_connex.faults import Answer, Ending, Faults

Script = Callable[[Faults], None]


@pytest.fixture
def faults() -> Faults:
    return Faults()


def test_where_nothing_was_asked_for_nothing_goes_wrong(faults):
    assert (faults.next_answer(), faults.next_handshake(), faults.connection().ending) == (None, None, None)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.answer(503), Answer(503, None)),
        (lambda faults: faults.answer(429, retry_after=3), Answer(429, 3)),
        (lambda faults: faults.answer(429, retry_after=0), Answer(429, 0)),
        (lambda faults: faults.answer(400), Answer(400, None)),
        (lambda faults: faults.answer(599), Answer(599, None)),
    ],
)
def test_a_request_gets_the_answer_that_was_asked_for(faults, script: Script, expected):
    script(faults)
    assert faults.next_answer() == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.refuse_handshake(), Answer(503, None)),
        (lambda faults: faults.refuse_handshake(status=429, retry_after=9), Answer(429, 9)),
    ],
)
def test_a_handshake_gets_the_answer_that_was_asked_for(faults, script: Script, expected):
    script(faults)
    assert faults.next_handshake() == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.drop_after(0), Ending("drop", 0)),
        (lambda faults: faults.drop_after(3), Ending("drop", 3)),
        (lambda faults: faults.close_after(0, 1000), Ending("close", 0)),
        (lambda faults: faults.close_after(2, 4999, "bye"), Ending("close", 2, code=4999, reason="bye")),
    ],
)
def test_a_connection_gets_the_ending_that_was_asked_for(faults, script: Script, expected):
    script(faults)
    assert faults.connection().ending == expected


def test_answers_come_in_the_order_they_were_added_each_as_often_as_asked(faults):
    faults.answer(503, times=2)
    faults.answer(429, retry_after=1)
    found = [faults.next_answer() for _ in range(4)]
    assert found == [Answer(503, None), Answer(503, None), Answer(429, 1), None]


def test_drops_and_closes_come_in_one_order(faults):
    faults.close_after(1, 1012, "restart")
    faults.drop_after(2, times=2)
    faults.close_after(3, 1011)
    found = [faults.connection().ending for _ in range(5)]
    assert found == [
        Ending("close", 1, code=1012, reason="restart"),
        Ending("drop", 2),
        Ending("drop", 2),
        Ending("close", 3, code=1011),
        None,
    ]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (lambda faults: faults.answer(503), "answer"),
        (lambda faults: faults.refuse_handshake(), "handshake"),
        (lambda faults: faults.drop_after(1), "ending"),
        (lambda faults: faults.close_after(1, 1011), "ending"),
    ],
)
def test_a_fault_of_one_kind_leaves_the_others_alone(faults, script: Script, kind):
    script(faults)
    found = {
        "answer": faults.next_answer(),
        "handshake": faults.next_handshake(),
        "ending": faults.connection().ending,
    }
    assert [name for name, fault in found.items() if fault is not None] == [kind]


def test_pending_counts_every_kind(faults):
    faults.answer(503, times=2)
    faults.refuse_handshake(times=3)
    faults.drop_after(1)
    faults.close_after(1, 1011, times=4)
    assert faults.pending() == 10


def test_a_fault_that_has_happened_is_not_pending(faults):
    faults.answer(503, times=2)
    faults.next_answer()
    assert faults.pending() == 1


def test_what_is_asked_for_beyond_the_last_fault_does_not_count(faults):
    faults.next_answer()
    faults.answer(503)
    assert faults.pending() == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda faults: faults.answer(399), "a fault answers with a status between 400 and 599, not 399"),
        (lambda faults: faults.answer(600), "a fault answers with a status between 400 and 599, not 600"),
        (lambda faults: faults.refuse_handshake(status=200), "a status between 400 and 599, not 200"),
        (lambda faults: faults.answer(503, times=0), "times must be a whole number, 1 or more, not 0"),
        (lambda faults: faults.answer(503, times=1.5), "times must be a whole number, 1 or more, not 1.5"),
        (lambda faults: faults.refuse_handshake(times=-1), "times must be a whole number, 1 or more, not -1"),
        (lambda faults: faults.drop_after(1, times="2"), "times must be a whole number, 1 or more, not '2'"),
        (lambda faults: faults.close_after(1, 1011, times=True), "times must be a whole number, 1 or more, not True"),
        (lambda faults: faults.answer(429, retry_after=-1), "retry_after must be a whole number, 0 or more, not -1"),
        (
            lambda faults: faults.answer(429, retry_after=0.5),
            "retry_after must be a whole number, 0 or more, not 0.5",
        ),
        (lambda faults: faults.refuse_handshake(retry_after=False), "retry_after must be a whole number, 0 or more"),
        (lambda faults: faults.drop_after(-1), "frames must be a whole number, 0 or more, not -1"),
        (lambda faults: faults.close_after(None, 1011), "close_after needs one of frames, bytes and seconds"),
        (lambda faults: faults.close_after(1, 999), "or between 3000 and 4999, not 999"),
        (lambda faults: faults.close_after(1, 5000), "or between 3000 and 4999, not 5000"),
    ],
)
def test_a_refused_fault_names_the_value_and_what_it_must_be(faults, script: Script, message):
    with pytest.raises(ConfigError) as caught:
        script(faults)
    assert message in str(caught.value)


def test_a_refused_fault_leaves_the_earlier_ones(faults):
    faults.answer(503)
    with pytest.raises(ConfigError):
        faults.answer(429, times=0)
    assert [faults.next_answer(), faults.next_answer()] == [Answer(503, None), None]


def test_threads_that_ask_at_once_get_each_fault_once(faults):
    asking, each = 8, 500
    for frames in range(asking * each):
        faults.drop_after(frames)
    found: list[list[Ending | None]] = [[] for _ in range(asking)]
    start = threading.Barrier(asking)

    def ask(mine: list[Ending | None]) -> None:
        start.wait()
        mine += [faults.connection().ending for _ in range(each)]

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frames = sorted(ending.frames for mine in found for ending in mine)
    assert frames == list(range(asking * each))
