"""``connex book check``: what it prints of recordings, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result

from pytest_connex.cassette.events import FORMAT, VERSION, Closed, Dial, End, Event, Header, Open, Received, Sent

from .commands import run

URL = "wss://ws.connex.invalid/"
NOW = 1_700_000_000_000
SUBSCRIBED = {"event": "subscribed", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 2}


def snapshot(**members: Any) -> dict[str, Any]:
    sides = {"bids": [["10", "1"]], "asks": [["11", "1"]]}
    return {"type": "snapshot", "symbol": "ETH/USDT", "timestamp": NOW, "sequence": 1} | sides | members


def update(sequence: int, **members: Any) -> dict[str, Any]:
    linked = {"sequence": sequence, "previousSequence": sequence - 1, "bids": [], "asks": []}
    return {"type": "update", "symbol": "ETH/USDT", "timestamp": NOW} | linked | members


def record(path: Path, *connections: list[Any]) -> Path:
    """Write what each connection received, one connection after the other."""
    events: list[Event] = []
    for number, received in enumerate(connections, start=1):
        events += [Dial(number, 0.0, URL), Open(number, 0.0), Sent(number, 0.0, "{}")]
        for message in received:
            if isinstance(message, bytes):
                events.append(Received(number, 0.0, None, message))
            else:
                events.append(Received(number, 0.0, message if isinstance(message, str) else json.dumps(message)))
        events.append(Closed(number, 0.0, "client", 1000))
    header = Header(FORMAT, VERSION, "2026-01-01T00:00:00Z", "sandbox", "test", "test")
    path.write_bytes(b"\n".join(map(msgspec.json.encode, (header, *events, End(len(events))))) + b"\n")
    return path


def check(*args: object) -> Result:
    return run("book", "check", *args)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.ws.jsonl"


GAP = "ETH/USDT, frame 2, breaks the rule 'sequence': expected previous sequence 1, found 2"


def test_a_recording_without_fault_exits_with_zero(file):
    record(file, [SUBSCRIBED, snapshot(), {"event": "pong", "id": 1}, b"\x00", update(2), update(3)])
    ran = check(file)
    assert (ran.exit_code, ran.stdout) == (0, "3 frames of 1 books checked, 0 broken rules\n")


def test_every_broken_rule_is_printed_with_file_and_line(file):
    crossed = update(4, previousSequence=3, bids=[["12", "1"]])
    record(file, [SUBSCRIBED, snapshot(), update(3), snapshot(sequence=3), crossed, update(5, timestamp=NOW - 1)])
    ran = check(file)
    assert ran.exit_code == 1
    assert ran.stdout.splitlines() == [
        f"{file}:7: connection 1: {GAP}",
        f"{file}:9: connection 1: ETH/USDT, frame 4, level 12 1, breaks the rule 'crossed': "
        "expected a best bid below the best ask 11, found 12",
        f"{file}:10: connection 1: ETH/USDT, frame 5, breaks the rule 'backwards': "
        f"expected {NOW} or later, found {NOW - 1}",
        f"{file}:10: connection 1: ETH/USDT, frame 5, level 12 1, breaks the rule 'crossed': "
        "expected a best bid below the best ask 11, found 12",
        "5 frames of 1 books checked, 4 broken rules",
    ]


def test_each_connection_and_each_symbol_has_a_book_of_its_own(file):
    other = {"symbol": "BTC/USDT"}
    record(
        file,
        [snapshot(), snapshot(sequence=70, **other), update(2), update(71, **other)],
        [snapshot(sequence=5, timestamp=NOW - 9), update(6, timestamp=NOW - 8)],
    )
    ran = check(file)
    assert (ran.exit_code, ran.stdout) == (0, "6 frames of 3 books checked, 0 broken rules\n")


def test_a_new_subscription_on_one_connection_is_a_new_book(file):
    record(file, [SUBSCRIBED, snapshot(), update(2), SUBSCRIBED, snapshot(timestamp=NOW - 9)])
    assert check(file).stdout == "3 frames of 2 books checked, 0 broken rules\n"


def test_several_recordings_are_checked_and_all_counted(tmp_path):
    good = record(tmp_path / "good.ws.jsonl", [snapshot(), update(2)])
    bad = record(tmp_path / "bad.ws.jsonl", [snapshot(), update(3)])
    ran = check(good, bad)
    assert ran.exit_code == 1
    assert ran.stdout.splitlines() == [
        f"{bad}:6: connection 1: {GAP}",
        "4 frames of 2 books checked, 1 broken rules",
    ]


DEEP = snapshot(bids=[["10", "1"], ["9", "1"], ["8", "1"]])
TOO_DEEP = "level 8 1, breaks the rule 'depth': expected at most 2 bids, found 3"


@pytest.mark.parametrize(
    ("received", "args"),
    [
        ([snapshot(), update(3)], ["--sequence", "increasing"]),
        ([snapshot(), update(3)], ["--sequence", "none"]),
        ([snapshot(), update(3)], ["--skip", "sequence"]),
        ([snapshot(bids=[["11", "1"]])], ["--locked"]),
        ([snapshot(bids=[["12", "1"]])], ["--skip", "crossed"]),
        ([snapshot(bids=[["12", "1"]]), update(4)], ["--skip", "crossed", "--skip", "sequence"]),
        ([SUBSCRIBED, DEEP], ["--depth", "3"]),
    ],
)
def test_an_option_changes_what_is_a_fault(file, received, args):
    record(file, received)
    assert check(file).exit_code == 1
    assert check(file, *args).exit_code == 0


@pytest.mark.parametrize(("received", "args"), [([SUBSCRIBED, DEEP], []), ([DEEP], ["--depth", "2"])])
def test_the_depth_is_the_subscribed_one_or_the_given_one(file, received, args):
    record(file, received)
    assert TOO_DEEP in check(file, *args).stdout


def test_a_recording_that_does_not_say_its_depth_has_any(file):
    record(file, [DEEP])
    assert check(file).exit_code == 0


@pytest.mark.parametrize(
    ("args", "first"),
    [
        (["--sequence", "contiguous"], {"sequence": 3}),
        (["--sequence", "ranged"], {"sequence": 3, "firstSequence": 3}),
        (["--checksum", "okx", "--sequence", "none"], {"checksum": 5}),
        (["--checksum", "kraken", "--sequence", "none"], {"checksum": 5}),
    ],
)
def test_sequences_and_checksums_are_those_that_were_asked_for(file, args, first):
    record(file, [snapshot(), update(2) | first])
    ran = check(file, *args)
    assert (ran.exit_code, f"{file}:6: connection 1: ETH/USDT, frame 2, breaks the rule" in ran.stdout) == (1, True)


def test_what_is_no_frame_is_printed_with_its_line(file):
    record(file, [snapshot(), "not JSON", snapshot(bids=[["NaN", "1"]]), update(2)])
    ran = check(file)
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    assert lines[0].startswith(f"{file}:6: connection 1: not JSON: ")
    assert lines[1].startswith(f"{file}:7: connection 1: bids[0]: not a number by JSON's grammar: 'NaN'")
    assert lines[2:] == ["2 frames of 1 books checked, 2 broken rules"]


def test_a_damaged_recording_is_a_fault(file):
    record(file, [snapshot()])
    file.write_bytes(file.read_bytes().rpartition(b'{"event":"end"')[0])
    ran = check(file)
    assert ran.exit_code == 1
    assert "the recording is truncated" in ran.stdout


def test_a_recording_that_is_not_there_is_a_fault(tmp_path):
    ran = check(tmp_path / "no.ws.jsonl")
    assert (ran.exit_code, "the recording cannot be read" in ran.stdout) == (1, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--skip", "colour"], "connex book: there is no rule 'colour'; there are sorted, "),
        (["--sequence", "random"], "connex book: there is no sequencing 'random'; there are contiguous, "),
        (["--checksum", "md5"], "connex book: there is no checksum 'md5'; there are kraken, okx, none"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_those_that_can(file, args, said):
    ran = check(file, *args)
    assert ran.exit_code == 2
    assert said in ran.stderr


@pytest.mark.parametrize("args", [["--depth", "0"], []])
def test_usage_is_checked(args):
    assert check(*args).exit_code == 2
