"""Every exception this package raises.

::

    Exception
    ├── ConnexError                    what talking to Connex can raise
    │   ├── ConfigError                settings are missing or wrong (also OSError and RuntimeError)
    │   ├── AuthenticationError        the credentials were rejected (also PermissionError)
    │   ├── SubscriptionError          a subscription or another request on the WebSocket was refused
    │   ├── RequestError               REST answered with an error status
    │   │   └── RateLimitError         429, with ``retry_after`` in seconds
    │   ├── ConnectionLost             the WebSocket closed or could not be opened (also ConnectionError)
    │   ├── DataFormatError            a payload is not what the protocol allows (also ValueError)
    │   │   └── BookError              an order book breaks a rule
    │   └── LoopScopeError             a connection was used from another event loop (also RuntimeError)
    └── CassetteError                  recordings: this one itself means "the file cannot be read"
        ├── CassetteMissing            nothing is recorded for what the test asked
        ├── CassetteMismatch           the test asked for something else than what is recorded
        ├── CassetteExhausted          the test waits for more than what is recorded
        ├── CassetteUnplayed           the test left a part of the recording unused
        ├── CassetteDrift              what the gateway sends has changed since it was recorded
        ├── CassetteStale              the recording is older than the project allows
        ├── NetworkBlocked             a recorded test reached for the network
        └── SecretFound                a recording would have carried a secret; nothing was written
    BaseException
    └── ReplayAborted                  ends a test that goes on after its recording has failed it

There are two roots on purpose: ``except ConnexError`` in code under test never swallows a verdict about
a recording. No message contains a secret.
"""

from __future__ import annotations

from pathlib import Path


class ConnexError(Exception):
    """Anything that talking to Connex can raise."""


class ConfigError(ConnexError, OSError, RuntimeError):
    """Settings are missing or wrong.

    It is also an ``OSError`` (``EnvironmentError``) and a ``RuntimeError``, because the research notebook
    raises one from its REST function and the other from its WebSocket function.
    """


class AuthenticationError(ConnexError, PermissionError):
    """The gateway rejected the credentials; ``code`` is its machine-readable reason where it gave one."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class SubscriptionError(ConnexError):
    """The gateway answered a request on the WebSocket with an error event; ``code`` says which."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class RequestError(ConnexError):
    """REST answered with the error status ``status``; ``code`` is the ``error`` member of the body."""

    def __init__(self, message: str, status: int, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RateLimitError(RequestError):
    """REST answered 429; ``retry_after`` is the wait the gateway asks for, in seconds, if it named one."""

    def __init__(self, message: str, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, 429, code)
        self.retry_after = retry_after


class ConnectionLost(ConnexError, ConnectionError):
    """The WebSocket closed, or its handshake failed.

    ``code`` is the close code (1006 when the connection ended without a close frame) or, when the
    handshake was refused, the HTTP status.
    """

    def __init__(self, message: str, code: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class DataFormatError(ConnexError, ValueError):
    """A payload is not what the protocol allows."""


class BookError(DataFormatError):
    """A frame breaks a rule of order books.

    Attributes:
        rule: The name of the rule, see :data:`pytest_connex.book.orderbook.RULES`.
        symbol: Whose book it is.
        frame: The frame, counted from 1 in that book.
        level: The price and quantity that break it, where the rule is about a level.
        expected: What should have been there.
        found: What was.
    """

    def __init__(
        self,
        rule: str,
        symbol: str | None,
        frame: int,
        level: tuple[object, object] | None,
        expected: str,
        found: str,
    ) -> None:
        at = "" if level is None else f", level {level[0]} {level[1]}"
        super().__init__(f"{symbol}, frame {frame}{at}, breaks the rule {rule!r}: expected {expected}, found {found}")
        self.rule = rule
        self.symbol = symbol
        self.frame = frame
        self.level = level
        self.expected = expected
        self.found = found


class LoopScopeError(ConnexError, RuntimeError):
    """A connection was used from another event loop than the one it was opened on."""


class CassetteError(Exception):
    """A recording cannot be read, or cannot be written.

    ``path`` and ``line`` (counted from 1) say where, as far as they are known. ``again`` tells whether recording
    again would help.
    """

    def __init__(self, message: str, path: Path | None = None, line: int | None = None, again: bool = True) -> None:
        where = "" if path is None else f"{_shown(path)}: " if line is None else f"{_shown(path)}:{line}: "
        super().__init__(where + message)
        self.path = path
        self.line = line
        self.again = again

    def advise(self, advice: str) -> None:
        """Add how to record again, unless that would not help or the message says it already."""
        if self.again and advice and advice not in str(self):
            self.args = (f"{self}\n{advice}",)


class CassetteMissing(CassetteError):
    """The test asked for traffic, and no recording of that kind exists for it."""


class CassetteMismatch(CassetteError):
    """The test did something else than what is recorded."""


class CassetteExhausted(CassetteError):
    """The test waits for more than what is recorded."""


class CassetteUnplayed(CassetteError):
    """The test passed, but left a part of its recording unused."""


class CassetteDrift(CassetteError):
    """``--connex-verify`` found a change that readers of the recorded messages would break on."""


class CassetteStale(CassetteError):
    """The recording is older than ``connex_max_age``, and ``connex_stale_cassette`` is ``fail``."""


class NetworkBlocked(CassetteError):
    """A recorded test reached for an address beyond this machine."""


class SecretFound(CassetteError):
    """A secret was left in what was about to be written; nothing was written."""


class ReplayAborted(BaseException):
    """Ends code under test that goes on asking after its recording has failed it, or after its test is over.

    Like ``KeyboardInterrupt`` it is no ``Exception``, so that a retry loop with ``except Exception``
    ends too. The verdict that pytest reports is the :class:`CassetteError` that came first.
    """


def _shown(path: Path) -> Path:
    """Return a path as people see it: from the current folder, where it is below that."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path
