"""Whether what the client sends is what was recorded."""

from __future__ import annotations

import gzip
import json
import zlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_connex.cassette.matching import Difference, differences, fingerprint
from pytest_connex.protocol import Dialect

VOLATILE = Dialect().volatile_paths

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)

numbers = st.sampled_from(["1", "1.0", "1.00", "1e0", "1E0", "-0", "0", "10", "NaN"])
names = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"id"', '".a"', '""'])
spaces = st.sampled_from(["", " ", "\n"])


def _spelled_object(members: list[tuple[str, str]]) -> st.SearchStrategy[str]:
    return st.permutations(members).map(
        lambda those: "{" + ",".join(f"{name}:{value}" for name, value in those) + "}"
    )


json_texts = st.recursive(
    numbers | st.sampled_from(["null", "true", "false", '"1"', '"a"', '"\\u0061"', '["1"]']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(names, inner), max_size=3).flatmap(_spelled_object)
    ),  # a name may stand twice
    max_leaves=6,
)
messages = (
    st.builds(lambda left, text, right: left + text + right, spaces, json_texts, spaces)
    | json_texts.map(str.encode)
    | st.sampled_from(["", "{", "ping", "[1,]", b"", b"ping", b"\xff"])
)

tokens = st.sampled_from(
    ['"a"', '"b"', '"id"', '"\\u0061"', "1", "1.0", "-0", "0", "null", "true", "[", "]", "{", "}", ",", ", ", ":", ""]
)


def _edited(message: str | bytes) -> st.SearchStrategy[tuple[str | bytes, str | bytes]]:
    if isinstance(message, bytes):
        return st.just((message, message))
    return st.tuples(tokens, tokens).map(lambda pair: (message, message.replace(*pair, 1)))


pairs = st.tuples(messages, messages) | messages.flatmap(_edited)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ('{"a": 1, "b": {"c": [1, 2], "d": null}}', '{"b":{"d":null,"c":[1,2]},"a":1}'),
        ('"text"', ' "text" '),
        ('"\\u00e9"', '"é"'),
        ('"a/b"', '"a\\/b"'),
        ("[1.10]", "[ 1.10 ]"),
        ("NaN", " NaN "),
        ('{"p": NaN}', '{"p":NaN}'),
        ('{"p": -Infinity}', '{"p":-Infinity}'),
        ("not json", "not json"),
        (b"\x00\xff", b"\x00\xff"),
        ("", ""),
        ("{]", "{]"),
    ],
)
def test_messages_of_the_same_value_match(expected, actual):
    assert differences(expected, actual) == []


