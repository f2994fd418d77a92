"""Telling a recorder of HTTP what passes the proxy."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..cassette.exchange import Ending, HttpRequest
from ..cassette.http_recorder import Conversation, HttpRecorder
from ..errors import CassetteError, ReplayAborted
from .messages import Headers

_LARGE = 1_048_576
"""So many bytes of one exchange are looked into elsewhere than on the loop."""


class Taping:
    """An observer of one request that records it.

    Args:
        recorder: Takes the request.
        upstream: The name of the server.
        failed: Told of what cannot be recorded.
        elsewhere: Does what takes long elsewhere than on the loop, which others wait for.
    """

    def __init__(
        self,
        recorder: HttpRecorder,
        upstream: str,
        failed: Callable[[CassetteError], None],
        elsewhere: Callable[[Callable[[], None]], None],
    ) -> None:
        self._recorder = recorder
        self._upstream = upstream
        self._failed = failed
        self._elsewhere = elsewhere
        self._conversation: Conversation | None = None
        self._size = 0

    def asked(self, method: str, url: str, headers: Headers) -> None:
        """Record a request; its body follows."""
        self._conversation = self._recorder.asked(HttpRequest(method, url, headers, b""), self._upstream)

    def sent(self, data: bytes) -> None:
        """Record a piece of its body."""
        if self._conversation is not None:
            self._size += len(data)
            self._conversation.sent(data)

    def answered(self, status: int, reason: str, headers: Headers) -> None:
        """Record the head of the answer."""
        if self._conversation is not None:
            self._conversation.answered(status, reason, headers)

    def piece(self, data: bytes) -> None:
        """Record a piece of the body of the answer."""
        if self._conversation is not None:
            self._size += len(data)
            self._conversation.piece(data)

    def ended(self, how: Ending, error: OSError | None) -> None:
        """Record how it ended."""
        if self._conversation is None:
            return
        if isinstance(error, ssl.SSLCertVerificationError):
            untrusted = CassetteError(f"the certificate of the upstream {self._upstream} is not trusted", again=False)
            with suppress(ReplayAborted):
                self._failed(untrusted)
        if self._size < _LARGE:
            self._end(self._conversation, how, error)
        else:
            self._elsewhere(partial(self._end, self._conversation, how, error))

    def withdrawn(self) -> None:
        """Record nothing of it."""
        if self._conversation is not None:
            self._recorder.forget(self._conversation)

    def _end(self, conversation: Conversation, how: Ending, error: OSError | None) -> None:
        with suppress(ReplayAborted):  # ends a test; the client has its answer
            try:
                conversation.ended(how, error)
            except CassetteError as exc:
                self._failed(exc)
