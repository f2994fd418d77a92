"""What a client got, out of recordings."""

from __future__ import annotations

import pytest

from pytest_connex.errors import CassetteError
from pytest_connex.schema.recordings import answer_class, captured_in

YAML = """
interactions:
- request: {method: GET, uri: 'https://rest.connex.invalid/v1/status', headers: {}, body: null}
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: '{"status": "healthy", "load": 1.10}'}}
- request: {method: GET, uri: 'https://rest.connex.invalid/v1/nothing', headers: {}, body: null}
  response: {status: {code: 404, message: Not Found}, headers: {}, body: {string: '{"error": "not_found"}'}}
- request: {method: GET, uri: 'https://rest.connex.invalid/v1/empty', headers: {}, body: null}
  response: {status: {code: 204, message: No Content}, headers: {}, body: {string: ' '}}
version: 1
"""


def test_the_messages_that_were_received_are_found_with_their_lines(tape, write):
    tape.connection(("sent", '{"action": "ping"}'), ("received", '{"event": "pong"}'), ("received", b"\x01"))
    path = write(tape)
    assert list(captured_in(path)) == [
        (f"{path}:5", None, '{"event": "pong"}'),
        (f"{path}:6", None, b"\x01"),
    ]


def test_answers_are_found_with_their_class_and_the_text_of_their_bodies(tmp_path):
    path = tmp_path / "test_it.yaml"
    path.write_text(YAML)
    assert list(captured_in(path)) == [
        (f"{path}, answer 1", "rest.v1.status", '{"status": "healthy", "load": 1.10}'),
        (f"{path}, answer 2", "rest.error", '{"error": "not_found"}'),
    ]


@pytest.mark.parametrize(
    ("url", "status", "name"),
    [
        ("https://rest.connex.invalid/v1/orderbook/binance/ETHUSDT?depth=5", 200, "rest.v1.orderbook"),
        ("https://rest.connex.invalid/", 200, "rest"),
        ("https://rest.connex.invalid//v1//status/", 200, "rest.v1.status"),
        ("https://rest.connex.invalid/v1/status", 503, "rest.error"),
    ],
)
def test_the_class_of_an_answer(url, status, name):
    assert answer_class(url, status) == name


def test_a_damaged_recording_is_an_error(tmp_path):
    path = tmp_path / "test_it.ws.jsonl"
    path.write_text("{}")
    with pytest.raises(CassetteError, match="not the header"):
        list(captured_in(path))
