"""Scripted misbehaviour, without a server: what is wrong next, how often, and what is refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from pytest_connex.errors import ConfigError
from pytest_connex.faults import Answer, Cut, Ending, Faults, Pace, Trouble, apply_fault, parse_fault

Script = Callable[[Faults], None]


@pytest.fixture
def faults() -> Faults:
    return Faults()


def opened(faults: Faults) -> Trouble:
    """A connection whose handshake was accepted."""
    trouble = faults.connection()
    trouble.opened()
    return trouble


def answer_of(faults: Faults) -> Answer | Cut | None:
    return faults.next_answer("GET /v1/status")


def handshake_of(faults: Faults) -> Answer | None:
    return faults.next_handshake("/ws")


def test_where_nothing_was_asked_for_nothing_goes_wrong(faults):
    assert (answer_of(faults), handshake_of(faults), opened(faults).ending) == (None, None, None)
    assert (faults.pending(), faults.happened(), faults.pace()) == (0, [], Pace())


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.answer(503), Answer(503, None)),
        (lambda faults: faults.answer(429, retry_after=3), Answer(429, 3)),
        (lambda faults: faults.answer(429, retry_after=0), Answer(429, 0)),
        (lambda faults: faults.answer(400), Answer(400, None)),
        (lambda faults: faults.answer(599), Answer(599, None)),
        (lambda faults: faults.cut_answer(0), Cut(0)),
        (lambda faults: faults.cut_answer(bytes=12), Cut(12)),
        (lambda faults: faults.stall_answer(), Cut(None)),
    ],
)
def test_a_request_gets_the_answer_that_was_asked_for(faults, script: Script, expected):
    script(faults)
    assert answer_of(faults) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.refuse_handshake(), Answer(503, None)),
        (lambda faults: faults.refuse_handshake(status=429, retry_after=9), Answer(429, 9)),
    ],
)
def test_a_handshake_gets_the_answer_that_was_asked_for(faults, script: Script, expected):
    script(faults)
    assert handshake_of(faults) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.drop_after(0), Ending("drop", 0)),
        (lambda faults: faults.drop_after(3), Ending("drop", 3)),
        (lambda faults: faults.drop_after(bytes=0), Ending("drop", bytes=0)),
        (lambda faults: faults.drop_after(seconds=0.5), Ending("drop", seconds=0.5)),
        (lambda faults: faults.reset_after(frames=1), Ending("reset", 1)),
        (lambda faults: faults.reset_after(seconds=2), Ending("reset", seconds=2.0)),
        (lambda faults: faults.reset_instead_of_close(), Ending("reset")),
        (lambda faults: faults.stall_after(7), Ending("stall", 7)),
        (lambda faults: faults.stall_after(bytes=9), Ending("stall", bytes=9)),
        (lambda faults: faults.close_after(seconds=1, code=1012), Ending("close", seconds=1.0, code=1012)),
        (lambda faults: faults.close_after(bytes=1), Ending("close", bytes=1)),
        (lambda faults: faults.close_after(0, 1000), Ending("close", 0)),
        (lambda faults: faults.close_after(2, 4999, "bye"), Ending("close", 2, code=4999, reason="bye")),
    ],
)
def test_a_connection_gets_the_ending_that_was_asked_for(faults, script: Script, expected):
    script(faults)
    assert opened(faults).ending == expected


def test_answers_come_in_the_order_they_were_added_each_as_often_as_asked(faults):
    faults.answer(503, times=2)
    faults.answer(429, retry_after=1)
    found = [answer_of(faults) for _ in range(4)]
    assert found == [Answer(503, None), Answer(503, None), Answer(429, 1), None]


def test_drops_and_closes_come_in_one_order(faults):
    faults.close_after(1, 1012, "restart")
    faults.drop_after(2, times=2)
    faults.close_after(3, 1011)
    found = [opened(faults).ending for _ in range(5)]
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
        "answer": answer_of(faults),
        "handshake": handshake_of(faults),
        "ending": opened(faults).ending,
    }
    assert [name for name, fault in found.items() if fault is not None] == [kind]


def test_pending_counts_every_kind(faults):
    faults.answer(503, times=2)
    faults.refuse_handshake(times=3)
    faults.drop_after(1)
    faults.close_after(1, 1011, times=4)
    faults.truncate(3, 5)
    faults.duplicate(1, times=2)
    assert faults.pending() == 14


def test_a_fault_of_an_open_connection_is_pending_until_it_happens(faults):
    faults.drop_after(2)
    faults.duplicate(1, 5)
    trouble = opened(faults)
    counted = [faults.pending()]
    trouble.message(True, b"1")
    counted.append(faults.pending())
    trouble.message(True, b"2")
    trouble.end()
    counted.append(faults.pending())
    assert counted == [3, 2, 0]


def test_a_connection_that_is_gone_has_nothing_before_it(faults):
    faults.drop_after(100)
    trouble = opened(faults)
    trouble.gone()
    assert (faults.pending(), faults.happened()) == (0, [])


def test_a_handshake_that_is_not_accepted_uses_up_nothing(faults):
    faults.drop_after(1)
    faults.truncate(1)
    refused, accepted = faults.connection(), opened(faults)
    assert (refused.ending, accepted.ending, accepted.message(True, b"ab")) == (
        None,
        Ending("drop", 1),
        [(True, b"a")],
    )


def test_what_happened_is_listed_in_its_order(faults):
    faults.answer(429, retry_after=1)
    faults.cut_answer(1)
    faults.stall_answer()
    faults.refuse_handshake()
    faults.close_after(1, 1012, "restart")
    faults.drop_after(seconds=0.5)
    faults.reset_after(bytes=100)
    faults.reset_instead_of_close()
    faults.stall_after(2)
    faults.truncate(1)
    faults.refuse(2)
    for path in ("/a", "/b", "/c"):
        faults.next_answer(f"GET {path}")
    handshake_of(faults)
    troubles = [opened(faults) for _ in range(5)]
    troubles[0].message(True, b"1")
    for trouble in troubles:
        trouble.end()
    assert faults.happened() == [
        "dials are refused for 2 s",
        "GET /a: answered with 429",
        "GET /b: cut after 1 byte",
        "GET /c: never answered",
        "handshake of /ws: answered with 503",
        "connection 1: truncate at message 1",
        "connection 1: close after 1 message with 1012 restart",
        "connection 2: drop after 0.5 s",
        "connection 3: reset after 100 bytes",
        "connection 4: reset instead of a close",
        "connection 5: stall after 2 messages",
    ]


def test_what_happened_cannot_be_changed_from_outside(faults):
    faults.happened().append("nothing")
    assert faults.happened() == []


# --- Taking back -----------------------------------------------------------------------------------------


def test_clear_takes_back_what_has_not_happened(faults):
    faults.answer(503)
    faults.refuse_handshake()
    faults.drop_after(1)
    faults.corrupt(1)
    faults.latency(1, jitter=1)
    faults.bandwidth(1)
    faults.clear()
    assert (faults.pending(), faults.pace()) == (0, Pace())
    assert (answer_of(faults), handshake_of(faults), opened(faults).message(True, b"a")) == (
        None,
        None,
        [(True, b"a")],
    )


def test_clear_reaches_connections_that_are_open(faults):
    faults.drop_after(2)
    faults.duplicate(1)
    trouble = opened(faults)
    faults.clear()
    assert trouble.message(True, b"1") == [(True, b"1")]
    assert (trouble.end_due(100), trouble.end(), faults.happened()) == (False, None, [])


def test_clear_leaves_what_happened(faults):
    faults.answer(503)
    answer_of(faults)
    faults.clear()
    assert faults.happened() == ["GET /v1/status: answered with 503"]


# --- Dials -----------------------------------------------------------------------------------------------


def test_whoever_listens_is_told_for_how_long_dials_are_refused(faults):
    told: list[float] = []
    faults.add_gate(told.append)
    faults.refuse()
    faults.refuse(2)
    faults.accept()
    faults.clear()
    assert told == [math.inf, 2.0, 0.0, 0.0]


def test_whoever_listens_no_more_is_not_told(faults):
    told: list[float] = []
    faults.add_gate(told.append)
    faults.remove_gate(told.append)
    faults.refuse()
    assert told == []


@pytest.mark.parametrize(("seconds", "first", "second"), [(None, [math.inf], [math.inf]), (2, [2.0], [])])
def test_a_refusal_from_before_there_was_a_port_begins_with_it(faults, seconds, first, second):
    one: list[float] = []
    other: list[float] = []
    faults.refuse(seconds)
    faults.add_gate(one.append)
    faults.add_gate(other.append)
    assert (one, other) == (first, second)


def test_seconds_that_have_begun_are_not_those_of_a_later_port(faults):
    told: list[float] = []
    faults.add_gate(lambda seconds: None)
    faults.refuse(2)
    faults.add_gate(told.append)
    assert told == []


def test_an_accepted_dial_is_not_refused_to_a_later_port(faults):
    told: list[float] = []
    faults.refuse()
    faults.accept()
    faults.add_gate(told.append)
    assert told == []


# --- The wire --------------------------------------------------------------------------------------------


def test_latency_and_bandwidth_last_until_they_are_lifted(faults):
    faults.latency(0.2, jitter=0.1)
    faults.bandwidth(1000)
    before = faults.pace()
    faults.latency(0)
    faults.bandwidth(None)
    assert (before, faults.pace()) == (Pace(0.2, 0.1, 1000.0), Pace())


def test_the_pace_of_a_connection_is_that_of_now(faults):
    trouble = opened(faults)
    faults.latency(0.5)
    assert trouble.pace() == Pace(0.5)


# --- Chance ----------------------------------------------------------------------------------------------


def draws(faults: Faults, *connections: int) -> dict[int, list[float]]:
    """The jitter of some of three connections, drawn from all of them in turn."""
    chances = {number: faults.connection().chance() for number in (1, 2, 3)}
    drawn = {number: [chances[number].random()] for number in connections}
    for number in connections:
        drawn[number].append(chances[number].random())
    return drawn


def test_one_seed_has_the_same_jitter_whatever_other_connections_do():
    assert draws(Faults(1), 1, 2, 3)[2] == draws(Faults(1), 2)[2]


@pytest.mark.parametrize(("one", "other"), [((1, 1), (2, 1)), ((1, 1), (1, 2))])
def test_another_seed_or_connection_has_another_jitter(one, other):
    (seed, number), (other_seed, other_number) = one, other
    assert draws(Faults(seed), 1, 2)[number] != draws(Faults(other_seed), 1, 2)[other_number]


# --- Values that make no sense ---------------------------------------------------------------------------


def test_a_fault_that_has_happened_is_not_pending(faults):
    faults.answer(503, times=2)
    answer_of(faults)
    assert faults.pending() == 1


def test_what_is_asked_for_beyond_the_last_fault_does_not_count(faults):
    answer_of(faults)
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
        (lambda faults: faults.drop_after(), "drop_after needs one of frames, bytes and seconds"),
        (lambda faults: faults.stall_after(1, bytes=1), "stall_after needs one of frames, bytes and seconds"),
        (lambda faults: faults.drop_after(bytes=-1), "bytes must be a whole number, 0 or more, not -1"),
        (lambda faults: faults.drop_after(bytes=1.0), "bytes must be a whole number, 0 or more, not 1.0"),
        (lambda faults: faults.reset_after(seconds=-1), "seconds must be a number, zero or more, not -1"),
        (lambda faults: faults.reset_after(seconds="1"), "seconds must be a number, zero or more, not '1'"),
        (lambda faults: faults.stall_after(seconds=math.inf), "seconds must be a number, zero or more, not inf"),
        (lambda faults: faults.stall_after(seconds=math.nan), "seconds must be a number, zero or more, not nan"),
        (lambda faults: faults.close_after(1, 1005), "or between 3000 and 4999, not 1005; drop_after ends"),
        (lambda faults: faults.close_after(1, 1006), "or between 3000 and 4999, not 1006; drop_after ends"),
        (lambda faults: faults.close_after(1, True), "or between 3000 and 4999, not True"),
        (lambda faults: faults.close_after(1, 1000, "é" * 62), "has at most 123 bytes, not 124"),
        (lambda faults: faults.close_after(1, 1000, 5), "the reason of a close must be a text, not 5"),
        (lambda faults: faults.cut_answer(-1), "bytes must be a whole number, 0 or more, not -1"),
        (lambda faults: faults.stall_answer(0), "times must be a whole number, 1 or more, not 0"),
        (lambda faults: faults.truncate(), "truncate needs the number of a message, counted from 1"),
        (lambda faults: faults.corrupt(0), "the number of a message must be a whole number, 1 or more, not 0"),
        (lambda faults: faults.reorder(1, "2"), "the number of a message must be a whole number, 1 or more, not '2'"),
        (lambda faults: faults.duplicate(1, times=0), "times must be a whole number, 1 or more, not 0"),
        (lambda faults: faults.latency(-0.1), "seconds must be a number, zero or more, not -0.1"),
        (lambda faults: faults.latency(1, jitter=None), "jitter must be a number, zero or more, not None"),
        (lambda faults: faults.latency(True), "seconds must be a number, zero or more, not True"),
        (lambda faults: faults.bandwidth(0), "bytes_per_second must be a number above zero, not 0"),
        (lambda faults: faults.bandwidth("1k"), "bytes_per_second must be a number above zero, not '1k'"),
        (lambda faults: faults.refuse(0), "seconds must be a number above zero, not 0"),
        (lambda faults: faults.refuse(-1), "seconds must be a number above zero, not -1"),
        (lambda faults: faults.close_after(1, 999), "or between 3000 and 4999, not 999"),
        (lambda faults: faults.close_after(1, 5000), "or between 3000 and 4999, not 5000"),
    ],
)
def test_a_refused_fault_names_the_value_and_what_it_must_be(faults, script: Script, message):
    with pytest.raises(ConfigError) as caught:
        script(faults)
    assert message in str(caught.value)
    assert (faults.pending(), faults.happened(), faults.pace()) == (0, [], Pace())


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_every_close_code_that_may_be_sent_can_be_had(faults, code):
    faults.close_after(1, code, "é" * 61)
    assert opened(faults).ending == Ending("close", 1, code=code, reason="é" * 61)


def test_a_refused_fault_leaves_the_earlier_ones(faults):
    faults.answer(503)
    with pytest.raises(ConfigError):
        faults.answer(429, times=0)
    assert [answer_of(faults), answer_of(faults)] == [Answer(503, None), None]


# --- Threads ---------------------------------------------------------------------------------------------


def test_threads_that_ask_at_once_get_each_fault_once(faults):
    asking, each = 8, 500
    for frames in range(asking * each):
        faults.drop_after(frames)
    found: list[list[Ending | None]] = [[] for _ in range(asking)]
    start = threading.Barrier(asking)

    def ask(mine: list[Ending | None]) -> None:
        start.wait()
        mine += [opened(faults).ending for _ in range(each)]

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frames = sorted(ending.frames for mine in found for ending in mine)
    assert frames == list(range(asking * each))


def test_threads_that_add_ask_and_clear_at_once_do_not_get_in_each_others_way(faults):
    rounds, failed = 300, []
    start = threading.Barrier(4)

    def working(act: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            start.wait()
            try:
                for _ in range(rounds):
                    act()
            except BaseException as exc:
                failed.append(exc)

        return work

    def live() -> None:
        trouble = opened(faults)
        trouble.message(True, b"a message")
        trouble.end()
        trouble.gone()

    acts = [lambda: (faults.drop_after(1), faults.corrupt(1, 2)), live, faults.clear, faults.pending]
    threads = [threading.Thread(target=working(act)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faults.clear()
    assert (failed, faults.pending()) == ([], 0)


# --- As a command line spells them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("close_after:frames=10,code=1012,reason=restart", Ending("close", 10, code=1012, reason="restart")),
        ("close_after:frames=1,reason=1.10", Ending("close", 1, reason="1.10")),
        ("close_after:frames=1,reason=a=b", Ending("close", 1, reason="a=b")),
        ("close_after:frames=1,reason=", Ending("close", 1)),
        (" close_after : frames = 1 , code = 1001 ", Ending("close", 1, code=1001)),
        ("drop_after:frames=0", Ending("drop", 0)),
        ("drop_after:seconds=1", Ending("drop", seconds=1.0)),
        ("drop_after:seconds=1e-3,", Ending("drop", seconds=0.001)),
        ("reset_after:bytes=5", Ending("reset", bytes=5)),
        ("reset_instead_of_close", Ending("reset")),
        ("stall_after:frames=5", Ending("stall", 5)),
    ],
)
def test_an_ending_can_be_spelled(faults, script, expected):
    apply_fault(faults, script)
    assert opened(faults).ending == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("answer:status=503,times=2", [Answer(503), Answer(503)]),
        ("answer:status=429,retry_after=3", [Answer(429, 3)]),
        ("cut_answer:bytes=5", [Cut(5)]),
        ("stall_answer", [Cut(None)]),
        ("stall_answer:", [Cut(None)]),
    ],
)
def test_an_answer_can_be_spelled(faults, script, expected):
    apply_fault(faults, script)
    assert [answer_of(faults) for _ in range(faults.pending())] == expected


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        ("truncate:frame=2", [b"abcd", b"ab", b"abcd"]),
        ("truncate:frame=1,frame=3", [b"ab", b"abcd", b"ab"]),
        ("duplicate:frame=1,times=1", [b"abcd", b"abcd", b"abcd", b"abcd"]),
    ],
)
def test_changed_messages_can_be_spelled(faults, script, sent):
    apply_fault(faults, script)
    trouble = opened(faults)
    assert [content for _ in range(3) for _, content in trouble.message(True, b"abcd")] == sent


def test_a_slow_wire_and_refusals_can_be_spelled(faults):
    told: list[float] = []
    faults.add_gate(told.append)
    for script in (
        "latency:seconds=0.1,jitter=0.05",
        "bandwidth:bytes_per_second=1000",
        "refuse:seconds=2",
        "refuse",
        "refuse_handshake:status=429,retry_after=1",
    ):
        apply_fault(faults, script)
    assert (faults.pace(), told, handshake_of(faults)) == (Pace(0.1, 0.05, 1000.0), [2.0, math.inf], Answer(429, 1))


def test_a_spelled_fault_is_a_method_and_its_arguments():
    assert parse_fault("truncate:frame=3,frame=7,times=2") == ("truncate", (3, 7), {"times": 2})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "there is no fault ''; there are answer, cut_answer,"),
        ("explode", "there is no fault 'explode'; there are answer, cut_answer,"),
        ("pending", "there is no fault 'pending'"),
        ("__init__:seed=1", "there is no fault '__init__'"),
        ("drop_after:3", "'3' in 'drop_after:3' is no argument: write name=value"),
        ("drop_after:frame=3", "drop_after has no argument 'frame'; it has frames, times, bytes, seconds"),
        ("truncate:frames=3", "truncate has no argument 'frames'; it has frame, times"),
        ("stall_answer:self=1", "stall_answer has no argument 'self'; it has times"),
        ("drop_after:frames=3,frames=4", "frames is there twice in 'drop_after:frames=3,frames=4'"),
        ("answer", "'answer': missing a required argument: 'status'"),
        ("drop_after", "drop_after needs one of frames, bytes and seconds"),
        ("truncate:times=2", "truncate needs the number of a message, counted from 1"),
        ("truncate:frame=x", "the number of a message must be a whole number, 1 or more, not 'x'"),
        ("drop_after:frames=three", "frames must be a whole number, 0 or more, not 'three'"),
        ("drop_after:frames=1.0", "frames must be a whole number, 0 or more, not 1.0"),
        ("latency:seconds=nan", "seconds must be a number, zero or more, not nan"),
        ("bandwidth:bytes_per_second=0", "bytes_per_second must be a number above zero, not 0"),
        ("close_after:frames=1,code=99", "or between 3000 and 4999, not 99"),
        ("answer:status=200", "a fault answers with a status between 400 and 599, not 200"),
    ],
)
def test_a_fault_that_is_spelled_wrong_is_refused_with_what_is_right(faults, script, message):
    with pytest.raises(ConfigError) as caught:
        apply_fault(faults, script)
    assert message in str(caught.value)
    assert (faults.pending(), faults.happened(), faults.pace()) == (0, [], Pace())