@pytest.mark.parametrize(
    ("expected", "actual", "found"),
    [
        ('{"p": 1.10}', '{"p": 1.1}', [("p", "1.10", "1.1")]),
        ('{"p": 1}', '{"p": 1.0}', [("p", "1", "1.0")]),
        ('{"p": 1e2}', '{"p": 100}', [("p", "1e2", "100")]),
        ('{"p": 1e2}', '{"p": 1E2}', [("p", "1e2", "1E2")]),
        ('{"p": -0}', '{"p": 0}', [("p", "-0", "0")]),
        ('{"p": 1}', '{"p": true}', [("p", "1", "true")]),
        ('{"p": false}', '{"p": 0}', [("p", "false", "0")]),
        ('{"p": 1}', '{"p": "1"}', [("p", "1", "'1'")]),
        ('{"p": null}', '{"p": ""}', [("p", "null", "''")]),
        ('{"p": NaN}', '{"p": null}', [("p", "NaN", "null")]),
        ('{"p": NaN, "q": 1}', '{"p": NaN, "q": 2}', [("q", "1", "2")]),
        ('{"p": NaN}', '{"p": "NaN"}', [("p", "NaN", "'NaN'")]),
        ('{"p": Infinity}', '{"p": -Infinity}', [("p", "Infinity", "-Infinity")]),
        ('{"p": null}', "{}", [("p", "null", "nothing")]),
        ("{}", '{"p": null}', [("p", "nothing", "null")]),
        ('{"a": {"b": 1}}', '{"a": {"c": 1}}', [("a.b", "1", "nothing"), ("a.c", "nothing", "1")]),
        ('{"a": [1, {"b": 2}]}', '{"a": [1, {"b": 3}]}', [("a.1.b", "2", "3")]),
        ("[[1, 2]]", "[[1, 3]]", [("0.1", "2", "3")]),
        ('{"a": [1]}', '{"a": [1, 2]}', [("a", "[1]", "[1, 2]")]),
        ("[1, 2]", "[2, 1]", [("0", "1", "2"), ("1", "2", "1")]),
        ("[]", "{}", [("", "[]", "{}")]),
        ('{"a": [1]}', '{"a": {"0": 1}}', [("a", "[1]", '{"0": 1}')]),
        ('{"a": 1}', '{"a": ["1"]}', [("a", "1", '["1"]')]),
        ('{"a": ["1"]}', '{"a": 1}', [("a", '["1"]', "1")]),
        ('{"a": {"x": 1, "y": [2]}}', '{"a": 0}', [("a", '{"x": 1, "y": [2]}', "0")]),
        ('{"a": [1.10, "x", null]}', '{"a": 0}', [("a", '[1.10, "x", null]', "0")]),
        ('{"a": 1, "b": 2}', '{"a": 2, "b": 1}', [("a", "1", "2"), ("b", "2", "1")]),
    ],
)
def test_every_place_that_differs_is_found(expected, actual, found):
    assert [tuple(place) for place in differences(expected, actual)] == found


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("ping", "ping "),
        ("ping", "Ping"),
        ("{]", "{] "),
        ("ping", '"ping"'),
        ('"ping"', "ping"),
        ('{"a": 1}', b'{"a":1}'),
        (b'{"a": 1}', '{"a":1}'),
        (b"\x00\x01", b"\x00\x02"),
        (b"ping", "ping"),
        ("ping", b"ping"),
        (b'\xff{"a": 1}', b'\xff{"a":1}'),
        ('42["a", 1]', '43["a", 1]'),
        ('42["a", 1]', '["a", 1]'),
        ('{"a": 1}\n{"b": 2}', '[{"a": 1}, {"b": 2}]'),
        ('{"a": 1}\n{"b": 2', '{"a":1}\n{"b":2'),
        (gzip.compress(b'{"a": 1}', mtime=0), b'{"a": 1}'),
        (gzip.compress(b'{"a": 1}', mtime=0), zlib.compress(b'{"a": 1}')),
        (b"1", b"1 "),
        ('{"a": 1, "a": 2}', '{"a": 2}'),
        ('{"a": 1, "a": 2}', '{"a":1,"a":2}'),
        ('{"b": [{"a": 2}]}', '{"b": [{"a": 1, "a": 2}]}'),
        ("[" * 2000, "[" * 2001),
    ],
)
def test_what_is_not_json_must_be_the_same_to_the_byte(expected, actual):
    [found] = differences(expected, actual)
    assert (found.path, str(found).startswith("message: expected ")) == ("", True)


@pytest.mark.parametrize("depth", range(850, 1000, 10))
def test_messages_nested_too_deep_to_compare_still_differ(depth):
    assert len(differences("[" * depth + "1" + "]" * depth, "[" * depth + "2" + "]" * depth)) == 1


def test_volatile_members_may_hold_anything():
    dialect = Dialect()
    recorded = dialect.encode(dialect.authenticate("connex-recorded-key", "secret", "1700000000000"))
    now = dialect.encode(dialect.authenticate("another-key", "other", "1800000000000"))
    assert differences(recorded, now, VOLATILE) == []
    assert [place.path for place in differences(recorded, now)] == ["data.apiKey", "data.nonce", "data.signature"]


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ('{"id": 1}', '{"id": {"a": []}}'),
        ('{"id": 1}', '{"id": "1"}'),
        ('[{"id": 1}, {"id": 2}]', '[{"id": 3}, {"id": 4}]'),
        ('{"data": [{"nonce": 1}]}', '{"data": [{"nonce": 2}]}'),
    ],
)
def test_positions_in_arrays_do_not_count_in_a_volatile_path(expected, actual):
    assert differences(expected, actual, VOLATILE) == []


