"""Answering a client's WebSocket connections from a recording.

The I/O shell around :mod:`~pytest_connex.cassette.player`: it decides nothing about what matches, only when
bytes are written, how long a client may wait, and what a verdict looks like on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from websockets.http11 import Request

from ..cassette.events import Closed, Left, NotText, Payload, Refused, Rejected
from ..cassette.player import Playback, Player
from ..clock import Timer, time_of
from ..errors import CassetteError, CassetteExhausted, CassetteMismatch, ReplayAborted
from .endpoint import REPLAYABLE, Behaviour, Endpoint, Manners, State
from .frames import Broken
from .upstream import added_headers

MISMATCH_CODE = 4900
EXHAUSTED_CODE = 4901
VERDICT_STATUS = 501

_BATCH = 256

_TURNS = 8
"""How often a client gets its turn, at least, while it is waited for."""


class Step(Enum):
    """Where a replay stands.

    =========  ====================================================  ==========================
    step       what it means                                         what may follow
    =========  ====================================================  ==========================
    PLAYING    what is due is delivered                              all others
    WAITING    nothing is due before the client does something       PLAYING, CONDEMNED, LEFT, RESTING
    RESTING    a shared connection that nobody uses: nothing comes   PLAYING, CONDEMNED, LEFT
    CONDEMNED  the client did what the recording does not have       (nothing)
    ENDED      the recorded end was delivered                        (nothing)
    LEFT       the client has closed, or is gone                     (nothing)
    =========  ====================================================  ==========================
    """

    PLAYING = "playing"
    WAITING = "waiting"
    CONDEMNED = "condemned"
    ENDED = "ended"
    LEFT = "left"
    RESTING = "resting"


_GOING_ON = frozenset({Step.PLAYING, Step.WAITING})

_RESTING = (
    "the client sent a message on connection {} of a shared fixture, and nothing is recorded of that connection for "
    "what runs now"
)


class Replay(Manners):
    """Answers a client from a recording.

    Args:
        playback: What the client's dial became.
        timeout: How long the client may wait beyond the recorded gap, in seconds.
        verdict: Told when the client does what the recording does not have.
        pace: What the recorded intervals are multiplied with; 0 delivers at once what is due.

    Attributes:
        step: Where it stands.
        on_gone: Called when the connection with the client is no more.
    """

    def __init__(
        self, playback: Playback, timeout: float, verdict: Callable[[CassetteError], None], pace: float = 0.0
    ) -> None:
        self.refusal: BaseException | None = None
        self._playback = playback
        self._timeout = timeout
        self._verdict = verdict
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._timer: Timer | None = None
        self._moment = self._sent_at = time_of(self._loop)
        self._gates_passed = 0
        self._used: Callable[[], None] = lambda: None
        self.step = Step.PLAYING
        self.on_gone: Callable[[], None] = lambda: None

    @property
    def playback(self) -> Playback:
        """What is played."""
        return self._playback

    @property
    def on_read(self) -> Callable[[], None] | None:
        """What the client's connection is to call for every message it hands out, if anybody counts them."""
        return self._note_read if self._playback.counts_reads else None

    def turn_to(
        self,
        playback: Playback | None,
        verdict: Callable[[CassetteError], None],
        used: Callable[[], None] = lambda: None,
    ) -> None:
        """Play another recording of the same connection from now on, or, for None, nothing for the time being.

        Args:
            playback: The connection in that recording.
            verdict: Told when the client does what the recording does not have.
            used: Told when the client sends something while nothing is played: whoever runs then uses the connection.
        """
        self._stop()
        self._used = used
        if not self.is_open:
            return
        self._verdict = verdict
        self.step = Step.RESTING if playback is None else Step.PLAYING
        if playback is not None:
            self._playback, self._gates_passed = playback, 0
            self._moment = self._sent_at = time_of(self._loop)
            self._pump()

    @property
    def is_open(self) -> bool:
        """Whether both sides may still say something."""
        return self.step in _GOING_ON or self.step is Step.RESTING

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Answer the handshake as it was answered when it was recorded."""
        self._endpoint = endpoint
        answer = self._playback.answer
        self._after(answer.at - self._playback.track.connection.dial.at, self._answer)

    def received(self, message: Payload) -> None:
        """Hold a message of the client against the recording, and deliver what was waiting for it."""
        self._sent_at = time_of(self._loop)
        if self.step is Step.RESTING:
            self._used()
        if self.step is Step.RESTING:
            self._mismatch(CassetteMismatch(_RESTING.format(self._playback.track.connection.number)))
            return
        try:
            self._playback.sent(message)
        except CassetteMismatch as exc:
            self._mismatch(exc)
            return
        self._pump()

    def nudge_soon(self) -> None:
        """Deliver what waited for something that has happened elsewhere, on the loop of this connection."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._nudge()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._nudge)

    def came_late(self, message: Payload) -> None:
        """Refuse in a strict test what the client sent after the recorded close; elsewhere it reaches nobody."""
        if self._playback.strict and self.step is Step.ENDED and (error := self._playback.late(message)):
            self._tell(error)

    def writable(self) -> None:
        """Deliver more."""
        self._pump()

    def ended(self, code: int, reason: str) -> None:
        """The client is done."""
        self._stop()
        condemned, self.step = self.step is Step.CONDEMNED, Step.LEFT
        if not condemned and (error := self._playback.closed(code)):
            self._tell(error)

    def pinged(self, endpoint: Endpoint, payload: bytes) -> None:
        """Answer as long as the recorded server did."""
        if self._playback.pinged():
            super().pinged(endpoint, payload)

    def bade_farewell(self, endpoint: Endpoint, payload: bytes) -> None:
        """Answer the client's close as the recorded server did, if it did."""
        end = self._playback.end if endpoint.state is State.LEFT else None
        if end is None or not end.no_close:
            super().bade_farewell(endpoint, payload)
        elif end.hung_up:
            endpoint.abort()

    def garbled(self, endpoint: Endpoint, wrong: NotText | Broken) -> None:
        """Hold what a server refuses against the recording, like any message: the refusal is recorded."""
        self.received(wrong.frame if isinstance(wrong, Broken) else wrong)

    def gone(self) -> None:
        """Tell that nothing can be delivered any more."""
        self.on_gone()

    def _note_read(self) -> None:
        if self._playback.strict:
            self._playback.read()

    def _nudge(self) -> None:
        if self.step is Step.WAITING and not self._playback.blocked:
            self._pump()

    def _stop(self) -> None:
        if self.step is Step.WAITING:
            self.step = Step.PLAYING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, gap: float, action: Callable[[], None]) -> None:
        """Do ``action`` when as much time has passed as ``gap`` becomes at this pace; at once where that is over."""
        self._stop()
        moment = self._moment + gap * self._pace
        left = moment - time_of(self._loop)
        if self._pace and left > 0:
            self._timer = Timer(self._loop, left, self._reach, moment, action)
        else:
            self._reach(moment, action)

    def _reach(self, moment: float, action: Callable[[], None]) -> None:
        self._moment = moment
        action()

    def _answer(self) -> None:
        answer = self._playback.answer
        if isinstance(answer, Rejected):
            body = answer.body if answer.binary is None else answer.binary
            self._endpoint.reject(answer.status, answer.headers, body, answer.reason)
        elif isinstance(answer, Left):
            waited = answer.at - self._playback.track.connection.dial.at
            self._timer = Timer(self._loop, waited + self._timeout, self._not_given_up)
        elif isinstance(answer, Refused):
            self.refusal = _refusal(answer)
            self._endpoint.refuse()
        else:
            self._endpoint.accept(answer.subprotocol, answer.headers)
            self._pump()

    def _pump(self) -> None:
        """Deliver what is due, and see to what comes next."""
        self._stop()
        try:
            if self._pace:
                self._pump_paced()
                return
            while self._endpoint.writing and self.step in _GOING_ON:
                batch = self._playback.deliver(_BATCH)
                if not batch:
                    self._wait()
                    return
                self._endpoint.send(batch)
        except CassetteMismatch as exc:
            self._mismatch(exc)

    def _pump_paced(self) -> None:
        if self.step not in _GOING_ON:
            return
        gap = self._playback.gap()
        if self._playback.gates_passed != self._gates_passed:
            self._gates_passed = self._playback.gates_passed
            self._moment = max(self._moment, self._sent_at)
        if self._playback.blocked:
            self._wait()
        else:
            self._after(gap, self._deliver_one)

    def _deliver_one(self) -> None:
        try:
            if self._endpoint.writing:
                if batch := self._playback.deliver(1):
                    self._endpoint.send(batch)
                    self._pump_paced()
                else:
                    self._wait()
        except CassetteMismatch as exc:
            self._mismatch(exc)

    def _wait(self) -> None:
        if self.step not in _GOING_ON:
            return
        waiting = self._playback.waiting()
        if waiting.closed is None:
            recorded = self._playback.gap() if self._pace >= 1 else self._playback.patience()
            delay = recorded + self._timeout
            self.step = Step.WAITING
            if not self._playback.ends_with_test:
                self._timer = Timer(self._loop, delay, self._exhausted, waiting.line, steps=_TURNS)
        else:
            self.step = Step.ENDED
            self._end(waiting.closed)

    def _end(self, closed: Closed) -> None:
        """Deliver the recorded end."""
        if closed.by == "network" or closed.code == 1006:
            self._endpoint.abort()
        else:
            self._endpoint.close(closed.code, closed.reason)

    def _mismatch(self, error: CassetteMismatch) -> None:
        self._stop()
        self.step = Step.CONDEMNED
        self._tell(error)
        self._endpoint.close(MISMATCH_CODE, "CassetteMismatch: see the report of the test")

    def _exhausted(self, line: int) -> None:
        recording = self._playback.track.connection
        self.step = Step.CONDEMNED
        self._tell(
            CassetteExhausted(
                f"the client waits on connection {recording.number}, where the recording has nothing more "
                f"to deliver before {self._playback.expectation()}\n"
                f"waited {self._timeout:g} s longer than recorded (connex_replay_timeout)",
                recording.path,
                line,
            )
        )
        self._endpoint.close(EXHAUSTED_CODE, "CassetteExhausted: see the report of the test")

    def _tell(self, verdict: CassetteError) -> None:
        """Tell of a verdict; whoever goes on after one is not ended from here, in the middle of a connection."""
        with suppress(ReplayAborted):
            self._verdict(verdict)

    def _not_given_up(self) -> None:
        recording = self._playback.track.connection
        self.step = Step.CONDEMNED
        error = CassetteExhausted(
            f"the client waits for the answer to its dial, connection {recording.number}, which it gave up when it "
            f"was recorded\nwaited {self._timeout:g} s longer than recorded (connex_replay_timeout)",
            recording.path,
            recording.last_line,
        )
        self._tell(error)
        Verdict(error).dialled(self._endpoint)


