"""What is due when: the same as looking at everything, for random tapes; and nobody waits for ever."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.causality import Limits, Order, Standing
from pytest_connex.cassette.events import Dial, Sent
from pytest_connex.cassette.exchange import HttpRequest, Interaction
from pytest_connex.cassette.store import Place, RecordedConnection

from .conftest import HEADER, URL

END = Limits(line=2**63 - 1, at=float("inf"))


@dataclass
class Tape:
    """What an order needs to know of a recording."""

    connections: list[RecordedConnection]
    header: Any = HEADER


def connection(number: int, line: int, last_line: int, first_sent: int | None = None) -> RecordedConnection:
    made = RecordedConnection(Path("x.ws.jsonl"), Dial(number, line / 10, URL), line)
    made.last_line, made.first_sent = last_line, first_sent and (first_sent, Sent(number, first_sent / 10, "a"))
    return made


def place(line: int) -> Place:
    return Place(line, line / 10)


def standing(sends: int | None, next_line: int | None = None) -> Standing:
    return Standing(sends and place(sends), next_line and next_line / 10)


def request(asked: float | None, url: str = "https://rest.connex.invalid/a") -> Interaction:
    return Interaction(HttpRequest("GET", url, [], b""), 200, "OK", [], b"", asked, asked)


# --- Version 1: connections that were open at the same time ---------------------------------------------------


def version_1(connections: list[RecordedConnection]) -> Order:
    import msgspec

    return Order(Tape(connections, msgspec.structs.replace(HEADER, version=1)))


def plainly(lines: dict[RecordedConnection, int | None], own: RecordedConnection) -> int:
    others = (line for other, line in lines.items() if other is not own and other.overlaps(own) and line is not None)
    return min(others, default=END.line)


@given(st.data())
def test_in_version_1_the_first_of_the_others_is_found(data):
    spans = data.draw(st.lists(st.tuples(st.integers(2, 40), st.integers(1, 40)), min_size=1, max_size=8))
    numbers = st.none() | st.integers(2, 90)
    connections = [
        connection(number, start, start + length, data.draw(numbers))
        for number, (start, length) in enumerate(spans, start=1)
    ]
    lines = {other: other.first_sent and other.first_sent[0] for other in connections}
    order = version_1(connections)
    for _ in range(data.draw(st.integers(0, 12))):
        changed, line = data.draw(st.sampled_from(connections)), data.draw(numbers)
        lines[changed] = line
        order.stand(changed, standing(line, 1))
        own = data.draw(st.sampled_from(connections))
        assert order.limits(own) == Limits(plainly(lines, own), END.at)


def test_in_version_1_a_connection_does_not_wait_for_itself_nor_for_what_was_over():
    first, second, third = connection(1, 2, 10, 4), connection(2, 5, 20, 6), connection(3, 12, 30, 14)
    order = version_1([first, second, third])
    assert (order.limits(third).line, order.limits(first).line) == (6, 6)
    order.stand(second, standing(None))
    assert order.limits(third).line == END.line
    order.stand(second, standing(18))
    assert order.limits(third).line == 18
    order.leave(second)
    assert order.limits(third).line == END.line


@pytest.mark.parametrize("count", [300])
def test_in_version_1_many_that_have_sent_everything_are_not_looked_at(count, monkeypatch):
    connections = [connection(number, number + 1, 10_000, number + 1_000) for number in range(1, count + 1)]
    order = version_1(connections)
    for other in connections[:-1]:
        order.stand(other, standing(None))
    looked: list[object] = []
    overlaps = RecordedConnection.overlaps
    monkeypatch.setattr(
        RecordedConnection, "overlaps", lambda self, other: looked.append(other) or overlaps(self, other)
    )
    assert order.limits(connections[0]).line == count + 1_000
    assert len(looked) == 1


def test_in_version_1_http_has_no_order():
    order = version_1([connection(1, 2, 10, 4)])
    assert order.is_due(99.0)
    assert order.awaited_by_answer(99.0) == ""


# --- Version 2: one order -------------------------------------------------------------------------------------


@given(st.data())
def test_everything_before_is_waited_for_and_nothing_else(data):
    """Against the rules as they are written, looking at everything."""
    count = data.draw(st.integers(0, 5))
    lines = iter(data.draw(st.permutations(range(2, 60))))
    connections = sorted((connection(0, next(lines), 99) for _ in range(count)), key=lambda made: made.line)
    for number, made in enumerate(connections, start=1):
        made.number = number
    asked = [next(lines) / 10 + 0.05 for _ in range(data.draw(st.integers(0, 5)))]
    order = Order(Tape(connections), [request(at) for at in asked])
    unasked = dict(enumerate(asked))
    actions = {made.number: made.line for made in connections}
    events = {made.number: made.line / 10 for made in connections}
    for _ in range(data.draw(st.integers(0, 20))):
        if unasked and (not connections or data.draw(st.booleans())):
            index = data.draw(st.sampled_from(sorted(unasked)))
            del unasked[index]
            order.ask(index)
        elif connections:
            moved = data.draw(st.sampled_from(connections))
            sends = data.draw(st.none() | st.integers(2, 60))
            following = data.draw(st.none() | st.integers(2, 60))
            actions[moved.number] = sends or END.line
            events[moved.number] = (following or END.line) / 10
            order.stand(moved, standing(sends, following))
        first_unasked = min(unasked.values(), default=END.at)
        for made in connections:
            assert order.limits(made) == Limits(min(actions.values()), first_unasked)
        for at in (0.0, *asked, *(line / 10 + 0.01 for line in range(2, 60, 7))):
            before = [event for event in events.values() if event < min(at, first_unasked)]
            assert order.is_due(at) == (not before)
            assert bool(order.awaited_by_answer(at)) == bool(before)


def test_an_answer_of_a_recording_without_times_is_due():
    order = Order(Tape([connection(1, 2, 9)]), [request(None)])
    order.ask(0)
    assert order.is_due(None)


def test_without_websockets_answers_are_due():
    order = Order(None, [request(1.0), request(2.0)])
    order.ask(1)
    assert order.is_due(2.5)


def test_what_is_waited_for_is_said():
    first, second = connection(1, 2, 9), connection(2, 3, 10)
    order = Order(Tape([first, second]), [request(0.45, "https://rest.connex.invalid/b"), request(0.25)])
    assert order.awaited_by(first, place(6)) == f"the client dials {URL}, connection 1, which stands on line 2"
    order.stand(first, standing(None, 6))
    assert order.awaited_by_answer(0.7) == ""  # beyond a request that was not asked
    assert order.awaited_by(first, place(6)) == "the client asks GET https://rest.connex.invalid/a"
    order.ask(1)
    assert order.awaited_by(first, place(6)) == f"the client dials {URL}, connection 2, which stands on line 3"
    order.stand(second, standing(5, 5))
    assert order.awaited_by(first, place(6)) == "the client asks GET https://rest.connex.invalid/b"
    assert order.awaited_by(first, place(4)) == ""
    order.ask(0)
    assert order.awaited_by(first, place(6)) == "the client sends on connection 2 what it sends on line 5"
    assert order.awaited_by_answer(0.7) == "the client sends on connection 2 what it sends on line 5"
    order.stand(second, standing(None, 7))
    assert order.awaited_by(first, place(6)) == ""
    assert order.awaited_by_answer(0.65) == "the client takes what it received on connection 1 at 0.6 s"


def test_a_connection_that_the_client_has_left_holds_nobody_up():
    first, second = connection(1, 2, 9), connection(2, 3, 10)
    order = Order(Tape([first, second]))
    order.leave(first)
    assert order.limits(second).line == 3
    order.leave(second)
    assert order.limits(first) == END
    assert order.is_due(5.0)
    order.begin(second)
    assert (order.limits(first).line, order.is_due(5.0)) == (3, False)


# --- Listeners ------------------------------------------------------------------------------------------------


def test_listeners_hear_of_what_may_be_due_when_the_lock_is_free():
    first, second = connection(1, 2, 9), connection(2, 3, 10)
    order = Order(Tape([first, second]), [request(0.45), request(0.55)])
    heard: list[bool] = []

    def look() -> None:
        heard.append(order.lock.acquire(blocking=False))
        order.lock.release()

    def listener() -> None:
        other = threading.Thread(target=look)
        other.start()
        other.join()

    forget = order.listen(listener)

    def told(act: Any) -> bool:
        heard.clear()
        with order.moving():
            act()
        return heard == [True]

    assert told(lambda: order.stand(first, standing(4, 4)))
    assert not told(lambda: order.stand(first, standing(4, 4)))
    assert told(lambda: order.stand(second, standing(None, 5)))
    assert not told(lambda: order.stand(second, standing(None, 6)))  # others are earlier
    assert told(lambda: order.stand(first, standing(4, 7)))
    assert not told(lambda: order.ask(1))  # an earlier one is still to be asked
    assert told(lambda: order.ask(0))
    assert told(lambda: order.leave(first))
    forget()
    assert not told(lambda: order.leave(second))


def test_many_connections_and_requests_are_not_looked_at_one_by_one(monkeypatch):
    connections = [connection(number, number + 1, 10_000) for number in range(1, 301)]
    order = Order(Tape(connections), [request(number / 10 + 0.05) for number in range(1, 301)])
    for made in connections[:-1]:
        order.stand(made, standing(None))
    for index in range(299):
        order.ask(index)
    monkeypatch.setattr(RecordedConnection, "overlaps", None)
    assert order.limits(connections[0]) == Limits(301, 300 / 10 + 0.05)


# --- Answers that are under way -------------------------------------------------------------------------------


def test_a_message_waits_for_the_answers_before_it():
    one = connection(1, 2, 99)
    order = Order(Tape([one]), [request(3.0), request(6.0)])
    order.stand(one, standing(None))
    order.ask(0)
    order.answer(0, 4.0)
    assert order.limits(one) == Limits(END.line, 4.0)
    assert order.awaited_by(one, place(50)) == (
        "the client takes the answer to GET https://rest.connex.invalid/a that came at 4 s"
    )
    order.answer(0, 5.0)  # a piece of the same answer
    assert order.limits(one) == Limits(END.line, 5.0)
    order.answer(0, None)
    assert order.limits(one) == Limits(END.line, 6.0)
    order.ask(1)
    assert order.limits(one) == END


def test_answers_to_requests_that_are_under_way_come_in_their_order():
    order = Order(None, [request(1.0), request(2.0), request(3.0)])
    for index, answered in ((0, 9.0), (2, 8.0)):
        order.ask(index)
        order.answer(index, answered)
    assert (order.is_due(9.0), order.is_due(8.0)) == (False, True)
    assert order.awaited_by_answer(9.0) == (
        "the client takes the answer to GET https://rest.connex.invalid/a that came at 8 s"
    )
    order.answer(2, None)
    assert order.is_due(9.0)


def test_whoever_waits_is_told_that_an_answer_has_been_given():
    order, told = Order(None, [request(1.0)]), []
    order.listen(lambda: told.append(True))
    with order.moving():
        order.answer(0, 2.0)
    with order.moving():
        order.answer(0, None)
    assert len(told) == 2


def test_in_version_1_nothing_waits_for_an_answer():
    one = connection(1, 2, 10, 4)
    order = version_1([one])
    order.answer(0, 2.0)
    assert order.limits(one) == END
    assert order.is_due(99.0)


def test_listeners_that_move_something_are_called_in_turn():
    """As deep in each other as there are clients, they would exceed the depth of calls."""
    clients = [connection(number, number + 1, 10_000) for number in range(1, 2_001)]
    order = Order(Tape(clients))
    waiting = iter(clients)

    def listener() -> None:
        with order.moving():
            if client := next(waiting, None):
                order.stand(client, standing(None, None))

    for _ in range(3):
        order.listen(listener)
    listener()
    assert next(waiting, None) is None


def test_a_listener_that_fails_keeps_no_other_from_hearing():
    client = connection(1, 2, 9)
    order = Order(Tape([client]))
    heard: list[str] = []

    def listener() -> None:
        heard.append("moved")
        if len(heard) == 1:
            raise ValueError

    order.listen(listener)
    with pytest.raises(ValueError), order.moving():
        order.stand(client, standing(4, 4))
    with order.moving():
        order.stand(client, standing(5, 5))
    assert heard == ["moved", "moved"]
