"""The audit of numbers: how they are written, and what a float would do to them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.errors import DataFormatError
from pytest_connex.schema.decimals import Audit, Figures, float_effect, table, verdict

from .market_frames import market_frames


def audit(*texts: str) -> Audit:
    made = Audit()
    for text in texts:
        made.add(text)
    return made


def figures(*values: str) -> Figures:
    """Of a member that had these values, given as they are written."""
    ((_, path, found),) = audit(*(f'{{"event": "x", "m": {value}}}' for value in values)).places()
    assert path == "m"
    return found


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("1.5", "nothing"),
        ("1.10", "text"),
        ("0.1", "nothing"),
        ("2500.10", "text"),
        ("0", "nothing"),
        ("-0", "nothing"),
        ("1737158400123", "nothing"),
        ("9007199254740993", "value"),
        ("9007199254740992", "nothing"),
        ("12345678901234567.5", "value"),
        ("0.30000000000000004", "nothing"),
        ("0.300000000000000041", "value"),
        ("10000000000000000", "text"),
        ("1e-7", "text"),
        ("1e-07", "nothing"),
        ("0.0000001", "text"),
        ("1E5", "text"),
        ("1e400", "value"),
        ("1e-400", "value"),
        ("1e99999999999999999999", "value"),
        ("7" * 400, "value"),
        ("0." + "7" * 400, "value"),
    ],
)
def test_what_a_float_does_to_a_number(text, effect):
    assert float_effect(text) == effect


@given(st.decimals(allow_nan=False, allow_infinity=False).filter(lambda value: "E" not in str(value)))
def test_a_float_changes_the_value_just_when_its_shortest_text_is_another_number(value):
    assert (float_effect(str(value)) == "value") == (Decimal(repr(float(value))) != value)


@pytest.mark.parametrize(
    ("value", "digits", "scale"),
    [
        ("0", 1, 0),
        ("0.00", 1, 2),
        ("0.0010", 2, 4),
        ("1.10", 3, 2),
        ("-120", 3, 0),
        ("1.25e10", 3, 2),
        ("1E-7", 1, 0),
        ("7" * 400, 400, 0),
        ("7" * 20_000, 20_000, 0),
    ],
)
@pytest.mark.parametrize("quoted", [True, False])
def test_digits_and_scale_are_those_of_the_text(value, digits, scale, quoted):
    found = figures(json.dumps(value) if quoted else value)
    assert (found.digits, found.scale) == (digits, (scale, scale))
    assert (found.strings, found.numbers) == ((1, 0) if quoted else (0, 1))


def test_the_least_and_the_most_decimals_are_kept():
    assert figures('"1"', '"1.25"', '"1.5"').scale == (0, 2)


def test_more_than_28_digits_are_counted():
    assert figures("7" * 28).too_long == 0
    assert figures("7" * 29, '"0.' + "0" * 40 + '7"').too_long == 1


def test_exponents_are_counted():
    found = figures('"1e-7"', "1E5", "1.5")
    assert (found.exponents, found.count, found.kind) == (2, 3, "both")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-inf", "1_000", " 1", "1 ", "+1", ".5", "1.", "01", "١"])
def test_what_decimal_reads_and_json_does_not_is_named(value):
    found = figures(json.dumps(value))
    assert (found.count, found.lookalikes) == (0, [value])
    assert verdict(audit(json.dumps({"event": "x", "m": value})))[1:] == [
        "no number by JSON's grammar, though Decimal() reads it, in",
        f"  x: m: {value!r}",
    ]


def test_text_is_no_number():
    assert audit('{"event": "x", "m": "abc", "n": null, "o": true, "p": [], "q": {}}').places() == []
    assert verdict(audit('{"event": "x"}')) == ["there is no number in these messages"]


def test_places_of_rows_have_positions_and_those_of_lists_do_not():
    text = '{"bids": [["1.5", "2"], ["1.4", "3"]], "ids": [1, 2], "deep": [{"a": [7]}], "type": "snapshot"}'
    assert [(name, path, found.count) for name, path, found in audit(text).places()] == [
        ("orderbook.snapshot", "bids[][0]", 2),
        ("orderbook.snapshot", "bids[][1]", 2),
        ("orderbook.snapshot", "deep[].a[]", 1),
        ("orderbook.snapshot", "ids[]", 2),
    ]


def test_an_array_that_holds_others_is_no_row():
    places = audit('{"event": "x", "m": [[1, [2]], [3]]}').places()
    assert [path for _, path, _ in places] == ["m[][0]", "m[][]", "m[][][0]"]


def test_a_number_that_is_a_message_has_a_place():
    assert table(audit("1.5"))[1].split() == ["float", "(itself)", "number", "1", "2", "1", "-", "nothing", "-"]


def test_the_table_counts_exponents_and_long_numbers():
    made = audit(f'{{"event": "x", "a": [{"7" * 29}, 1e5, 2E5, 1.5]}}')
    assert table(made)[1].split() == ["x", "a[]", "number", "4", "29", "0-1", "2", "value", "1"]


def test_the_table_and_the_verdict_of_a_market():
    made = audit(*market_frames([7], 60))
    assert table(made)[:3] == [
        "class               path              as      count  digits  decimals  exponent  a float changes  > 28",
        "orderbook.snapshot  asks[][0]         string  60     7       2         -         text             -",
        "orderbook.snapshot  asks[][1]         string  60     5       4         -         text             -",
    ]
    first, second, third, *_ = verdict(made)
    assert first.endswith("read them from the text; a float keeps the values and loses how they were written")
    assert second == "a float would change only the text of"
    assert third.startswith("  orderbook.snapshot: asks[][0]: ")


def test_the_verdict_warns_of_values_that_a_float_changes():
    lines = verdict(
        audit('{"event": "x", "a": 9007199254740993, "b": "1e-7", "c": 1.10, "d": "1"}', '{"event": "x", "d": 1}')
    )
    assert lines == [
        "2 strings and 3 JSON numbers in 4 places: NEVER read them through float, it changes values",
        "a float would change the value of",
        "  x: a: 9007199254740993 -> 9007199254740992.0",
        "a float would change only the text of",
        "  x: b: 1e-7 -> 1e-07",
        "  x: c: 1.10 -> 1.1",
        "written with an exponent, sometimes or always, in",
        "  x: b",
        "sometimes a string and sometimes a number in",
        "  x: d",
    ]


def test_the_verdict_warns_of_long_numbers_without_repeating_them():
    assert verdict(audit(f'{{"event": "x", "a": "{"7" * 400}"}}'))[1:] == [
        "a float would change the value of",
        f"  x: a: {'7' * 40}... -> inf",
        "more than 28 digits, which Decimal arithmetic rounds by default, in",
        "  x: a",
    ]


def test_the_verdict_says_when_a_float_is_harmless():
    assert verdict(audit('{"event": "x", "a": 7}')) == [
        "0 strings and 1 JSON numbers in 1 places: a float would change none of them"
    ]


def test_other_values_in_the_same_place_are_counted():
    found = figures('"1.5"', '"none"', "true", "null")
    assert (found.count, found.others) == (1, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": 1, "a": 2}', "stands twice"), ("[" * 10_000, "nested more than 100"), ('{"a": NaN}', "NaN is not JSON")],
)
def test_what_is_not_json_is_refused(text, said):
    with pytest.raises(DataFormatError, match=said):
        audit(text)


@given(st.text() | st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,20})?", fullmatch=True))
def test_any_string_is_looked_at(value):
    made = audit(json.dumps({"event": "x", "m": value}))
    assert len(table(made)) == 1 + len(made.places())
    assert verdict(made)