class Verdict(Manners):
    """Answers a dial that comes after a verdict: HTTP 501, with the verdict as its body."""

    refusal: BaseException | None = None
    on_read: Callable[[], None] | None = None

    def __init__(self, error: CassetteError) -> None:
        self._error = error

    def dialled(self, endpoint: Endpoint, request: Request | None = None) -> None:
        """Refuse."""
        endpoint.reject(VERDICT_STATUS, {"Content-Type": "text/plain; charset=utf-8"}, str(self._error))

    def received(self, message: Payload) -> None:
        """Never happens: the handshake was refused."""

    def came_late(self, message: Payload) -> None:
        """Never happens either."""

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
        pace: What the recorded intervals are multiplied with; 0 delivers at once what is due.
    """

    def __init__(
        self, player: Player, timeout: float, verdict: Callable[[CassetteError], None], pace: float = 0.0
    ) -> None:
        self.player = player
        self._timeout = timeout
        self._verdict = verdict
        self._pace = pace

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Claim a recorded connection."""
        try:
            playback = self.player.dial(url, dial.get("subprotocols") or (), added_headers(dial))
        except CassetteMismatch as exc:
            self._verdict(exc)
            return Verdict(exc)
        replay = Replay(playback, self._timeout, self._verdict, self._pace)
        replay.on_gone = self.player.order.listen(replay.nudge_soon)
        return replay


def _refusal(refused: Refused) -> OSError:
    """Return the error a recorded refused dial was."""
    kinds = {kind.__name__: kind for kind in REPLAYABLE}
    kind = kinds.get(refused.error, ConnectionAbortedError)
    if refused.errno is None:
        return kind(refused.message)
    error = kind(refused.errno, refused.message)
    # The constructor of OSError may choose a subclass by the number, PermissionError for one.
    return error if type(error) is kind else ConnectionAbortedError(refused.errno, refused.message)
