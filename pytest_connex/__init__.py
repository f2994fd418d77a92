"""pytest-connex: test a Connex integration live, from recordings, or against an embedded sandbox exchange.

The names below are imported on first use, so that a pytest run which uses none of them pays for none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.capture import CaptureResult, capture_orderbook
    from .client.health import HealthResult, check_health
    from .client.rest import ConnexRest
    from .client.websocket import ConnexWebSocket
    from .config import ConnexConfig
    from .protocol import Dialect

__version__ = "0.1.0"
GENERATOR = f"pytest-connex {__version__}"
"""What recordings say they were made by."""

_HOMES = {
    "CaptureResult": ".client.capture",
    "capture_orderbook": ".client.capture",
    "HealthResult": ".client.health",
    "check_health": ".client.health",
    "ConnexRest": ".client.rest",
    "ConnexWebSocket": ".client.websocket",
    "ConnexConfig": ".config",
    "Dialect": ".protocol",
}

__all__ = [
    "CaptureResult",
    "ConnexConfig",
    "ConnexRest",
    "ConnexWebSocket",
    "Dialect",
    "HealthResult",
    "capture_orderbook",
    "check_health",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
