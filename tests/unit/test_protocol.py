"""Signatures, exact JSON, the notebook's summaries, and reading frames."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import textwrap
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.errors import (
    AuthenticationError,
    DataFormatError,
    RateLimitError,
    RequestError,
    SubscriptionError,
)
from pytest_connex.model import (
    Authenticated,
    ErrorEvent,
    Heartbeat,
    Level,
    OtherFrame,
    Pong,
    Snapshot,
    Subscribed,
    Unsubscribed,
    Update,
)
from pytest_connex.protocol import (
    MAX_NESTING,
    Dialect,
    aggregate_summaries,
    classify,
    decimal_from,
    decode_json,
    decode_leniently,
    excerpt,
    summarize,
)

DIALECT = Dialect()
NOTEBOOK = Path(__file__).parents[3] / "shared" / "seed" / "connex_exploration_notebook.txt"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
dialect_keys = st.sampled_from(["bids", "asks", "orderbook", "orderBook", "event", "type", "action", "op", "symbol"])
messages = st.dictionaries(dialect_keys | st.text(max_size=3), json_values, max_size=5) | json_values


# --- Signatures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "secret", "nonce", "signature"),
    [
        (
            "connex-demo-key",
            "connex-demo-secret",
            "1700000000000",
            "a43bea85bdce7c990a41cc4e91d75ca5febf2768594862fb009d5ed6d2400718",
        ),
        (
            "AKfYcbwXYZ0123456789abcd",
            "s3cr3t/with+special=chars==",
            "1737158400123",
            "00d9015e3b7ebda05842f9c5ee2e9ade263d5695f19a19c1b5a5b6df8faa192a",
        ),
        (
            "key-ü-ключ-鍵",
            "secret-ü-секрет-秘密",
            "1",
            "53b6a8f93fe7bc654f738af57efdfdc8247ba702f4814f7b2dcc378855038e36",
        ),
    ],
)
def test_signature_is_the_known_answer(key, secret, nonce, signature):
    assert DIALECT.sign(key, secret, nonce) == signature


@pytest.mark.parametrize(
    ("secret", "message", "signature"),
    [
        (
            "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
            "&timestamp=1499827319559",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        ),
        (
            "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
            "apiKey=vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A&newOrderRespType=ACK"
            "&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC"
            "&timestamp=1645423376532&type=LIMIT",
            "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a",
        ),
        (
            "AMANDASECRECT",
            "1576074319000\n1iqt2wls\n",
            "56590594f97921b09b18f166befe0d1319b198bbcdad7ca73382de2f88fe9aa1",
        ),
    ],
    ids=["binance-rest", "binance-websocket", "deribit-websocket"],
)
def test_published_vectors_of_the_primitive_hold(secret, message, signature):
    assert hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest() == signature
    # The message is the nonce followed by the key, so any split of it signs the same.
    assert DIALECT.sign(message[5:], secret, message[:5]) == signature


def test_authentication_message_is_the_notebook_s():
    assert DIALECT.authenticate("connex-demo-key", "connex-demo-secret", "1700000000000") == {
        "action": "authenticate",
        "data": {
            "apiKey": "connex-demo-key",
            "nonce": "1700000000000",
            "signature": "a43bea85bdce7c990a41cc4e91d75ca5febf2768594862fb009d5ed6d2400718",
        },
    }


def test_subscription_message_is_the_notebook_s_to_the_byte():
    text = DIALECT.encode(DIALECT.subscribe("ETH/USDT", 50))
    assert text == '{"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 50}'


def test_unsubscription_and_ping_name_what_they_concern():
    assert DIALECT.unsubscribe("ETH/USDT") == {"action": "unsubscribe", "channel": "orderbook", "symbol": "ETH/USDT"}
    assert DIALECT.ping(7) == {"action": "ping", "id": 7}


def test_rest_headers_carry_credentials_in_utf_8():
    assert DIALECT.rest_headers("ключ", "geheim-ü") == {
        "X-CONNEX-API-KEY": "ключ".encode(),
        "X-CONNEX-API-SECRET": "geheim-ü".encode(),
    }


def test_order_book_path_leaves_the_slash_out_and_escapes_the_rest():
    assert DIALECT.orderbook_path("binance", "ETH/USDT") == "/v1/orderbook/binance/ETHUSDT"
    assert DIALECT.orderbook_path("a/b", "é?x") == "/v1/orderbook/a%2Fb/%C3%A9%3Fx"


# --- JSON ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        '{"a": NaN}',
        "1_000",
        "01",
        "+1",
        "1.",
        ".5",
        "0x10",
        "",
        " ",
        "{",
        '{"a": 1',
        "{'a': 1}",
        '"\n"',
        "[1,]",
        "\ufeff{}",
    ],
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(DataFormatError):
        decode_json(text)


@pytest.mark.parametrize(
    ("text", "said"), [("[NaN]", "NaN is not JSON"), ("[-Infinity]", "-Infinity is not JSON"), ("{", "character 1")]
)
def test_refusal_says_what_is_wrong(text, said):
    with pytest.raises(DataFormatError, match=re.escape(said)):
        decode_json(text)


def test_white_space_around_a_document_is_json():
    assert decode_json(' \t\n{"a": 1}\r\n') == {"a": 1}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"x": [{"a": 1, "b": 0, "a": 1}]}'])
def test_duplicate_keys_are_refused_at_any_depth(text):
    with pytest.raises(DataFormatError, match="the key 'a' stands twice"):
        decode_json(text)


def test_bytes_that_are_not_utf_8_are_refused_with_their_offset():
    with pytest.raises(DataFormatError, match="not UTF-8 at offset 1"):
        decode_json(b'"\xff"')


def test_bytes_are_read_as_utf_8():
    assert decode_json('{"ключ": "鍵"}'.encode()) == {"ключ": "鍵"}


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_nesting_up_to_the_limit_is_read_and_one_more_is_refused(start, end):
    decode_json(start * (MAX_NESTING - 1) + "[]" + end * (MAX_NESTING - 1))
    with pytest.raises(DataFormatError, match="nested more than 100 deep"):
        decode_json(start * MAX_NESTING + "[]" + end * MAX_NESTING)


def test_very_deep_nesting_is_refused_rather_than_a_recursion_error():
    with pytest.raises(DataFormatError, match="nested more than 100 deep"):
        decode_json("[" * 200_000)


def test_many_siblings_and_brackets_in_strings_are_not_nesting():
    text = json.dumps([[1]] * 500 + ["[" * 500, '\\"[{' * 300])
    assert decode_json(text) == json.loads(text)


def test_a_frame_of_ten_megabytes_is_read():
    levels = 420_000
    text = '{"bids": [' + ",".join(['["2500.10", "1.5000000"]'] * levels) + "]}"
    assert len(text) > 10_000_000
    assert len(decode_json(text)["bids"]) == levels


def test_numbers_keep_their_digits():
    value = decode_json("[1.10, 1e5, -0.0, 0.1000000000000000055511151231257827]")
    assert [str(number) for number in value] == ["1.10", "1E+5", "-0.0", "0.1000000000000000055511151231257827"]


def test_a_number_of_400_digits_is_exact():
    digits = "9" * 400
    assert decode_json(digits) == int(digits)
    assert str(decode_json(f"0.{digits}")) == f"0.{digits}"


def test_an_integer_beyond_python_s_conversion_limit_is_exact():
    value = decode_json("7" * 5000)
    assert isinstance(value, Decimal)
    assert str(value) == "7" * 5000


def test_an_exponent_no_computer_holds_is_refused():
    with pytest.raises(DataFormatError, match="no computer holds"):
        decode_json("1e99999999999999999999")


def no_float(value: Any) -> bool:
    if isinstance(value, dict):
        return all(no_float(member) for member in value.values())
    if isinstance(value, list):
        return all(no_float(member) for member in value)
    return not isinstance(value, float)


@given(json_values)
def test_no_number_of_any_document_passes_through_a_float(value):
    text = json.dumps(value)
    decoded = decode_json(text)
    assert no_float(decoded)
    assert decoded == json.loads(text, parse_float=Decimal)
    assert no_float(decode_leniently(text))


@given(st.text() | st.binary())
def test_any_input_is_decoded_or_one_documented_error(data):
    try:
        decode_json(data)
    except DataFormatError:
        pass


def test_lenient_reading_returns_what_is_not_json():
    assert decode_leniently("pong") == "pong"
    assert decode_leniently("[" * 100_000) == "[" * 100_000
    assert decode_leniently('{"a": 1, "a": 2}') == {"a": 2}
    assert str(decode_leniently("[NaN, 1.10]")) == "[Decimal('NaN'), Decimal('1.10')]"


@pytest.mark.parametrize(
    ("value", "digits"), [("1.10", "1.10"), (3, "3"), (Decimal("2.50"), "2.50"), ("-0", "-0"), ("1e-8", "1E-8")]
)
def test_a_decimal_has_exactly_the_digits_on_the_wire(value, digits):
    assert str(decimal_from(value)) == digits


@pytest.mark.parametrize(
    "value", [" 1", "1 ", "1_000", "NaN", "Infinity", "", "01", "+1", ".5", "1.", "١", True, None, 1.5, [], {}]
)
def test_what_json_s_grammar_does_not_call_a_number_is_no_decimal(value):
    with pytest.raises(DataFormatError, match="not a number by JSON's grammar"):
        decimal_from(value)


def test_an_excerpt_says_how_much_it_leaves_out():
    assert excerpt("x" * 80) == "x" * 80
    assert excerpt("x" * 85) == "x" * 80 + "... (+5 characters)"


# --- The notebook's summaries ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    if not NOTEBOOK.exists():
        pytest.skip(f"the research notebook is not at {NOTEBOOK}")
    text = NOTEBOOK.read_text("utf-8")
    start = text.index("    def _classify_payload")
    end = text.index("    ws_url = os.getenv", start)
    names: dict[str, Any] = {"Any": Any, "Dict": dict, "List": list, "Counter": Counter}
    exec(textwrap.dedent(text[start:end]), names)
    return names


@given(message=messages)
def test_classification_is_the_notebook_s(notebook, message):
    assert classify(message) == notebook["_classify_payload"](message)


@given(message=messages)
def test_summary_is_the_notebook_s(notebook, message):
    ours, theirs = summarize(message), notebook["_summarize_payload"](message)
    assert ours == theirs
    assert list(ours) == list(theirs)


@given(message=messages)
def test_summary_of_decoded_text_is_the_notebook_s(notebook, message):
    text = json.dumps(message)
    ours, theirs = summarize(decode_json(text)), notebook["_summarize_payload"](json.loads(text))
    for summary in (ours, theirs):
        for listed in summary.get("list_fields", {}).values():
            del listed["sample"]  # the numbers themselves are Decimal here and float there
    assert ours == theirs


@given(sent=st.lists(messages, max_size=6))
def test_aggregate_is_the_notebook_s(notebook, sent):
    samples = [{"summary": summarize(message)} for message in sent] + [{}]
    ours, theirs = aggregate_summaries(samples), notebook["_aggregate_format_summary"](samples)
    assert ours == theirs
    assert list(ours["by_classification"]) == list(theirs["by_classification"])


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"asks": None}, "orderbook"),
        ({"orderBook": 1, "event": "x"}, "orderbook"),
        ({"type": "t", "event": "e"}, "e"),
        ({"event": 1, "op": "o"}, "o"),
        ({}, "dict"),
        ([], "list"),
        (Decimal("1.5"), "float"),
        (1, "int"),
        (True, "bool"),
        (None, "NoneType"),
    ],
)
def test_classes_of_messages(payload, name):
    assert classify(payload) == name


def test_a_summary_holds_keys_lengths_samples_and_types():
    assert summarize({"type": "snapshot", "bids": [1, 2, 3], "meta": {"b": 1, "a": 2}, "at": Decimal("1.5")}) == {
        "classification": "orderbook",
        "top_level_keys": ["at", "bids", "meta", "type"],
        "list_fields": {"bids": {"length": 3, "sample": [1, 2]}},
        "dict_fields": {"meta": ["a", "b"]},
        "scalar_types": {"type": "str", "at": "float"},
    }


def test_aggregate_counts_classes_and_key_sets():
    samples = [{"summary": summarize(frame)} for frame in ({"bids": []}, {"bids": [1]}, {"event": "pong"})]
    assert aggregate_summaries(samples) == {
        "by_classification": {"orderbook": 2, "pong": 1},
        "top_level_key_sets": [{"keys": ["bids"], "count": 2}, {"keys": ["event"], "count": 1}],
    }


# --- Frames ----------------------------------------------------------------------------------------------

SNAPSHOT = {
    "type": "snapshot",
    "symbol": "ETH/USDT",
    "exchange": "binance",
    "timestamp": 1737158400123,
    "sequence": 100,
    "bids": [["2500.10", "1.5"]],
    "asks": [["2500.20", "0.10"], ["2500.30", "2"]],
}
UPDATE = {
    "type": "update",
    "symbol": "ETH/USDT",
    "exchange": "binance",
    "timestamp": 1737158400124,
    "sequence": 101,
    "previousSequence": 100,
    "bids": [["2500.05", "0"]],
    "asks": [],
}


def level(price: str, quantity: str) -> Level:
    return Level(Decimal(price), Decimal(quantity))


def parse(payload: Any) -> Any:
    return DIALECT.parse(json.dumps(payload))


def test_a_snapshot_is_read():
    assert parse(SNAPSHOT) == Snapshot(
        symbol="ETH/USDT",
        exchange="binance",
        timestamp=1737158400123,
        sequence=100,
        bids=(level("2500.10", "1.5"),),
        asks=(level("2500.20", "0.10"), level("2500.30", "2")),
    )


def test_an_update_is_read_in_the_flat_and_the_nested_shape():
    nested = {name: value for name, value in UPDATE.items() if name not in ("bids", "asks", "type")}
    expected = Update(
        symbol="ETH/USDT",
        exchange="binance",
        timestamp=1737158400124,
        sequence=101,
        previous_sequence=100,
        bids=(level("2500.05", "0"),),
        asks=(),
    )
    assert parse(UPDATE) == expected
    assert parse(nested | {"updates": {"bids": UPDATE["bids"], "asks": []}}) == expected


def test_json_numbers_keep_their_digits_in_levels():
    frame = DIALECT.parse('{"symbol": "X", "bids": [[2500.10, 1.50]], "asks": [[2501, 0.1000000000000000055511151]]}')
    assert [str(number) for side in (frame.bids, frame.asks) for pair in side for number in pair] == [
        "2500.10",
        "1.50",
        "2501",
        "0.1000000000000000055511151",
    ]


def test_a_rest_book_is_read():
    book = DIALECT.parse_orderbook(
        {
            "symbol": "ETH/USDT",
            "exchange": "binance",
            "timestamp": 1737158400123,
            "lastUpdateId": 42,
            "bids": [{"price": "2500.10", "quantity": "1.5"}],
            "asks": [],
        }
    )
    assert book == Snapshot(
        symbol="ETH/USDT",
        exchange="binance",
        timestamp=1737158400123,
        sequence=42,
        bids=(level("2500.10", "1.5"),),
        asks=(),
    )


def test_a_sequence_of_zero_is_not_taken_for_a_missing_one():
    assert parse(SNAPSHOT | {"sequence": 0, "lastUpdateId": 42}).sequence == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": None}, "must name its symbol, found None"),
        ({"symbol": 7}, "must name its symbol, found 7"),
        ({"exchange": 1}, "exchange must be a string, found 1"),
        ({"timestamp": "now"}, "timestamp must be a whole number, found 'now'"),
        ({"timestamp": True}, "timestamp must be a whole number, found True"),
        ({"timestamp": 1.5}, "timestamp must be a whole number, found Decimal('1.5')"),
        ({"sequence": "100"}, "sequence must be a whole number, found '100'"),
        ({"sequence": None, "lastUpdateId": []}, "lastUpdateId must be a whole number, found []"),
        ({"type": "update", "previousSequence": {}}, "previousSequence must be a whole number, found {}"),
        ({"bids": {}}, "bids must be an array of levels, found {}"),
        ({"asks": None}, "asks must be an array of levels, found None"),
        ({"asks": "x"}, "asks must be an array of levels, found 'x'"),
        ({"bids": [["1", "1"], ["1"]]}, "bids[1] must be [price, quantity], found ['1']"),
        ({"bids": ["1"]}, "bids[0] must be [price, quantity], found '1'"),
        ({"asks": [{"price": "1"}]}, "asks[0] must be [price, quantity], found {'price': '1'}"),
        ({"bids": [["x", "1"]]}, "bids[0]: not a number by JSON's grammar: 'x'"),
        ({"bids": [["1", " 1"]]}, "bids[0]: not a number by JSON's grammar: ' 1'"),
        ({"bids": [["1", None]]}, "bids[0]: not a number by JSON's grammar: None"),
        ({"asks": [["1", "NaN"]]}, "asks[0]: not a number by JSON's grammar: 'NaN'"),
        ({"asks": [["1", "-0.1"]]}, "asks[0]: the price must be above zero and the quantity not below it"),
        ({"asks": [["0", "1"]]}, "asks[0]: the price must be above zero"),
        ({"asks": [["-1", "1"]]}, "found -1 and 1"),
    ],
)
def test_a_malformed_order_book_frame_is_refused_and_the_member_named(change, said):
    with pytest.raises(DataFormatError, match=re.escape(said)):
        parse(SNAPSHOT | change)


@pytest.mark.parametrize("nested", [{"bids": [["1"]], "asks": []}, {"bids": 1}])
def test_a_malformed_nested_side_is_refused(nested):
    with pytest.raises(DataFormatError, match="bids"):
        parse({"symbol": "X", "updates": nested})


@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        ({"event": "authenticated", "timestamp": 5}, Authenticated(timestamp=5)),
        (
            {"event": "subscribed", "channel": "orderbook", "symbol": "X", "depth": 50},
            Subscribed(channel="orderbook", symbol="X", depth=50),
        ),
        (
            {"event": "unsubscribed", "channel": "orderbook", "symbol": "X"},
            Unsubscribed(channel="orderbook", symbol="X"),
        ),
        ({"event": "pong", "id": "a"}, Pong(id="a")),
        ({"event": "heartbeat", "timestamp": 6}, Heartbeat(timestamp=6)),
        ({"event": "error", "code": "bad_request", "message": "no"}, ErrorEvent(code="bad_request", message="no")),
        (
            {"event": "maintenance", "at": 1},
            OtherFrame(name="maintenance", payload={"event": "maintenance", "at": 1}),
        ),
        ({}, OtherFrame(name="dict", payload={})),
    ],
)
def test_an_event_is_read(payload, frame):
    assert parse(payload) == frame


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"event": "authenticated", "timestamp": "x"}, "timestamp must be a whole number"),
        ({"event": "subscribed", "depth": "50"}, "depth must be a whole number"),
        ({"event": "subscribed", "channel": 1}, "channel must be a string"),
        ({"event": "unsubscribed", "symbol": 1}, "symbol must be a string"),
        ({"event": "heartbeat", "timestamp": False}, "timestamp must be a whole number"),
        ({"event": "error", "code": 5}, "code must be a string"),
        ({"event": "error", "message": []}, "message must be a string"),
        ([1], "a frame must be a JSON object, not list"),
        ("pong", "a frame must be a JSON object, not str"),
        (None, "a frame must be a JSON object, not NoneType"),
    ],
)
def test_a_malformed_event_is_refused_and_the_member_named(payload, said):
    with pytest.raises(DataFormatError, match=re.escape(said)):
        parse(payload)


@given(messages)
def test_any_document_is_a_frame_or_one_documented_error(payload):
    try:
        frame = parse(payload)
    except DataFormatError:
        return
    if isinstance(frame, (Snapshot, Update)):
        assert all(isinstance(number, Decimal) for pair in (*frame.bids, *frame.asks) for number in pair)


# --- Errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["invalid_signature", "unknown_key", "stale_nonce", "reused_nonce"])
def test_an_error_event_about_credentials_is_an_authentication_error(code):
    error = DIALECT.error_from(ErrorEvent(code=code, message="no"))
    assert type(error) is AuthenticationError
    assert error.code == code
    assert str(error) == f"Connex answered {code}: no"


def test_any_other_error_event_is_a_subscription_error():
    error = DIALECT.error_from(ErrorEvent(code="invalid_depth"))
    assert type(error) is SubscriptionError
    assert (error.code, str(error)) == ("invalid_depth", "Connex answered invalid_depth: no message")
    assert str(DIALECT.error_from(ErrorEvent())) == "Connex answered an error: no message"


def test_status_401_is_an_authentication_error_with_its_code():
    error = DIALECT.rest_error(401, '{"error": "unauthorized", "message": "no"}', None, "https://x/v1/status")
    assert type(error) is AuthenticationError
    assert (error.code, str(error)) == ("unauthorized", "Connex answered 401 to https://x/v1/status: no")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2", 2.0),
        (" 30 ", 30.0),
        (None, None),
        ("", None),
        ("Wed, 21 Oct 2026", None),
        ("-1", None),
        ("²", None),
        ("1²", None),
        ("٣", None),
        pytest.param("9" * 5000, math.inf, id="endless"),
    ],
)
def test_status_429_carries_the_wait_in_seconds(header, seconds):
    error = DIALECT.rest_error(429, '{"error": "rate_limited"}', header, "https://x")
    assert type(error) is RateLimitError
    assert (error.status, error.code, error.retry_after) == (429, "rate_limited", seconds)
    assert str(error) == "Connex answered 429 to https://x: no message"


@pytest.mark.parametrize(
    ("body", "said"),
    [("", "no message"), ("<html>down</html>", "<html>down</html>"), ("[1]", "[1]"), ("{}", "no message")],
)
def test_any_other_status_is_a_request_error_with_what_the_body_says(body, said):
    error = DIALECT.rest_error(503, body, None, "https://x")
    assert type(error) is RequestError
    assert (error.status, error.code, str(error)) == (503, None, f"Connex answered 503 to https://x: {said}")
