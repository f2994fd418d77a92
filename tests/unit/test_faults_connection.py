"""What becomes of the messages of one connection, and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.faults import Ending, Faults
from pytest_connex.faults.connection import Message

from .test_faults import opened

Script = Callable[[Faults], None]

texts = st.text(st.characters(codec="utf-8")).map(lambda text: (True, text.encode()))
binaries = st.binary().map(lambda content: (False, content))
messages = st.lists(texts | binaries, max_size=8)
numbers = st.sets(st.integers(1, 8), min_size=1)


def sent(script: Script, given_messages: list[Message], seed: int = 0) -> list[list[Message]]:
    """What is sent for each message, and last what was held to the end."""
    faults = Faults(seed)
    script(faults)
    trouble = opened(faults)
    return [*(trouble.message(*message) for message in given_messages), trouble.held()]


def flat(lists: list[list[Message]]) -> list[Message]:
    return [message for found in lists for message in found]


def texts_of(script: Script, *said: str) -> list[str]:
    return [content.decode() for _, content in flat(sent(script, [(True, text.encode()) for text in said]))]


# --- Messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda faults: faults.drop_after(9), ["one", "two", "three", "four"]),
        (lambda faults: faults.truncate(2), ["one", "t", "three", "four"]),
        (lambda faults: faults.truncate(1, 4), ["o", "two", "three", "fo"]),
        (lambda faults: faults.duplicate(1), ["one", "one", "two", "three", "four"]),
        (lambda faults: faults.duplicate(4, 4), ["one", "two", "three", "four", "four"]),
        (lambda faults: faults.reorder(1), ["two", "one", "three", "four"]),
        (lambda faults: faults.reorder(1, 3), ["two", "one", "four", "three"]),
        (lambda faults: faults.reorder(1, 2), ["three", "two", "one", "four"]),
        (lambda faults: faults.reorder(4), ["one", "two", "three", "four"]),
        (lambda faults: (faults.duplicate(2), faults.reorder(2)), ["one", "three", "two", "two", "four"]),
        (lambda faults: (faults.truncate(2), faults.duplicate(2)), ["one", "t", "t", "three", "four"]),
        (lambda faults: (faults.duplicate(1), faults.reorder(2)), ["one", "one", "three", "two", "four"]),
        (lambda faults: faults.truncate(5), ["one", "two", "three", "four"]),
    ],
)
def test_a_message_is_changed_as_the_fault_is_called(script, expected):
    assert texts_of(script, "one", "two", "three", "four") == expected


def test_a_message_that_comes_after_its_follower_waits_for_it():
    assert sent(lambda faults: faults.reorder(1), [(True, b"1"), (True, b"2")]) == [
        [],
        [(True, b"2"), (True, b"1")],
        [],
    ]


def test_what_was_held_is_given_once():
    faults = Faults()
    faults.reorder(1)
    trouble = opened(faults)
    trouble.message(True, b"1")
    assert (trouble.held(), trouble.held()) == ([(True, b"1")], [])


@pytest.mark.parametrize(("text", "half"), [("", ""), ("é", ""), ("aé", "a"), ("€€", "€"), ("a€", "a"), ("😀", "")])
def test_the_half_of_a_text_ends_between_two_characters(text, half):
    assert texts_of(lambda faults: faults.truncate(1), text) == [half]


def test_the_half_of_a_binary_message_ends_anywhere():
    assert flat(sent(lambda faults: faults.truncate(1), [(False, "aé".encode())])) == [(False, b"a")]
    assert flat(sent(lambda faults: faults.truncate(1), [(False, "éa€".encode())])) == [(False, "éa".encode())]


def test_a_binary_message_that_is_to_be_no_utf8_is_sent_as_text():
    ((text, content),) = flat(sent(lambda faults: faults.invalid_utf8(1), [(False, b"ab")]))
    assert (text, content.replace(b"\xff", b"")) == (True, b"ab")


def test_times_is_the_number_of_connections():
    faults = Faults()
    faults.truncate(1, 2, times=2)
    found = []
    for _ in range(3):
        trouble = opened(faults)
        found.append([trouble.message(True, b"ab")[0][1] for _ in range(3)])
    assert found == [[b"a", b"a", b"ab"], [b"a", b"a", b"ab"], [b"ab", b"ab", b"ab"]]


def test_each_kind_has_an_order_of_its_own():
    faults = Faults()
    faults.truncate(1)
    faults.truncate(2)
    faults.duplicate(1)
    found = []
    for _ in range(2):
        trouble = opened(faults)
        found.append([content for _ in range(2) for _, content in trouble.message(True, b"ab")])
    assert found == [[b"a", b"a", b"ab"], [b"ab", b"a"]]


@given(messages)
def test_where_nothing_is_scripted_messages_stay_as_they_are(said):
    assert sent(lambda faults: None, said) == [*([message] for message in said), []]


@given(messages, numbers)
def test_what_is_reordered_is_all_there_and_nothing_else(said, frames):
    assert Counter(flat(sent(lambda faults: faults.reorder(*frames), said))) == Counter(said)


@given(st.integers(1, 12), numbers)
def test_a_reordered_message_comes_after_the_one_that_follows_it(count, frames):
    said = [(True, b"%d" % number) for number in range(1, count + 1)]
    places = {int(content): place for place, (_, content) in enumerate(flat(sent(_reorder(frames), said)))}
    assert all(places[frame] > places[frame + 1] for frame in frames if frame < count)
    assert all(places[frame] < places[frame + 1] for frame in set(range(1, count)) - frames)


@given(messages, numbers)
def test_what_is_doubled_is_there_twice_in_its_place(said, frames):
    expected = [message for number, message in enumerate(said, 1) for _ in range(2 if number in frames else 1)]
    assert flat(sent(lambda faults: faults.duplicate(*frames), said)) == expected


@given(messages, numbers)
def test_what_is_truncated_is_the_beginning_of_what_it_was(said, frames):
    for number, (before, after) in enumerate(zip(said, flat(sent(_truncate(frames), said)), strict=True), 1):
        if number not in frames:
            assert after == before
            continue
        text, content = after
        assert (text, before[1].startswith(content), len(content) <= len(before[1]) // 2) == (before[0], True, True)
        assert len(content) > len(before[1]) // 2 - 4
        if text:
            content.decode()


@given(messages, numbers, st.integers())
def test_what_is_corrupted_has_its_length_and_is_still_text(said, frames, seed):
    after = flat(sent(lambda faults: faults.corrupt(*frames), said, seed))
    for number, ((text, before), (still_text, content)) in enumerate(zip(said, after, strict=True), 1):
        assert (still_text, len(content)) == (text, len(before))
        assert (content != before) is (number in frames and len(before) > 0)
        if text:
            content.decode()


@given(messages, numbers)
def test_what_is_no_utf8_is_text_that_nobody_can_decode(said, frames):
    after = flat(sent(lambda faults: faults.invalid_utf8(*frames), said))
    for number, (before, (text, content)) in enumerate(zip(said, after, strict=True), 1):
        if number not in frames:
            assert (text, content) == before
            continue
        assert (text, len(content)) == (True, len(before[1]) + 1)
        with pytest.raises(UnicodeDecodeError):
            content.decode()


@given(messages, *[st.sets(st.integers(1, 8)) for _ in range(3)])
def test_several_faults_on_one_connection_lose_no_message(said, doubled, reordered, halved):
    def script(faults: Faults) -> None:
        for add, frames in ((faults.duplicate, doubled), (faults.reorder, reordered), (faults.truncate, halved)):
            if frames:
                add(*frames)

    there = sum(2 if number in doubled else 1 for number in range(1, len(said) + 1))
    assert len(flat(sent(script, said))) == there


def test_a_large_message_is_corrupted_in_one_byte_of_fifty():
    content = b"x" * 5_000
    ((_, changed),) = flat(sent(lambda faults: faults.corrupt(1), [(True, content)]))
    assert sum(one != other for one, other in zip(content, changed, strict=True)) == 101


def _reorder(frames: set[int]) -> Script:
    return lambda faults: faults.reorder(*frames)


def _truncate(frames: set[int]) -> Script:
    return lambda faults: faults.truncate(*frames)


# --- Chance ----------------------------------------------------------------------------------------------

LONG = (True, b"a message of some length, so that there is something to choose from")


def corrupted(seed: int, interleaved: bool = False, jitter: bool = False) -> list[list[Message]]:
    """The third message of each of three connections."""
    faults = Faults(seed)
    faults.corrupt(3, times=3)
    troubles = [opened(faults) for _ in range(3)]
    if jitter:
        for trouble in troubles:
            trouble.chance().random()
    if interleaved:
        return [[trouble.message(*LONG) for trouble in reversed(troubles)][::-1] for _ in range(3)][2]
    return [[trouble.message(*LONG) for _ in range(3)][2] for trouble in troubles]


def test_one_seed_corrupts_the_same_characters():
    assert corrupted(1) == corrupted(1)


def test_another_seed_corrupts_others():
    assert corrupted(1) != corrupted(2)


def test_each_message_has_other_characters_corrupted():
    one, two = flat(sent(lambda faults: faults.corrupt(1, 2), [LONG, LONG]))
    assert one != two


def test_each_connection_has_other_characters_corrupted():
    one, two, three = (found[0] for found in corrupted(1))
    assert len({one, two, three}) == 3


@pytest.mark.parametrize("how", ["interleaved", "jitter"])
def test_neither_the_order_of_connections_nor_their_jitter_matters_for_what_is_corrupted(how):
    assert corrupted(1, **{how: True}) == corrupted(1)


# --- The end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "due"),
    [
        (lambda faults: faults.drop_after(0), [True, True, True]),
        (lambda faults: faults.drop_after(2), [False, False, True]),
        (lambda faults: faults.drop_after(3), [False, False, False]),
        (lambda faults: faults.stall_after(bytes=0), [True, True, True]),
        (lambda faults: faults.stall_after(bytes=4), [False, False, True]),
        (lambda faults: faults.stall_after(bytes=5), [False, False, False]),
        (lambda faults: faults.reset_after(seconds=0), [False, False, False]),
        (lambda faults: faults.reset_instead_of_close(), [False, False, False]),
        (lambda faults: faults.duplicate(1), [False, False, False]),
    ],
)
def test_the_end_is_due_after_so_many_messages_or_bytes(script, due):
    faults = Faults()
    script(faults)
    trouble = opened(faults)
    found = [trouble.end_due(0)]
    for number in (1, 2):
        trouble.message(True, b"ab")
        found.append(trouble.end_due(2 * number))
    assert found == due


def test_a_message_that_is_doubled_or_held_counts_once():
    faults = Faults()
    faults.drop_after(2)
    faults.duplicate(1)
    faults.reorder(2)
    trouble = opened(faults)
    found = []
    for _ in range(2):
        trouble.message(True, b"ab")
        found.append(trouble.end_due(0))
    assert found == [False, True]


def test_a_connection_ends_once():
    faults = Faults()
    faults.drop_after(1)
    trouble = opened(faults)
    trouble.message(True, b"1")
    assert (trouble.end(), trouble.end()) == (Ending("drop", 1), None)
    assert faults.happened() == ["connection 1: drop after 1 message"]


def test_nothing_is_changed_after_the_end():
    faults = Faults()
    faults.drop_after(1)
    faults.truncate(2)
    trouble = opened(faults)
    trouble.message(True, b"ab")
    trouble.end()
    assert trouble.message(True, b"ab") == [(True, b"ab")]


@pytest.mark.parametrize(
    ("script", "there"),
    [
        (lambda faults: None, False),
        (lambda faults: faults.latency(1), False),
        (lambda faults: faults.answer(503), False),
        (lambda faults: faults.reset_instead_of_close(), True),
        (lambda faults: faults.corrupt(100), True),
    ],
)
def test_a_connection_knows_whether_anything_goes_wrong_with_it(script, there):
    faults = Faults()
    script(faults)
    assert faults.connection().opened() is there
