"""What has to be sent first, found quickly: the same as looking at every connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.causality import Expectations
from pytest_connex.cassette.events import Dial
from pytest_connex.cassette.store import Place, RecordedConnection

from .conftest import URL


def connection(number: int, line: int, last_line: int, first_sent: int | None = None) -> RecordedConnection:
    made = RecordedConnection(Path("x.ws.jsonl"), Dial(number, 0.0, URL), line)
    made.last_line, made.first_sent = last_line, first_sent and Place(first_sent, 0.0)
    return made


def plainly(lines: dict[RecordedConnection, int | None], own: RecordedConnection) -> int | None:
    others = (line for other, line in lines.items() if other is not own and other.overlaps(own) and line is not None)
    return min(others, default=None)


@given(st.data())
def test_the_first_of_the_others_is_found(data):
    spans = data.draw(st.lists(st.tuples(st.integers(2, 40), st.integers(1, 40)), min_size=1, max_size=8))
    numbers = st.none() | st.integers(2, 90)
    connections = [
        connection(number, start, start + length, data.draw(numbers))
        for number, (start, length) in enumerate(spans, start=1)
    ]
    lines = {other: other.first_sent and other.first_sent.line for other in connections}
    expectations = Expectations(connections)
    for _ in range(data.draw(st.integers(0, 12))):
        changed, line = data.draw(st.sampled_from(connections)), data.draw(numbers)
        lines[changed] = line
        expectations.expect(changed, line)
        own = data.draw(st.sampled_from(connections))
        awaited = expectations.before(own)
        assert (awaited and awaited.line) == plainly(lines, own)
        assert awaited is None or lines[awaited.connection] == awaited.line


def test_a_connection_does_not_wait_for_itself_nor_for_what_was_over():
    first, second, third = connection(1, 2, 10, 4), connection(2, 5, 20, 6), connection(3, 12, 30, 14)
    expectations = Expectations([first, second, third])
    assert expectations.before(third).connection is second
    assert expectations.before(first).connection is second
    expectations.expect(second, None)
    assert expectations.before(third) is None
    expectations.expect(second, 18)
    assert expectations.before(third).line == 18


@pytest.mark.parametrize("count", [300])
def test_many_that_have_sent_everything_are_not_looked_at(count, monkeypatch):
    connections = [connection(number, number + 1, 10_000, number + 1_000) for number in range(1, count + 1)]
    expectations = Expectations(connections)
    for other in connections[:-1]:
        expectations.expect(other, None)
    looked: list[object] = []
    overlaps = RecordedConnection.overlaps
    monkeypatch.setattr(
        RecordedConnection, "overlaps", lambda self, other: looked.append(other) or overlaps(self, other)
    )
    assert expectations.before(connections[0]).connection is connections[-1]
    assert len(looked) == 1
