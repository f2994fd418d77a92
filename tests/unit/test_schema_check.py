"""Holding messages against schemas: exact numbers, and schemas that are none."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from pytest_connex.errors import ConfigError, DataFormatError
from pytest_connex.model import Pong
from pytest_connex.schema.check import Checker, read_exactly


def problems(schema: object, text: str) -> list[str]:
    return list(map(str, Checker({"properties": {"m": schema}}).violations(read_exactly(text))))


HUGE = "7" * 400


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "integer"}, HUGE, None),
        ({"type": "integer"}, "7" * 5_000, None),
        ({"type": "integer"}, "9007199254740993", None),
        ({"enum": [9007199254740993]}, "9007199254740993", None),
        ({"enum": [9007199254740993]}, "9007199254740992", "9007199254740992"),
        ({"maximum": int(HUGE)}, HUGE, None),
        ({"maximum": int(HUGE)}, f"{HUGE[:-1]}8", HUGE[:20]),
        ({"maximum": Decimal("0.1")}, "0.1", None),
        ({"maximum": Decimal("0.1")}, "0.10000000000000000000000000001", "greater than"),
        ({"multipleOf": Decimal("0.01")}, "1.10", None),
        ({"multipleOf": Decimal("0.01")}, "1.101", "1.101"),
        ({"type": "integer"}, "1.0", "1.0 is written with a fraction or an exponent"),
        ({"type": "integer"}, "1.00000000000000000000000000000000", "is written with a fraction"),
        ({"type": "integer"}, "1e3", "1E+3 is written with a fraction or an exponent"),
        ({"type": "integer"}, "1e400", "1E+400 is written with a fraction or an exponent"),
        ({"type": "integer"}, "1.5", '1.5 is not of type "integer"'),
        ({"type": "number"}, "1.0", None),
        ({"type": "number"}, "1e-400", None),
        ({"type": "number", "x-scale": 2}, "1.10", None),
        ({"type": "number", "x-scale": 2}, "0", None),
        ({"type": "number", "x-scale": 2}, "1.1", "1.1 has 1 decimals, not 2"),
        ({"type": "number", "x-scale": 2}, "1.100", "1.100 has 3 decimals, not 2"),
        ({"type": "number", "x-scale": 2}, "7", "7 has 0 decimals, not 2"),
        ({"type": "number", "x-scale": 0}, "7", None),
        ({"type": "number", "x-scale": [0, 2]}, "1.123", None),
        ({"type": "number", "x-scale": 2}, '"1.10"', 'is not of type "number"'),
        ({"type": "number", "x-scale": 2}, "true", "true is not of type"),
    ],
)
def test_numbers_are_held_against_a_schema_exactly(schema, value, problem):
    found = problems(schema, f'{{"m": {value}}}')
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("m: ")
        assert problem in found[0]


def test_how_a_number_is_written_counts_at_every_depth():
    rows = {"items": {"prefixItems": [{"type": "integer"}, {"type": "number", "x-scale": 1}]}}
    assert problems(rows, '{"m": [[1, 1.5], [2.0, 2.25], [], "x"]}') == [
        "m[1][0]: 2.0 is written with a fraction or an exponent",
        "m[1][1]: 2.25 has 2 decimals, not 1",
    ]
    assert problems(
        {"items": {"properties": {"a": {"type": "integer"}}}}, '{"m": [{"a": 1}, {}, {"a": 1.0}, 7]}'
    ) == ["m[2].a: 1.0 is written with a fraction or an exponent"]


def test_a_problem_says_where_and_what():
    schema = {"type": "array", "items": {"prefixItems": [{"pattern": "^[0-9]+$", "type": "string"}]}}
    assert problems(schema, '{"m": [["7"], ["1e-7"]]}') == ['m[1][0]: "1e-7" does not match "^[0-9]+$"']
    assert list(map(str, Checker({"required": ["a"]}).violations({}))) == ['the message: "a" is a required property']


def test_a_problem_does_not_repeat_a_whole_message():
    (problem,) = problems({"type": "string"}, json.dumps({"m": ["a" * 1_000] * 100}))
    assert len(problem) < 300


# --- What is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ('{"m": NaN}', "NaN is not JSON"),
        ('{"m": 1, "m": 2}', "stands twice"),
        ("[" * 10_000 + "]" * 10_000, "nested more than 100 deep"),
        (b"\xff\xfe", "not UTF-8"),
        ("{", "not JSON"),
        ('{"m": "\\ud800"}', "m: half of a surrogate pair"),
        (b'{"m": "\\uD800"}', "m: half of a surrogate pair"),
        ('{"\\ud800": 1}', "half of a surrogate pair"),
        ('{"m": "\ud800"}', "half of a surrogate pair"),
        ({"m": [{"n": 1.1}]}, r"m\[0\].n: 1.1 is not what was on the wire: hand in the text"),
        ({"m": float("nan")}, "m: nan is not what was on the wire"),
        ({"m": Decimal("NaN")}, "is not what was on the wire"),
        ({7: 1}, "a member's name must be a string, found 7"),
        ({"m": (1, 2)}, "m: tuple is not JSON"),
        ({"m": {1, 2}}, "m: set is not JSON"),
        (Pong(id=1), "the message: Pong is not JSON: hand in the text"),
    ],
)
def test_what_is_not_exact_json_is_refused(frame, said):
    with pytest.raises(DataFormatError, match=said):
        read_exactly(frame)


def test_a_document_that_holds_itself_is_refused():
    around: dict[str, object] = {}
    around["m"] = [around]
    with pytest.raises(DataFormatError, match="nested more than 100 deep"):
        read_exactly(around)


@pytest.mark.parametrize("frame", ['{"m": "\\u00fc"}', b'{"m": "\xc3\xbc"}', '{"m": "ü"}', {"m": "ü"}])
def test_text_bytes_and_documents_are_read_alike(frame):
    assert read_exactly(frame) == {"m": "ü"}


def test_numbers_are_read_as_they_are_written():
    assert str(read_exactly('{"m": 1.10}')["m"]) == "1.10"
    assert read_exactly(f'{{"m": {HUGE}}}')["m"] == int(HUGE)


# --- Schemas that are none ------------------------------------------------------------------------------------------


def around(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        "object",
        7,
        {"type": "nonsense"},
        {"type": 7},
        {"properties": []},
        {"properties": {"m": 7}},
        {"required": "m"},
        {"required": [7]},
        {"items": [{"type": "string"}]},
        {"prefixItems": {}},
        {"pattern": "("},
        {"minItems": -1},
        {"minimum": "7"},
        {"enum": 7},
        {"anyOf": []},
        {"$ref": "https://example.invalid/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/missing"},
        {"$schema": "https://example.invalid/dialect"},
        {"const": "\ud800"},
        {"const": 1.5},
        {"const": {1}},
        around(10_000),
    ],
)
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(ConfigError):
        Checker(schema)


def test_a_schema_does_not_read_other_files(tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"type": "string"}')
    with pytest.raises(ConfigError, match="not a JSON Schema: Resource .file:"):
        Checker({"$ref": other.as_uri()})


def test_the_refusal_names_what_is_wrong():
    with pytest.raises(ConfigError, match='^not a JSON Schema: "nonsense" is not valid under any of the schemas'):
        Checker({"type": "nonsense"})


@pytest.mark.parametrize("scale", ["two", None, [1], [1, "x"], {}, -1, True, 10**400])
def test_a_scale_that_makes_no_sense_breaks_nothing(scale):
    Checker({"type": "object", "properties": {"m": {"type": "number", "x-scale": scale}}}).violations({"m": 1})


@pytest.mark.parametrize("schema", [True, False, {"not": {}}, {"properties": {"m": True}}, {"items": False}])
def test_schemas_that_say_yes_or_no_are_schemas(schema):
    Checker({"properties": {"x": schema}}).violations({"x": {"m": [1]}})
