"""Playing a recording to the real client, message by message."""

from __future__ import annotations

from pathlib import Path

from websockets.exceptions import ConnectionClosed

from pytest_connex.cassette.events import Closed, Payload, Received, Sent
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteError
from pytest_connex.proxy.replay import ReplayDialler
from pytest_connex.secrets.redaction import Redactor

from .doorway import connects


async def replay(path: Path) -> list[tuple[str, Payload]]:
    """Do what the recorded client did, one connection after the other; return what was sent and received.

    The recording must take it, and nothing of it may be left.
    """
    recording = Recording(path)
    player = Player(recording, Rules(volatile=(), redactor=Redactor({}), strict=True))
    verdicts: list[CassetteError] = []
    connect = connects(ReplayDialler(player, 5.0, verdicts.append, 0.0).behaviour)
    seen: list[tuple[str, Payload]] = []
    for connection in recording.connections:
        ws = await connect(connection.dial.url, subprotocols=connection.dial.subprotocols or None, max_size=None)
        for _, event in connection.events():
            if isinstance(event, Sent):
                await ws.send(event.payload)
                seen.append(("sent", event.payload))
            elif isinstance(event, Received):
                seen.append(("received", await ws.recv()))
            elif isinstance(event, Closed) and event.by != "client":
                try:
                    await ws.recv()
                except ConnectionClosed as exc:
                    assert (exc.rcvd.code if exc.rcvd else 1006) == event.code
        await ws.close()
    assert (verdicts, player.unplayed()) == ([], None)
    return seen