@pytest.mark.parametrize(
    ("expected", "actual", "places"),
    [
        ('{"args": [{"ts": 1}, {"ts": 2}]}', '{"args": [{"ts": 3}, {"ts": 2}]}', []),
        ('{"args": [{"ts": 1}, {"ts": 2}]}', '{"args": [{"ts": 3}, {"ts": 4}]}', ["args.1.ts"]),
        ('{"args": {"0": {"ts": 1}}}', '{"args": {"0": {"ts": 2}}}', []),
        ('{"args": [[{"ts": 1}]]}', '{"args": [[{"ts": 2}]]}', ["args.0.0.ts"]),
    ],
)
def test_a_volatile_path_may_name_a_position(expected, actual, places):
    volatile = ("args.0.ts",)
    assert [place.path for place in differences(expected, actual, volatile)] == places
    assert (fingerprint(expected, volatile) == fingerprint(actual, volatile)) is not bool(places)


@pytest.mark.parametrize(
    ("expected", "actual", "path"),
    [
        ('{"id": 1}', "{}", "id"),
        ("{}", '{"id": 1}', "id"),
        ('{"data": {"id": 1}}', '{"data": {"id": 2}}', "data.id"),
        ('{"nonce": 1}', '{"nonce": 2}', "nonce"),
        ('{"ids": 1}', '{"ids": 2}', "ids"),
    ],
)
def test_a_volatile_member_must_be_there_and_at_its_path(expected, actual, path):
    assert [place.path for place in differences(expected, actual, VOLATILE)] == [path]


def test_a_difference_prints_what_a_reader_needs():
    assert str(Difference("a.b", "1", "nothing")) == "a.b: expected 1, actual nothing"
    [found] = differences('{"a": "' + "x" * 300 + '"}', '{"a": 1}')
    assert str(found) == f"a: expected '{'x' * 199}... (+102 characters), actual 1"
    [found] = differences('{"a": "' + "x" * 198 + '"}', '{"a": 1}')
    assert str(found) == f"a: expected '{'x' * 198}', actual 1"


@given(json_values)
def test_any_document_matches_itself_however_it_is_spelled(value):
    text = json.dumps(value)
    assert differences(text, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)) == []


@given(json_values, json_values)
def test_documents_match_exactly_when_their_texts_do(left, right):
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (differences(json.dumps(left), json.dumps(right)) == []) is same


@given(st.text(), st.text())
def test_any_two_messages_are_compared_the_same_in_both_directions(left, right):
    assert len(differences(left, right)) == len(differences(right, left))


@given(pairs, st.sets(st.sampled_from(["a", "b", "id", "a.a", "a.id", "", "volatile"])))
@example(('{"a": 1, "b": [2]}', '{"b":[2],"a":1}'), set())
@example(('{"a": 1}', '{"a": 1.0}'), set())
@example(('{"a": 1}', '{"b": 1}'), set())
@example(('{"a": 1}', '{"a": [1]}'), {"a"})
@example(('{"a": [{"id": 1}]}', '{"a": [{"id": 2}]}'), {"a.id"})
@example(('{"a": [{"id": 1}]}', '{"a": [{"id": 2}]}'), {"id"})
@example(('["volatile"]', '[{"a": 1}]'), {"a"})
@example(('{"a": 1}', "{}"), {"a"})
@example(('{"a": 1, "a": 2}', '{"a": 2}'), set())
@example(("[[1], 2]", "[1, [], 2]"), set())
@example(("[[1], 2]", "[[1, 2]]"), set())
@example(("[1, [2]]", "[[1, 2]]"), set())
@example(("[NaN]", "[ NaN ]"), set())
@example(('["NaN"]', "[NaN]"), set())
@example(("[true]", "[1]"), set())
@example(('["1"]', "[1]"), set())
@example(("1", b"1"), set())
def test_fingerprints_are_equal_exactly_where_nothing_differs(pair, volatile):
    left, right = pair
    same = fingerprint(left, volatile) == fingerprint(right, volatile)
    assert same is (differences(left, right, volatile) == [])
    assert not same or hash(fingerprint(left, volatile)) == hash(fingerprint(right, volatile))


