"""Answering a client's WebSocket connections from a recording.

The I/O shell around :mod:`~pytest_connex.cassette.player`: it decides nothing about what matches, only when
bytes are written, how long a client may wait, and what a verdict looks like on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.http11 import Request

from ..errors import CassetteError, CassetteExhausted, CassetteMismatch
from .endpoint import Behaviour, Endpoint
from .events import Open, Payload, Refused, Rejected
from .player import Playback, Player

MISMATCH_CODE = 4900
EXHAUSTED_CODE = 4901
VERDICT_STATUS = 501

_BATCH = 256


class Replay:
    """Answers a client from a recording.

    Args:
        playback: What the client's dial became.
        timeout: How long the client may wait beyond the recorded gap, in seconds.
        verdict: Told when the client does what the recording does not have.
    """

    refusal: BaseException | None = None

    def __init__(self, playback: Playback, timeout: float, verdict: Callable[[CassetteError], None]) -> None:
        self._playback = playback
        self._timeout = timeout
        self._verdict = verdict
        self._timer: asyncio.TimerHandle | None = None

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Answer the handshake as it was answered when it was recorded."""
        self._endpoint = endpoint
        answer = self._playback.answer
        if isinstance(answer, Rejected):
            endpoint.reject(answer.status, answer.headers, answer.body)
        elif isinstance(answer, Open):
            endpoint.accept(answer.subprotocol, answer.headers)
            self._pump()

    def received(self, message: Payload) -> None:
        """Hold a message of the client against the recording, and deliver what was waiting for it."""
        try:
            self._playback.sent(message)
        except CassetteMismatch as exc:
            self._stop()
            self._verdict(exc)
            self._endpoint.close(MISMATCH_CODE, "CassetteMismatch: see the report of the test")
            return
        self._pump()

    def writable(self) -> None:
        """Deliver more."""
        self._pump()

    def ended(self, code: int, reason: str) -> None:
        """The client is done."""
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pump(self) -> None:
        self._stop()
        try:
            while self._endpoint.writing:
                batch = self._playback.deliver(_BATCH)
                if not batch:
                    self._wait()
                    return
                self._endpoint.send(batch)
        except CassetteMismatch as exc:
            self._verdict(exc)
            self._endpoint.close(MISMATCH_CODE, "CassetteMismatch: see the report of the test")

    def _wait(self) -> None:
        waiting = self._playback.waiting()
        if waiting.closed is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(waiting.gap + self._timeout, self._exhausted, waiting.line)
        elif waiting.closed.by == "network" or waiting.closed.code == 1006:
            self._endpoint.abort()
        else:
            self._endpoint.close(waiting.closed.code, waiting.closed.reason)

    def _exhausted(self, line: int) -> None:
        track = self._playback.track
        expects = (
            f"the client sends {track.expected[1].payload!r}"
            if track.expected
            else "the client closes the connection"
        )
        recording = track.connection
        self._verdict(
            CassetteExhausted(
                f"the client waits on connection {recording.number}, where the recording has nothing more "
                f"to deliver before {expects}\n"
                f"waited {self._timeout:g} s longer than recorded (connex_replay_timeout)",
                recording.path,
                line,
            )
        )
        self._endpoint.close(EXHAUSTED_CODE, "CassetteExhausted: see the report of the test")


class Verdict:
    """Answers a dial that comes after a verdict: HTTP 501, with the verdict as its body."""

    refusal: BaseException | None = None

    def __init__(self, error: CassetteError) -> None:
        self._error = error

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Refuse."""
        endpoint.reject(VERDICT_STATUS, {"Content-Type": "text/plain; charset=utf-8"}, str(self._error))

    def received(self, message: Payload) -> None:
        """Never happens: the handshake was refused."""

    def writable(self) -> None:
        """Nothing more is written."""

    def ended(self, code: int, reason: str) -> None:
        """Nothing to end."""


class ReplayDialler:
    """Answers dials from a recording.

    Args:
        player: Plays it.
        timeout: How long a client may wait beyond the recorded gap, in seconds.
        verdict: Told of mismatch and exhaustion.
    """

    def __init__(
        self,
        player: Player,
        timeout: float,
        verdict: Callable[[CassetteError], None],
    ) -> None:
        self.player = player
        self._timeout = timeout
        self._verdict = verdict

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Claim a recorded connection."""
        try:
            playback = self.player.dial(url, dial.get("subprotocols") or ())
        except CassetteMismatch as exc:
            self._verdict(exc)
            return Verdict(exc)
        if isinstance(playback.answer, Refused):
            raise _refusal(playback.answer)
        return Replay(playback, self._timeout, self._verdict)


def _refusal(refused: Refused) -> OSError:
    """Return the error a recorded refused dial was."""
    kinds: dict[str, type[OSError]] = {
        kind.__name__: kind
        for kind in (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError, TimeoutError)
    }
    return kinds.get(refused.error, OSError)(refused.errno, refused.message)
