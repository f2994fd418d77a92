"""The first changes of a market's order book, from Connex, with websocket-client and its callbacks."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import websocket


@dataclass
class Ticker:
    """Collects what the gateway says of one market.

    Args:
        symbol: The market.
        wanted: After how many frames of its order book to stop.
    """

    symbol: str
    wanted: int
    sequences: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def run(self) -> list[int]:
        """Return the sequence numbers of the frames that came, in their order.

        Raises:
            Exception: What the connection failed with.
        """
        app = websocket.WebSocketApp(
            os.environ["CONNEX_WS_URL"],
            on_open=self._subscribe,
            on_message=self._take,
            on_error=lambda app, error: self.errors.append(error),
        )
        app.run_forever()
        if self.errors:
            raise self.errors[0]
        return self.sequences

    def _subscribe(self, app: websocket.WebSocketApp) -> None:
        self._say(app, {"action": "subscribe", "channel": "orderbook", "symbol": self.symbol, "depth": 5})

    def _take(self, app: websocket.WebSocketApp, text: str) -> None:
        frame = json.loads(text)
        if frame.get("event") == "error":
            raise ValueError(frame["message"])
        if "bids" in frame:
            self.sequences.append(frame["sequence"])
        if len(self.sequences) == self.wanted:
            app.close()

    def _say(self, app: websocket.WebSocketApp, message: dict[str, Any]) -> None:
        app.send(json.dumps(message))