@given(messages, st.sampled_from(VOLATILE))
def test_a_message_has_one_fingerprint(message, path):
    assert fingerprint(message, {path}) == fingerprint(message, {path})


@pytest.mark.parametrize("depth", [300, 600, 900, 5_000])
def test_deeply_nested_messages_have_fingerprints_that_can_be_compared(depth):
    deep = '{"a": ' * depth + "1" + "}" * depth
    spelled = deep.replace(" ", "")
    known = {fingerprint(deep): 1}
    assert (fingerprint(spelled) in known) is (differences(deep, spelled) == [])
    assert fingerprint(deep.replace("1", "2")) not in known


# --- Other forms -------------------------------------------------------------------------------------------


def deflate(data: bytes, flush: int = zlib.Z_FINISH) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush(flush)


FORMS = {
    "bytes": str.encode,
    "gzip": lambda text: gzip.compress(text.encode()),
    "zlib": lambda text: zlib.compress(text.encode()),
    "deflate": lambda text: deflate(text.encode()),
    "a flushed stream": lambda text: deflate(text.encode(), zlib.Z_SYNC_FLUSH),
    "Socket.IO": lambda text: f'42["order", {text}]',
    "Socket.IO with an acknowledgement": lambda text: f'42/private,13["order",{text}]',
    "SockJS": lambda text: f"a[{text}]",
    "lines": lambda text: f'{{"op": "login"}}\n{text}\r\n\n',
    "lines in gzip": lambda text: gzip.compress(f'{{"op": "login"}}\n{text}\n'.encode()),
    "MessagePack": lambda text: b"\xc1" + text.encode(),
}


def decode(data: bytes) -> Any:
    if data[0] != 0xC1:
        raise LookupError(data)
    return json.loads(data[1:], parse_float=Decimal) | {"at": Decimal("1.10"), "raw": b"\xff", "both": (1, 2)}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_json_in_any_form_is_compared_by_value(form):
    recorded, same = form('{"id": 7, "args": [{"px": 1.10}]}'), form('{"args":[{"px":1.10}],"id":7}')
    other = form('{"id": 7, "args": [{"px": 1.2}]}')
    assert differences(recorded, same, decode=decode) == []
    assert fingerprint(recorded, decode=decode) == fingerprint(same, decode=decode)
    [found] = differences(recorded, other, decode=decode)
    assert (found.path.removeprefix("1.").removeprefix("0."), found.expected, found.actual) == (
        "args.0.px",
        "1.10",
        "1.2",
    )
    assert fingerprint(recorded, decode=decode) != fingerprint(other, decode=decode)
    assert differences(recorded, other, [found.path], decode) == []
    assert fingerprint(recorded, [found.path], decode) == fingerprint(other, [found.path], decode)


@pytest.mark.parametrize("names", [["args.px"], ["order.args.px", "args.px"]])
def test_a_path_need_not_say_the_line_or_the_position(names):
    for form in (FORMS["lines"], FORMS["Socket.IO"], FORMS["bytes"]):
        assert not differences(form('{"args": [{"px": 1}]}'), form('{"args": [{"px": 2}]}'), names)


@given(st.binary(max_size=200))
def test_any_bytes_are_the_same_as_themselves_and_differ_from_others(data):
    assert differences(data, data) == []
    assert differences(data, data + b"x") != []
    assert fingerprint(data) != fingerprint(data + b"x")
