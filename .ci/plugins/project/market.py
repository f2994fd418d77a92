"""What the tests of this project say to Connex."""

from __future__ import annotations

import json
import os
from typing import Any

from pytest_connex.config import ConnexConfig

SYMBOLS = ["ETHUSDT", "ETHUSDC", "BTCUSDT"]
REPLAYING = os.environ.get("RUN_OF_THE_MATRIX") == "replay"
"""Tests that must fail from their recording do something else then."""


def headers(config: ConnexConfig) -> dict[str, str]:
    """Return what authenticates a REST request."""
    return {"X-CONNEX-API-KEY": config.api_key, "X-CONNEX-API-SECRET": config.api_secret}


def ping(number: int, note: str = "same") -> str:
    """Return a message that is answered with a pong of the same number."""
    return json.dumps({"action": "ping", "id": number, "note": note})


def pong(text: str | bytes) -> Any:
    """Return the number of a pong."""
    message = json.loads(text)
    assert message["event"] == "pong"
    return message["id"]
