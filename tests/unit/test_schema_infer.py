"""Inferring schemas: what is claimed of others, and that others are held to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.errors import DataFormatError
from pytest_connex.protocol import decode_json
from pytest_connex.schema.check import Checker, read_exactly
from pytest_connex.schema.documents import file_name, message_class
from pytest_connex.schema.infer import DIALECT, Inference
from pytest_connex.schema.pinned import rendered

from .market_frames import market_frames

UPDATE = "orderbook.update"
SNAPSHOT = "orderbook.snapshot"


def inferred(*texts: str, slight: bool = False) -> dict[str, object]:
    inference = Inference(slight)
    for text in texts:
        inference.add(text)
    return inference.schemas()


def of_values(*values: object, slight: bool = False) -> dict[str, object]:
    """The schema of a member that had these values, given as they are written."""
    texts = [f'{{"event": "x", "member": {value}}}' for value in values]
    return inferred(*texts, slight=slight)["x"]["properties"]["member"]


@pytest.fixture(scope="module")
def thousand() -> dict[str, Checker]:
    return {name: Checker(schema) for name, schema in inferred(*market_frames(range(1, 11), 1000)).items()}


def problems(checkers: dict[str, Checker], text: str) -> list[str]:
    payload = read_exactly(text)
    return list(map(str, checkers[message_class(payload)].violations(payload)))


# --- A thousand frames against a thousand others --------------------------------------------------------------


def test_the_schemas_of_a_thousand_frames_accept_a_thousand_others(thousand):
    others = market_frames(range(11, 21), 1000)
    assert len(set(others)) > 900
    assert [text for text in others if problems(thousand, text)] == []


def replaced(member: str, value: object) -> Callable[[dict], None]:
    return lambda frame: frame.__setitem__(member, value)


def level(side: str, column: int, value: object) -> Callable[[dict], None]:
    return lambda frame: frame[side][0].__setitem__(column, value)


CORRUPTIONS: dict[str, tuple[str, Callable[[dict], object]]] = {
    "the sequence is gone": (UPDATE, lambda frame: frame.pop("sequence")),
    "the previous sequence is gone": (UPDATE, lambda frame: frame.pop("previousSequence")),
    "the bids are gone": (UPDATE, lambda frame: frame.pop("bids")),
    "the exchange is gone": (SNAPSHOT, lambda frame: frame.pop("exchange")),
    "the symbol is renamed": (UPDATE, lambda frame: frame.__setitem__("pair", frame.pop("symbol"))),
    "the symbol is null": (UPDATE, replaced("symbol", None)),
    "the symbol has no slash": (UPDATE, replaced("symbol", "ETHUSDT")),
    "the symbol is in lower case": (SNAPSHOT, replaced("symbol", "eth/usdt")),
    "the exchange is another": (UPDATE, replaced("exchange", "kraken")),
    "the exchange is a number": (SNAPSHOT, replaced("exchange", 1)),
    "the timestamp is a string": (UPDATE, replaced("timestamp", "1737158400123")),
    "the timestamp is in seconds": (UPDATE, replaced("timestamp", 1737158400)),
    "the timestamp is in microseconds": (UPDATE, replaced("timestamp", 1737158400123000)),
    "the timestamp has a fraction": (UPDATE, replaced("timestamp", Decimal("1737158400123.5"))),
    "the timestamp has a fraction of zero": (UPDATE, replaced("timestamp", Decimal("1737158400123.0"))),
    "the timestamp is a date": (SNAPSHOT, replaced("timestamp", "2026-01-01T00:00:00Z")),
    "the sequence is null": (UPDATE, replaced("sequence", None)),
    "the sequence is a string": (UPDATE, replaced("sequence", "17")),
    "the sequence is below zero": (UPDATE, replaced("sequence", -1)),
    "the sequence is true": (SNAPSHOT, replaced("sequence", True)),
    "the bids are null": (UPDATE, replaced("bids", None)),
    "the asks are an object": (UPDATE, replaced("asks", {})),
    "a price is a number": (SNAPSHOT, level("bids", 0, Decimal("2500.10"))),
    "a price has more decimals": (SNAPSHOT, level("bids", 0, "2500.101")),
    "a price has fewer decimals": (SNAPSHOT, level("asks", 0, "2500.1")),
    "a price has an exponent": (SNAPSHOT, level("asks", 0, "2.5E+3")),
    "a price is below zero": (SNAPSHOT, level("bids", 0, "-2500.10")),
    "a price has a blank": (SNAPSHOT, level("bids", 0, " 2500.10")),
    "a price has an underscore": (SNAPSHOT, level("bids", 0, "2_500.10")),
    "a quantity is NaN": (SNAPSHOT, level("bids", 1, "NaN")),
    "a quantity is Infinity": (SNAPSHOT, level("asks", 1, "Infinity")),
    "a quantity is null": (SNAPSHOT, level("asks", 1, None)),
    "a quantity is empty": (SNAPSHOT, level("asks", 1, "")),
    "a quantity begins with a zero": (SNAPSHOT, level("asks", 1, "01.0000")),
    "a level has a third value": (SNAPSHOT, lambda frame: frame["bids"][0].append("1")),
    "a level has one value": (SNAPSHOT, lambda frame: frame["bids"][0].pop()),
    "a level is an object": (SNAPSHOT, lambda frame: frame["bids"].__setitem__(0, {"price": "1.00"})),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corruption_of_one_member_is_found(thousand, corruption):
    name, corrupt = CORRUPTIONS[corruption]
    text = next(text for text in market_frames([21], 100) if message_class(decode_json(text)) == name)
    frame = decode_json(text)
    assert thousand[name].violations(frame) == []

    corrupt(frame)

    assert len(thousand[name].violations(frame)) >= 1


def test_there_are_thirty_corruptions():
    assert len(CORRUPTIONS) >= 30


# --- Classes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"type": "snapshot", "bids": []}', "orderbook.snapshot"),
        ('{"bids": []}', "orderbook"),
        ('{"type": 7, "asks": []}', "orderbook"),
        ('{"event": "pong", "type": "x"}', "pong"),
        ('{"id": 7}', "dict"),
        ("[1]", "list"),
        ('"hello"', "str"),
    ],
)
def test_the_class_of_a_message(text, name):
    assert message_class(decode_json(text)) == name


def test_every_class_has_a_schema_of_its_own():
    frames = market_frames([7], 60)
    assert list(inferred(*frames)) == ["orderbook.snapshot", "orderbook.update", "pong", "subscribed"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("orderbook.update", "orderbook.update.schema.json"),
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd.schema.json"),
        ("", ".schema.json"),
        ("ü", "%C3%BC.schema.json"),
    ],
)
def test_the_file_of_a_class_is_in_its_folder_whatever_the_class_is_called(name, file):
    assert file_name(name) == file


def test_a_long_class_has_a_file_that_file_systems_allow():
    first, second = file_name("x" * 5_000), file_name("x" * 5_001)
    assert len(first) < 200
    assert first != second


# --- What is claimed of a member ------------------------------------------------------------------------------

DECIMAL = "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$"


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        (["1", "2"], {"type": "integer"}),
        (["1", "-2"], {"type": "integer", "x-negative": True}),
        (["1"] * 100, {"type": "integer", "minimum": 0}),
        (["1", "1.0"], {"type": "number", "x-scale": [0, 1]}),
        (["1e3"], {"type": "number", "x-exponent": True}),
        (["1.10"] * 100, {"type": "number", "x-scale": 2, "x-negative": False}),
        (["true"], {"type": "boolean"}),
        (["null"], {"type": "null"}),
        (
            ["1737158400123"],
            {"type": "integer", "format": "epoch-milliseconds", "minimum": 1230768000000, "maximum": 4102444799999},
        ),
        (["1737158400123", "7"], {"type": "integer"}),
        (['"1.5"', '"20.25"'], {"type": "string", "format": "decimal", "pattern": DECIMAL, "x-scale": [1, 2]}),
        (['"0"', '"1.5"'], {"type": "string", "format": "decimal", "pattern": DECIMAL, "x-scale": [1, 1]}),
        (
            ['"1.50"'] * 100,
            {
                "type": "string",
                "format": "decimal",
                "pattern": "^(0|(0|[1-9][0-9]*)\\.[0-9]{2})$",
                "x-scale": 2,
                "x-negative": False,
            },
        ),
        (
            ['"-1.50"'] * 100,
            {
                "type": "string",
                "format": "decimal",
                "pattern": "^(0|-?(0|[1-9][0-9]*)\\.[0-9]{2})$",
                "x-scale": 2,
                "x-negative": True,
            },
        ),
        (
            ['"7"'] * 100,
            {
                "type": "string",
                "format": "decimal",
                "pattern": "^(0|[1-9][0-9]*)$",
                "x-scale": 0,
                "x-negative": False,
            },
        ),
        (["1.50"] * 100 + ["1e-7"], {"type": "number", "x-scale": [2, 2], "x-exponent": True, "x-negative": False}),
        (
            ['"1e-7"', '"1"'],
            {
                "type": "string",
                "format": "decimal",
                "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?$",
                "x-scale": [0, 0],
                "x-exponent": True,
            },
        ),
        (['"1597026383085"'], {"type": "string", "format": "epoch-milliseconds", "pattern": "^[1-4][0-9]{12}$"}),
        (
            ['"ETH/USDT"', '"BTC-USDT-SWAP"'],
            {
                "type": "string",
                "format": "symbol",
                "pattern": "^[A-Z0-9]*[A-Z][A-Z0-9]*([/-][A-Z0-9]+)+$",
            },
        ),
        (['"2026-01-01"'], {"type": "string"}),
        (['"buy"'] * 5 + ['"sell"'] * 5, {"type": "string", "enum": ["buy", "sell"]}),
        (['"buy"'] * 5 + ['"sell"'] * 4, {"type": "string"}),
        (['"healthy"'] * 100, {"type": "string"}),
        (['"ETHUSDT"', '"NKNBTC"'] * 50, {"type": "string"}),
        (['"NEW"', '"FILLED"'] * 50, {"type": "string", "enum": ["FILLED", "NEW"]}),
        (['"a word"', '"or two"'] * 50, {"type": "string"}),
        ([f'"w{number % 9}"' for number in range(90)], {"type": "string"}),
        (["[]"], {"type": "array"}),
        (["[1, 2]"], {"type": "array", "items": {"type": "integer"}}),
        (["{}"], {"type": "object"}),
    ],
)
def test_what_is_claimed_of_a_member(values, schema):
    assert of_values(*values) == schema


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1_000", " 1", "+1", ".5", "1.", "0x10", "01", "1e", "١"])
def test_what_is_no_number_by_jsons_grammar_is_text(value):
    assert of_values(json.dumps(value)) == {"type": "string"} or value == "NaN"
    assert "format" not in of_values(json.dumps(value))


def test_a_number_of_400_digits_is_a_number_like_others():
    assert of_values(f'"{"7" * 400}.5"')["format"] == "decimal"
    assert of_values("7" * 400) == {"type": "integer"}
    assert of_values("7" * 20_000) == {"type": "integer"}
    assert of_values("7" * 400 + ".0")["type"] == "number"


def test_a_member_that_may_be_null_or_a_number_is_both():
    assert of_values("null", '"a b"', "true") == {"type": ["boolean", "null", "string"]}
    assert of_values("null", '"1.5"') == {
        "anyOf": [
            {"type": "null"},
            {"type": "string", "format": "decimal", "pattern": DECIMAL, "x-scale": [1, 1]},
        ]
    }


def test_alternatives_do_not_depend_on_which_came_first():
    assert of_values('"1.5"', "null") == of_values("null", '"1.5"')
    assert of_values("[1]", '"1.5"') == of_values('"1.5"', "[1]")


def test_a_member_that_is_not_always_there_is_not_required():
    schema = inferred('{"event": "x", "a": 1}', '{"event": "x"}')["x"]
    assert schema["required"] == ["event"]


def test_rows_are_rows_when_ten_of_one_length_were_seen():
    rows = ", ".join(['["1.5", 2]'] * 10)
    assert of_values(f"[{rows}]")["items"] == {
        "type": "array",
        "prefixItems": [
            {"type": "string", "format": "decimal", "pattern": DECIMAL, "x-scale": [1, 1]},
            {"type": "integer"},
        ],
        "minItems": 2,
        "maxItems": 2,
    }


@pytest.mark.parametrize(
    "value",
    [
        ", ".join(["[1, 2]"] * 9),
        ", ".join(["[1, 2]"] * 10 + ["[1]"]),
        ", ".join(["[1]"] * 20),
        ", ".join(["[1, 2]"] * 10 + ["[]"]),
        ", ".join(["[1, 2]"] * 10 + ["[1, 2, 3]"]),
    ],
)
def test_other_arrays_hold_any_number_of_the_same(value):
    assert of_values(f"[{value}]")["items"] == {"type": "array", "items": {"type": "integer"}}


def test_arrays_of_objects_are_no_rows():
    assert "prefixItems" not in of_values("[" + ", ".join(['[{"a": 1}, 2]'] * 20) + "]")["items"]


def test_a_few_messages_tell_all_about_themselves():
    assert of_values('"buy"', slight=True) == {"type": "string", "enum": ["buy"]}
    assert of_values('"1.50"', slight=True)["x-scale"] == 2
    assert of_values('[["1.5", "2"]]', slight=True)["items"]["maxItems"] == 2


def test_what_names_the_class_is_always_that():
    assert inferred('{"event": "pong"}')["pong"]["properties"]["event"] == {"type": "string", "enum": ["pong"]}


def test_a_given_class_is_not_named_by_the_message():
    inference = Inference()
    assert inference.add('{"type": "b", "status": "healthy"}', "rest.v1.status") == "rest.v1.status"
    assert inference.schemas()["rest.v1.status"]["properties"]["type"] == {"type": "string"}


# --- The file ------------------------------------------------------------------------------------------------


def test_the_text_of_a_schema_does_not_depend_on_the_order_of_messages_or_members():
    frames = market_frames([7], 300)
    turned = [json.dumps(dict(reversed(list(json.loads(text).items())))) for text in reversed(frames)]
    assert list(map(rendered, inferred(*frames).values())) == list(map(rendered, inferred(*turned).values()))


def test_the_text_of_a_schema_does_not_depend_on_which_thousand_were_seen():
    first, second = (inferred(*market_frames(seeds, 1000)) for seeds in (range(1, 11), range(31, 41)))
    assert list(map(rendered, first.values())) == list(map(rendered, second.values()))


def test_a_schema_as_it_stands_in_its_file():
    texts = [f'{{"event": "fee", "rate": "0.{number}", "at": null}}' for number in (1, 25)]
    assert rendered(inferred(*texts)["fee"]) == (
        "{\n"
        f'  "$schema": "{DIALECT}",\n'
        '  "title": "fee",\n'
        '  "type": "object",\n'
        '  "required": [\n    "at",\n    "event",\n    "rate"\n  ],\n'
        '  "properties": {\n'
        '    "at": {\n      "type": "null"\n    },\n'
        '    "event": {\n      "type": "string",\n      "enum": [\n        "fee"\n      ]\n    },\n'
        '    "rate": {\n      "type": "string",\n      "format": "decimal",\n'
        '      "pattern": "^-?(0|[1-9][0-9]*)(\\\\.[0-9]+)?$",\n      "x-scale": [1, 2]\n    }\n'
        "  }\n}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("[" * 10_000 + "]" * 10_000, "nested more than 100 deep"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ('{"a": 1_000}', "not JSON"),
        ('{"a": ', "not JSON"),
        (b"\xff", "not UTF-8"),
        ("", "not JSON"),
        ('{"a": 1e99999999999999999999}', "a number no computer holds"),
    ],
)
def test_what_is_not_json_is_refused(text, said):
    with pytest.raises(DataFormatError, match=said):
        Inference().add(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def written(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value)


@given(st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=4), min_size=1, max_size=5))
def test_any_messages_fit_the_schema_that_they_make(payloads):
    inference = Inference()
    for payload in payloads:
        inference.add(written(payload), "any")
    schema = inference.schemas()["any"]
    checker = Checker(decode_json(rendered(schema)))
    for payload in payloads:
        assert checker.violations(decode_json(written(payload))) == []


@given(st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=4), min_size=1, max_size=5))
def test_any_messages_fit_the_schema_of_a_few(payloads):
    inference = Inference(slight=True)
    for payload in payloads:
        inference.add(written(payload), "any")
    checker = Checker(inference.schemas()["any"])
    for payload in payloads:
        assert checker.violations(decode_json(written(payload))) == []
