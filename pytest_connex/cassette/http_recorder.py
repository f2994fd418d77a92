"""Turning the HTTP of a test into a recording.

A sans-I/O core, which several threads may use at once: whoever sees the traffic says of each request what came of
it. Bodies wait on disk where they are long. When a request has ended, its secrets are replaced and hosts become those
that recordings carry, what is left is searched for secrets, and it waits on disk to be put into its file. That takes
a while where it is long, and nothing else would pass meanwhile: it waits for that until the test is over, unless it
may tell a secret, which has to be known when the client uses it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CassetteError
from ..packing import begins_packed
from ..secrets.redaction import LONG, Redactor
from ..upstreams import REST
from .cleaning import Cleaning, encoding_of
from .exchange import Ending, Fields, HttpRequest, Interaction, Piece, reason_without_answer, values
from .http_writing import HttpWriter, encoded
from .inflation import ENCODINGS, Inflation
from .spool import Spool
from .stamps import TapeClock
from .tally import Requests

_BREATH = 0.05
"""Seconds within which a body comes with the head of its answer, unless something else happens on the tape."""

_LONGEST_NAME = 128
"""Names of secret members have so many bytes at most, where they are looked for in the pieces of a body."""

_MOST_WAITING = 200
"""So many of them wait at most: each may have two files open."""


class _Place(NamedTuple):
    """Where an interaction waits, and when it was asked: its order in the file."""

    asked: float
    offset: int
    length: int


class HttpRecorder:
    """Takes requests and what came of them.

    Args:
        path: Where the recording is to be, for messages.
        redactor: Replaces secrets.
        upstreams: The base URL of each upstream, by its name.
        clock: Of the tape.
        fail: Told what cannot be recorded; nothing is written then.
        settle: Called before something is redacted, so that secrets are known which messages have told by then.

    Attributes:
        passed: What it was told of.
    """

    def __init__(
        self,
        path: Path,
        redactor: Redactor,
        upstreams: Mapping[str, str],
        clock: TapeClock,
        fail: Callable[[CassetteError], None],
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.clock = clock
        self.passed = Requests()
        self._cleaning = Cleaning(path, redactor, upstreams)
        self._redactor = redactor
        self._fail = fail
        self._settle = settle
        self._problem: CassetteError | None = None
        self._open: set[Conversation] = set()
        self._waiting: deque[Conversation] = deque()
        self._closed = False
        self._ended = Spool()
        self._places: list[_Place] = []
        self._lock = threading.RLock()

    def asked(self, request: HttpRequest, upstream: str = REST) -> Conversation:
        """Note a request; what is returned is told what comes of it."""
        conversation = Conversation(self, request, upstream, self.clock.moment())
        with self._lock:
            if self._closed:
                conversation.close()
            else:
                self._open.add(conversation)
                self.passed.asked += 1
        return conversation

    def forget(self, conversation: Conversation) -> None:
        """Keep nothing of a request that was never whole: whoever plays the recording cannot tell who asked it."""
        with self._lock:
            if conversation in self._open:
                self._open.discard(conversation)
                self.passed.asked -= 1
            conversation.close()

    def finish(self) -> None:
        """End what is still open: the test is over, and its client is gone."""
        with self._lock:
            self._closed = True
            left = sorted(self._open, key=lambda one: one.asked)
        for conversation in left:
            conversation.ended("left")

    def writer(self, facts: Mapping[str, Any]) -> HttpWriter | None:
        """Return what writes the recording, or None where nothing was asked.

        Args:
            facts: What the recording says of itself.

        Raises:
            CassetteError: Something could not be recorded.
        """
        self.check()
        if self._problem is not None:
            raise self._problem
        if not self._places:
            return None
        return HttpWriter(self.path, self._redactor, facts, len(self._places), self._written())

    def close(self) -> None:
        """Let go of what waits on disk."""
        with self._lock:
            self._closed = True
            for conversation in (*self._open, *self._waiting):
                conversation.close()
            self._open.clear()
            self._waiting.clear()
            self._ended.close()

    # what conversations call

    def take(self, conversation: Conversation) -> None:
        """Keep what a request came to."""
        with self._lock:
            is_open = conversation in self._open
            self._open.discard(conversation)
        if not is_open:
            conversation.close()
        elif conversation.size < LONG or conversation.may_tell:
            self._clean(conversation)
        else:
            self._cleaning.hear(conversation.headers)
            with self._lock:
                self._waiting.append(conversation)
            self._clean_waiting(_MOST_WAITING)

    def check(self) -> None:
        """Clean what is long, which has waited until now."""
        self._clean_waiting(0)

    def _clean_waiting(self, most: int) -> None:
        """Clean what has waited longest, until there are at most so many left."""
        while True:
            with self._lock:
                if len(self._waiting) <= most:
                    return
                conversation = self._waiting.popleft()
            self._clean(conversation)

    def _clean(self, conversation: Conversation) -> None:
        try:
            self._settle()
            cleaned = self._cleaning.interaction(conversation.interaction(), conversation.came)
            with self._lock:
                self._keep(cleaned)
        except CassetteError as exc:
            self.refuse(exc)
        finally:
            conversation.close()

    def may_name(self, data: bytes) -> bool:
        """Tell quickly whether ``data`` may name a secret of the server."""
        return self._redactor.may_name(data)

    def refuse(self, problem: CassetteError) -> None:
        """Tell what cannot be recorded, once."""
        with self._lock:
            if self._problem is not None:
                return
            self._problem = problem
        self._fail(problem)

    def _keep(self, interaction: Interaction) -> None:
        offset = self._ended.size
        for part in encoded(interaction):
            self._ended.append(part)
        self._places.append(_Place(interaction.asked or 0.0, offset, self._ended.size - offset))
        self.passed.size += len(interaction.body)

    def _written(self) -> Iterator[bytes]:
        """Yield what has ended, in the order in which it was asked."""
        for place in sorted(self._places):
            yield from self._ended.parts(place.offset, place.length)


class _End(NamedTuple):
    """How a request ended, with which error of the operating system, and when, where that matters."""

    how: Ending
    error: OSError | None
    at: float | None


class Conversation:
    """One request, and what comes of it.

    Attributes:
        asked: When it was, in seconds.
        came: How many bytes of the body of the answer came, as they were on the wire.
        headers: Those of the answer.
        may_tell: Whether there may be a secret in it.
    """

    def __init__(self, recorder: HttpRecorder, request: HttpRequest, upstream: str, asked: float) -> None:
        self.asked = asked
        self._recorder = recorder
        self._request = request
        self._upstream = upstream
        self._status: int | None = None
        self._reason = ""
        self.headers: Fields = []
        self._length_is_declared = False
        self._answered: float | None = None
        self._pieces: list[Piece] = []
        self._at_once = True
        self._inflation: Inflation | None = None
        self.came = 0
        self.may_tell = False
        self._last_bytes = b""
        self._over = False
        self._end = _End("left", None, None)
        self._last = asked
        self._sent = Spool()
        self._body = Spool()
        self._lock = threading.RLock()

    def sent(self, data: bytes) -> None:
        """Note a piece of the body of the request, beyond what it had when it was asked."""
        with self._lock:
            if not self._over:
                self._sent.append(data)

    def answered(self, status: int, reason: str, headers: Fields) -> None:
        """Note the head of the answer."""
        with self._lock:
            if self._over:
                return
            self._status, self._reason, self.headers = status, reason, headers
            self._length_is_declared = bool(values(headers, "content-length"))
            self._answered, _ = self._moment()
            if (encoding := encoding_of(headers)) in ENCODINGS:
                self._inflation = Inflation(encoding)

    def piece(self, data: bytes) -> None:
        """Note a piece of the body, as it came."""
        with self._lock:
            if self._over or not data:
                return
            before = self._last
            at, alone = self._moment()
            self.came += len(data)
            try:
                content = self._inflation.feed(data) if self._inflation else data
            except ValueError as exc:
                self._refuse(f"the body of an answer is {exc}")
                return
            if content:
                begins = not self._body.size and begins_packed(content)
                self.may_tell = self.may_tell or begins or self._recorder.may_name(self._last_bytes + content)
                self._last_bytes = content[-_LONGEST_NAME:]
                self._body.append(content)
                self._note(at, len(content), alone and at - before <= _BREATH)

    def ended(self, how: Ending, error: OSError | None = None) -> None:
        """Note the end; a second one is left out.

        Args:
            how: What it was.
            error: The operating system's error, where that was the end.
        """
        with self._lock:
            if self._over:
                return
            before = self._last
            at, alone = self._moment()
            timed = how != "whole" or not alone or at - before > _BREATH
            try:
                if self._inflation is not None and how == "whole":
                    self._inflation.end()
            except ValueError as exc:
                self._refuse(f"the body of an answer is {exc}")
                return
            self._end = _End(how, error, at if timed else None)
            self._over = True
        self._recorder.take(self)

    def interaction(self) -> Interaction:
        """Return what it has come to, once it has ended."""
        how, error, over = self._end
        request = replace(self._request, body=self._request.body + self._sent.whole())
        pieces = () if self._at_once and len(self._pieces) < 2 else tuple(self._pieces)
        answered = self._status is not None
        return Interaction(
            request,
            self._status,
            self._reason if answered else reason_without_answer(how),
            self.headers,
            self._body.whole(),
            self.asked,
            self._answered,
            pieces,
            over,
            how,
            type(error).__name__ if error else "",
            error.errno if error else None,
            self._upstream,
        )

    @property
    def size(self) -> int:
        """How many bytes were sent and came, unpacked."""
        return len(self._request.body) + self._sent.size + self._body.size

    def close(self) -> None:
        """Let go of what waits on disk; nothing counts any more."""
        self._over = True
        self._sent.close()
        self._body.close()

    def _moment(self) -> tuple[float, bool]:
        at, alone = self._recorder.clock.next_moment(self._last)
        self._last = at
        return at, alone

    def _note(self, at: float, length: int, in_a_breath: bool) -> None:
        """Add a piece; where the length of the body was declared, what comes in a breath is one."""
        self._at_once = self._at_once and in_a_breath
        if self._pieces and in_a_breath and self._length_is_declared:
            self._pieces[-1] = Piece(at, self._pieces[-1].length + length)
        else:
            self._pieces.append(Piece(at, length))

    def _refuse(self, problem: str) -> None:
        self.close()
        self._recorder.refuse(CassetteError(problem, self._recorder.path))
