"""Pinned schemas: what comes from Connex still looks as it did when the schemas were pinned."""

from __future__ import annotations

import json

import pytest

from pytest_connex import Dialect
from pytest_connex.errors import DataFormatError


async def test_a_book_that_moves_fits_its_pinned_schemas(connex_ws, connex_schema):
    await connex_ws.subscribe("ETH/USDT", depth=20)
    frames = [await connex_ws.recv_text() for _ in range(61)]

    assert connex_schema.check_all(frames) == {"orderbook.snapshot": 1, "orderbook.update": 60}


async def test_answers_and_refusals_fit_their_pinned_schemas(connex_config, connex_connect, connex_schema):
    async with connex_connect(connex_config.ws_url) as ws:
        answers = []
        for message in (Dialect().ping(7), Dialect().subscribe("NO/SUCH")):
            await ws.send(json.dumps(message))
            answers.append(await ws.recv())

    assert connex_schema.check_all(answers) == {"pong": 1, "error": 1}


async def test_a_price_that_is_a_number_does_not_fit(connex_ws, connex_schema):
    await connex_ws.subscribe("ETH/USDT", depth=1)
    frame = json.loads(await connex_ws.recv_text())
    price = frame["bids"][0][0]
    text = json.dumps(frame).replace(f'"{price}"', price)

    with pytest.raises(DataFormatError, match=r'bids\[0\]\[0\]: .* is not of type "string"'):
        connex_schema.check(text)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/status", "rest.v1.status"),
        ("/v1/symbols", "rest.v1.symbols"),
        ("/v1/orderbook/okx/ETHUSDC?depth=5", "rest.v1.orderbook"),
        ("/v1/orderbook/okx/NOSUCH", "rest.error"),
    ],
    ids=["status", "symbols", "orderbook", "error"],
)
def test_answers_of_rest_fit_their_pinned_schemas(connex_rest, connex_schema, path, name):
    assert connex_schema.check(connex_rest.get(path).text, name) == name
