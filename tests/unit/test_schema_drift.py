"""What has changed between two schemas, and what of it breaks those who read the messages."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.schema.drift import Change, compare, compare_all

from .market_frames import market_frames
from .test_schema_infer import inferred


def member(values: list[str], slight: bool = False) -> object:
    return inferred(*(f'{{"event": "x", "m": {value}}}' for value in values), slight=slight)["x"]


def changes(old: list[str], new: list[str], sampled: bool = False) -> list[tuple[str, str, str, str, bool]]:
    found = compare("x", member(old), member(new, slight=sampled), sampled)
    return [(change.path, change.kind, change.old, change.new, change.breaking) for change in found]


MANY = 100
WORDS = ['"buy"', '"sell"'] * 10
MS = "1737158400123"
ROWS = "[" + ", ".join(['["1.5", 2]'] * 10) + "]"

BREAKING = {
    "a number for a string": (['"1.5"'], ["1.5"], ("m", "type", "string", "number")),
    "a string for a number": (["7"], ['"7"'], ("m", "type", "integer", "string")),
    "a fraction for a whole number": (["7"], ["7.5"], ("m", "type", "integer", "number")),
    "a fraction of zero for a whole number": (["7"], ["7.0"], ("m", "type", "integer", "number")),
    "an object for an array": (["[]"], ["{}"], ("m", "type", "array", "object")),
    "null besides": (['"a b"'], ['"a b"', "null"], ("m", "nullable", "never null", "null")),
    "another word": (WORDS, ['"buy"', '"hold"'] * 10, ("m", "enumeration", "buy or sell", "hold")),
    "any text for words": (WORDS, ['"as you like"'], ("m", "enumeration", "buy or sell", "any")),
    "text for a decimal": (['"1.5"'], ['"1_500"'], ("m", "format", "decimal", "any")),
    "text for a symbol": (['"ETH/USDT"'], ['"ETHUSDT"'], ("m", "format", "symbol", "any")),
    "seconds for milliseconds": ([MS], ["1737158400"], ("m", "format", "epoch-milliseconds", "any")),
    "an exponent": (['"0.5"'], ['"0.5"', '"1e-7"'], ("m", "format", "no exponent", "exponents")),
    "an exponent of a number": (["0.5"], ["0.5", "1e-7"], ("m", "format", "no exponent", "exponents")),
    "an exponent where only zeros were": (['"0"'], ['"1e-7"'], ("m", "format", "no exponent", "exponents")),
    "more decimals": (['"1.50"'] * MANY, ['"1.505"'] * MANY, ("m", "precision", "2 decimals", "3 decimals")),
    "fewer decimals": (['"1.50"'] * MANY, ['"1.5"'] * MANY, ("m", "precision", "2 decimals", "1 decimals")),
    "more decimals of a number": (["1.50"] * MANY, ["1.505"] * MANY, ("m", "precision", "2 decimals", "3 decimals")),
    "a negative decimal": (['"1.50"'] * MANY, ['"-1.50"'] * MANY, ("m", "sign", "never negative", "negative")),
    "a negative whole number": (["7"] * MANY, ["-7"] * MANY, ("m", "sign", "never negative", "negative")),
    "a longer row": ([ROWS], [ROWS.replace(" 2]", " 2, 3]")], ("m[]", "length", "2 values", "3 values")),
    "rows of several lengths": (
        [ROWS],
        [ROWS, "[[1], [2, 3, 4]]"],
        ("m[]", "length", "2 values", "any number of values"),
    ),
    "an empty row": ([ROWS], ["[[]]"], ("m[]", "length", "2 values", "any number of values")),
    "a column that is another": ([ROWS], [ROWS.replace('"1.5"', "1.5")], ("m[][0]", "type", "string", "number")),
    "items that are others": (['["a b"]'], ["[1]"], ("m[]", "type", "string", "integer")),
    "a member within that is gone": (['{"a": 1, "b": 2}'], ['{"a": 1}'], ("m.b", "gone", "integer", "")),
    "a member within that is not always there": (
        ['{"a": 1}'],
        ['{"a": 1}', "{}"],
        ("m.a", "optional", "always there", "sometimes there"),
    ),
    "a member of items that is gone": (['[{"a": "1.5"}]'], ["[{}]"], ("m[].a", "gone", "string (decimal)", "")),
}


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("case", BREAKING)
def test_a_breaking_change_is_named(case, sampled):
    old, new, expected = BREAKING[case]
    assert changes(old, new, sampled) == [(*expected, True)]


NOT_BREAKING = {
    "another member": (['{"a": 1}'], ['{"a": 1, "b": [1]}'], ("m.b", "added", "", "array")),
    "a member that is always there": (
        ["{}", '{"a": 1}'],
        ['{"a": 1}'],
        ("m.a", "required", "sometimes there", "always there"),
    ),
    "no null any more": (["1", "null"], ["1"], ("m", "nullable", "null", "never null")),
    "whole numbers for any": (["1.5"], ["1"], ("m", "type", "number", "integer")),
    "fewer types": (['"a b"', "true"], ['"a b"'], ("m", "type", "boolean or string", "string")),
    "words for any text": (['"as you like"'], WORDS, ("m", "enumeration", "any", "buy or sell")),
    "fewer words": (
        ['"a"', '"b"', '"c"'] * 10,
        ['"a"', '"b"'] * 10,
        ("m", "enumeration", "a or b or c", "a or b"),
    ),
    "decimals for any text": (['"as you like"'], ['"1.5"'], ("m", "format", "any", "decimal")),
    "fewer decimals than the most": (
        ['"1.5"', '"1.25"'],
        ['"1.5"'],
        ("m", "precision", "1 to 2 decimals", "1 decimals"),
    ),
    "what arrays hold": (["[]"], ["[1]"], ("m[]", "added", "", "integer")),
}


@pytest.mark.parametrize("case", NOT_BREAKING)
def test_what_no_reader_notices_is_told_and_not_breaking(case):
    old, new, expected = NOT_BREAKING[case]
    assert changes(old, new) == [(*expected, False)]


@pytest.mark.parametrize("case", NOT_BREAKING)
def test_a_few_frames_tell_only_of_additions(case):
    old, new, expected = NOT_BREAKING[case]
    assert changes(old, new, sampled=True) == ([(*expected, False)] if expected[1] == "added" else [])


NATURAL = {
    "other prices": (['"1.50"'] * MANY, ['"2500.25"']),
    "a deleted level": (['"1.5000"'] * MANY, ['"0"']),
    "more decimals where they vary": (['"1.5"', '"1.25"'] * MANY, ['"1.23456789"']),
    "decimals that happened to be alike": (['"1.5"', '"2.5"'], ['"1.25"']),
    "a negative number where little was seen": (['"1.5"'], ['"-1.5"']),
    "another time": ([MS], ["1800000000000"]),
    "another sequence": (["7"] * MANY, ["123456789012345"]),
    "a word instead of two": (WORDS, ['"sell"']),
    "a word where any text was": (['"as you like"'], ['"once"']),
    "another symbol": (['"ETH/USDT"'], ['"BTC/USDT"', '"1INCH-USDT-SWAP"']),
    "a text that looks like a number with an exponent": (['"as you like"'], ['"1e5"']),
    "a text that looks like a number": (['"as you like"'], ['"7"']),
    "a decimal that looks like a time": (['"7"', '"1"'], [f'"{MS}"']),
    "an empty array": ([ROWS], ["[]"]),
    "an array with one row": ([ROWS], ['[["1.5", 2]]']),
    "items of one length": (["[[1], [1, 2], []]"], ["[[1, 2]]"]),
    "a member that is not always there": (['{"a": 1}', "{}"], ["{}"]),
    "never null": (["null", "1"], ["1"]),
    "always null": (["null", "1"], ["null"]),
    "an empty object where nothing is required": (["{}", '{"a": 1}'], ["{}"]),
}


@pytest.mark.parametrize("case", NATURAL)
def test_what_differs_by_nature_is_no_alarm(case):
    assert changes(*NATURAL[case], sampled=True) == []


# --- Frames of a market ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pinned() -> dict[str, object]:
    return inferred(*market_frames(range(1, 11), 1000))


@pytest.mark.parametrize("start", range(0, 200, 5))
def test_five_frames_of_another_seed_show_no_change(pinned, start):
    frames = market_frames([77], 200)[start : start + 5]
    assert compare_all(pinned, inferred(*frames, slight=True), sampled=True) == []


def changed_frames(change: Callable[[dict], None]) -> list[str]:
    made = []
    for text in market_frames([77], 40):
        frame = json.loads(text)
        if frame.get("type") == "update":
            change(frame)
            made.append(json.dumps(frame))
    return made


@pytest.mark.parametrize(
    ("change", "path", "kind"),
    [
        (lambda frame: frame.pop("sequence"), "sequence", "gone"),
        (lambda frame: frame.update(sequence=str(frame["sequence"])), "sequence", "type"),
        (lambda frame: frame.update(exchange=None), "exchange", "nullable"),
        (lambda frame: frame.update(exchange="kraken"), "exchange", "enumeration"),
        (lambda frame: frame.update(timestamp=frame["timestamp"] // 1000), "timestamp", "format"),
        (lambda frame: frame.update(bids=[[p + "5", q] for p, q in frame["bids"]]), "bids[][0]", "precision"),
        (lambda frame: frame.update(asks=[[float(p), q] for p, q in frame["asks"]]), "asks[][0]", "type"),
        (lambda frame: frame.update(bids=[[*level, "1"] for level in frame["bids"]]), "bids[]", "length"),
    ],
)
def test_a_few_changed_frames_are_one_named_change(pinned, change, path, kind):
    found = compare_all(pinned, inferred(*changed_frames(change), slight=True), sampled=True)
    assert {(one.message, one.path, one.kind) for one in found if one.breaking} >= {("orderbook.update", path, kind)}
    assert {one.path for one in found} == {path}


def test_a_new_member_in_live_frames_is_an_addition(pinned):
    found = compare_all(pinned, inferred(*changed_frames(lambda frame: frame.update(checksum=7)), slight=True), True)
    assert [(one.path, one.kind, one.breaking) for one in found] == [("checksum", "added", False)]


# --- Classes, text, and schemas by hand -------------------------------------------------------------------------


def test_a_class_that_is_gone_is_breaking_and_a_new_one_is_not():
    left, right = inferred('{"event": "a"}', '{"event": "b"}'), inferred('{"event": "b"}', '{"event": "c"}')
    assert compare_all(left, right) == [
        Change("a", "", "class", "a class of messages", "", breaking=True),
        Change("c", "", "class", "", "a class of messages", breaking=False),
    ]
    assert [change.message for change in compare_all(left, right, sampled=True)] == ["c"]


def test_a_change_as_people_read_it():
    old, new = member(['"1.5"']), member(["1.5"])
    assert str(compare("x", old, new)[0]) == "x: m: type: string -> number"
    assert str(Change("x", "", "class", "a class of messages", "", breaking=True)) == (
        "x: class: a class of messages -> nothing"
    )


def test_every_alternative_is_compared():
    old, new = member(["null", '"1.5"', "[1]"]), member(["null", '"x y"', '["a b"]'])
    assert [(change.path, change.kind) for change in compare("x", old, new)] == [("m[]", "type"), ("m", "format")]


@pytest.mark.parametrize("by_hand", [True, False, {}, {"$ref": "#"}, {"enum": [1]}, {"x-scale": "two"}])
def test_what_a_schema_leaves_open_is_compared_as_anything(by_hand):
    schema = {"type": "object", "properties": {"m": by_hand}}
    found = compare("x", schema, {"type": "object", "properties": {"m": {"type": "string", "x-scale": 2}}})
    assert [(change.path, change.kind, change.old, change.breaking) for change in found] == [
        ("m", "type", "anything", False)
    ]
    assert compare("x", schema, member(['"1.5"'], slight=True), sampled=True) == [
        Change("x", "event", "added", "", "string", breaking=False)
    ]


@pytest.mark.parametrize("kinds", [["integer", "number"], ["number", "integer"]])
def test_whole_numbers_are_among_any_numbers(kinds):
    schema = {"type": "object", "properties": {"m": {"type": kinds}}}
    assert compare("x", schema, {"type": "object", "properties": {"m": {"type": "number"}}}) == []


def test_what_becomes_open_is_breaking():
    schema = {"type": "object", "properties": {"m": {"type": "string"}}}
    found = compare("x", schema, {"type": "object", "properties": {"m": {}}})
    assert [(change.kind, change.new, change.breaking) for change in found] == [("type", "anything", True)]


@given(st.integers(0, 150), st.integers(1, 12), st.integers(100, 10_000))
def test_frames_of_any_seed_show_no_change(pinned, start, count, seed):
    frames = market_frames([seed], 200)[start : start + count]
    assert compare_all(pinned, inferred(*frames, slight=True), sampled=True) == []


def test_a_schema_has_not_changed_from_itself(pinned):
    assert compare_all(pinned, copy.deepcopy(pinned)) == []
