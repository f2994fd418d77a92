"""One test's recordings, from its first request to the verdict.

A :class:`CassetteSession` answers what the test asks (from a recording, or through the real server while it
records), remembers the first thing that went wrong, and at the end either writes both files as one unit or
says what was left unused. It knows pytest only as somebody who calls it in time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..clock import real_time
from ..config import MIN_SECRET, RECORDED_KEY, RECORDED_SECRET, RECORDED_WS_URL, ConnexConfig, canonical_url
from ..errors import CassetteError, CassetteMissing, CassetteStale
from ..protocol import Dialect
from .driving import abort
from .ending import Ending
from .redaction import Redactor
from .writing import TextWriter, Writer, put_in_place

if TYPE_CHECKING:
    import websockets.asyncio.client as websockets_client
    from vcr.request import Request
    from websockets.sync.client import ClientConnection as SyncConnection

    from ..background import BackgroundLoop
    from .connect import Dialler
    from .endpoint import Behaviour, Endpoint
    from .events import Event, Message
    from .http import HttpRecording
    from .recorder import Recorder
    from .relay import RelayDialler
    from .replay import ReplayDialler
    from .store import Recording
    from .writing import CassetteWriter

Action = Literal["replay", "record", "pass"]

_FAREWELLS = 5
"""How many turns of the loop a client gets to see that its connection has ended."""

_SCRIPTED = (
    "this test scripts its HTTP answers (connex_respx), so that there is no HTTP recording for other clients: let "
    "them have tests of their own"
)

_MOMENT = 0.05
"""Seconds without a question after which nobody is taken to ask any more."""

_SETTLING = 2.0
"""Seconds that are waited for that at most."""

PATIENCE = 20
"""How often a test may go on asking after a verdict before it is ended."""


@dataclass(frozen=True)
class Plan:
    """What the run wants of one test's recordings.

    Attributes:
        action: Play them, make them, or leave them alone.
        test: The test's node id.
        stem: Where they are, without ``.ws.jsonl`` and ``.yaml``.
        source: What stands behind the URLs while recording: ``sandbox`` or ``live``.
        generator: What makes them, with its version.
        replay_timeout: How long a client may wait beyond the recorded gap, in seconds.
        again: The command that records the test.
        renaming: What to do where the test has been renamed; empty where nothing looks like that.
        secrets: Values to replace besides the credentials.
        max_age: How many days old a recording may be, or None.
        stale: What becomes of an older one.
        strict: Whether every received message must be read.
        pace: What recorded intervals are multiplied with; 0 delivers at once what is due.
        volatile: Dotted paths of members that differ in every run, besides those of the dialect.
        scripted_http: Whether the test scripts its HTTP answers, so that HTTP is not recorded.
        baseline: Where the recordings are that those of this run are compared with, or None.
        kept: Recordings that a run would replace, and leaves alone because of their source, which is the value.
        without_recording: Why HTTP cannot be recorded and played, where it cannot; otherwise empty.
    """

    action: Action
    test: str
    stem: Path
    source: str
    generator: str
    replay_timeout: float = 5.0
    again: str = ""
    renaming: str = ""
    secrets: tuple[str, ...] = ()
    max_age: float | None = None
    stale: Literal["warn", "fail"] = "warn"
    strict: bool = False
    pace: float = 0.0
    volatile: tuple[str, ...] = ()
    scripted_http: bool = False
    baseline: Path | None = None
    kept: Mapping[Path, str] = field(default_factory=dict)
    without_recording: str = ""

    @property
    def websocket_path(self) -> Path:
        """The WebSocket recording."""
        return self.stem.with_name(f"{self.stem.name}.ws.jsonl")

    @property
    def http_path(self) -> Path:
        """The HTTP recording."""
        return self.stem.with_name(f"{self.stem.name}.yaml")

    def files(self) -> list[Path]:
        """Return the recordings that there are, of either kind."""
        return [path for path in (self.websocket_path, self.http_path) if path.exists()]

    def exists(self) -> bool:
        """Whether there is a recording of either kind."""
        return bool(self.files())


@dataclass
class Account:
    """What a test did with recordings, for the report; paths as text.

    Attributes:
        read: Files it read; ``written``, ``missing``, ``removed`` and ``stale`` likewise.
        kept: Files that it would have replaced, had they come from the sandbox, and what they come from.
        compared: Whether they were compared with what arrived.
        drift: The changes that were found, each as a mapping of :class:`~pytest_connex.schema.drift.Change`.
    """

    read: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    compared: bool = False
    drift: list[dict[str, Any]] = field(default_factory=list)


class CassetteSession:
    """The recordings of one running test.

    Args:
        plan: What to do.
        settings: Returns the configuration and the dialect of the test, once its fixtures know them.
    """

    def __init__(self, plan: Plan, settings: Callable[[], tuple[ConnexConfig, Dialect]]) -> None:
        self.plan = plan
        self.account = Account()
        self.verdict: CassetteError | None = None
        self.called = False
        self.http: HttpRecording | None = None
        self._settings = settings
        self._redactor: Redactor | None = None
        self._recording: Recording | None = None
        self._replay: ReplayDialler | None = None
        self._relay: RelayDialler | None = None
        self._recorder: Recorder | None = None
        self._writer: CassetteWriter | None = None
        self._upstream: type[websockets_client.connect] | None = None
        self._endpoints: list[Endpoint] = []
        self._background: BackgroundLoop | None = None
        self._asked_again = 0
        self._closed = False
        self._lock = threading.RLock()
        self.ending = Ending(plan.replay_timeout)

    def open(self) -> None:
        """Read what is there, before the test starts; a recording that cannot be read is the verdict."""
        self.account.kept = {str(path): source for path, source in self.plan.kept.items()}
        if self.plan.action == "pass":
            return
        recording = self.plan.action == "record"
        if self.plan.without_recording:
            self._refuse_recorded_http()
        elif not self.plan.scripted_http:
            from .http import HttpRecording

            self.http = HttpRecording(
                self.plan.http_path, recording, self._facts(), self._all_settings, self.fail, self.plan.again
            )
        if recording:
            return
        paths = [path for path in (self.plan.websocket_path, self.plan.http_path) if path.exists()]
        self.account.read += map(str, paths)
        if self.plan.max_age is not None:
            self._check_age(paths, self.plan.max_age)
        if self.plan.websocket_path.exists():
            from .store import Recording

            try:
                self._recording = Recording(self.plan.websocket_path)
            except CassetteError as exc:
                self.fail(exc)

    def final_verdict(self) -> CassetteError | None:
        """Return the verdict that every further client is to get, if there is one."""
        return self.verdict

    # what the test asks

    def play_http(self, request: Request) -> dict[str, Any] | None:
        """Return the recorded answer to a request that did not come through VCR; None after the verdict."""
        if self.http is None:
            self.fail(self._no_http())
            return None
        return self.http.play(request)

    def record_http(self, request: Request, response: dict[str, Any]) -> None:
        """Record what did not come through VCR."""
        if self.http is None:
            self.fail(self._no_http())
        elif not self._closed:
            self.http.record(request, response)

    def connect(self, upstream: type[websockets_client.connect] | None = None) -> type[websockets_client.connect]:
        """Return what the test uses in place of ``websockets.connect``.

        Args:
            upstream: Opens the connections to the server, where that is not ``websockets.connect`` itself.
        """
        if self.plan.action != "pass":
            self._upstream = upstream
            return self.connector(self)
        from websockets.asyncio.client import connect

        return upstream or connect

    def connector(self, dialler: Dialler) -> type[websockets_client.connect]:
        """Return a ``websockets.connect`` that ``dialler`` answers, and that ends with this test."""
        from .connect import connector

        return connector(dialler, self._endpoints.append)

    def connect_sync(self) -> Callable[..., SyncConnection]:
        """Return what the test uses in place of ``websockets.sync.client.connect``."""
        if self.plan.action == "pass":
            from websockets.sync.client import connect

            return connect
        from ..background import BackgroundLoop
        from .connect_sync import sync_connector

        self._background = BackgroundLoop("connex-connections")
        self._background.start()
        return sync_connector(self, self._background, self._endpoints.append)

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Answer a dial of the test.

        Raises:
            ReplayAborted: The test goes on dialling after its verdict.
            OSError: The recording has the dial refused.
        """
        with self._lock:  # connections of the blocking client are answered in another thread
            return self._behaviour(url, dial)

    def _behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        if self.verdict is not None:
            from .replay import Verdict

            self._ask_again()
            return Verdict(self.verdict)
        if self.plan.action == "record":
            return self._recorded(url, dial)
        if self._recording is None:
            from .replay import Verdict

            missing = CassetteMissing("no WebSocket is recorded for this test", self.plan.websocket_path)
            self.fail(missing)
            return Verdict(missing)
        return self._replay_dialler(self._recording).behaviour(url, dial)

    async def hang_up(self) -> None:
        """End what the test left open, while its loop still runs."""
        if self._relay is not None:
            self._relay.stop()
        for endpoint in self._endpoints:
            endpoint.hang_up()
        for _ in range(_FAREWELLS if self._endpoints else 0):
            await asyncio.sleep(0)

    def hang_up_sync(self) -> None:
        """End what the test left open in the background."""
        if self._background is not None:
            self._background.run(self.hang_up())
            self._background.stop()

    def fail(self, verdict: CassetteError) -> None:
        """Remember ``verdict`` if it is the first, and see to it that the test ends.

        Raises:
            ReplayAborted: The test goes on asking after its verdict.
        """
        if self.verdict is not None:
            self._ask_again()
            return
        verdict.advise(self.plan.again)
        self.verdict = verdict
        if isinstance(verdict, CassetteMissing):
            verdict.advise(self.plan.renaming)
        if isinstance(verdict, CassetteMissing) and verdict.path is not None:
            self.account.missing.append(str(verdict.path))
        self.ending.begin(verdict)

    # the end of the test

    def settle(self) -> None:
        """Wait a little for threads that go on asking after the verdict: VCR does not bear them while it stops."""
        asked, ends = 0, real_time() + _SETTLING
        while asked != self._asked_again and real_time() < ends:
            asked = self._asked_again
            time.sleep(_MOMENT)

    def close(self) -> None:
        """The test and its fixtures are over: nothing more is recorded."""
        if self._relay is not None:
            self._relay.stop()
        if self._recorder is not None:
            self._recorder.finish()
        if not self._closed:
            self.check_recorded()
        self._closed = True

    def check_recorded(self) -> None:
        """Search what was recorded so far, while the test can still fail for it."""
        if self._recorder is not None:
            self._recorder.flush()
        if self._writer is not None:
            self._guarded(self._writer.flush)

    def unplayed(self) -> CassetteError | None:
        """Return what the test left unused, when nothing worse is known."""
        if self.plan.action != "replay" or self.verdict is not None:
            return None
        if self.http is not None and (error := self.http.unplayed()):
            return error
        if self._recording is None:
            return None
        return self._replay_dialler(self._recording).player.unplayed()

    def commit(self) -> None:
        """Write what was recorded: both files, or none of them.

        Raises:
            CassetteError: One of them cannot be written, or holds a secret; the old ones are as they were.
        """
        if self.plan.action != "record":
            return
        writers: list[Writer] = [] if self._writer is None else [self._writer]
        try:
            if (http := self._http_writer()) is not None:
                writers.append(http)
            for writer in writers:
                writer.finish()
            kept = {writer.path for writer in writers}
            removed = put_in_place(writers, [path for path in self._watched_paths() if path not in kept])
        except CassetteError:
            for writer in writers:
                writer.discard()
            raise
        self.account.written += [str(writer.path) for writer in writers]
        self.account.removed += map(str, removed)

    def discard(self) -> None:
        """Throw away what was recorded: the test did not pass."""
        if self._writer is not None:
            self._writer.discard()

    # inside

    def _no_http(self) -> CassetteError:
        """Return why this test has no HTTP recording for its clients."""
        return CassetteError(self.plan.without_recording or _SCRIPTED, again=False)

    def _refuse_recorded_http(self) -> None:
        """Fail a test whose HTTP recording nothing can play."""
        if self.plan.http_path.exists() and not self.plan.scripted_http:
            self.fail(self._no_http())

    def _check_age(self, paths: Iterable[Path], max_age: float) -> None:
        from .library import days_between, recorded_at

        now = datetime.now(UTC)
        for path in paths:
            moment = recorded_at(path)
            if moment is None or (age := days_between(moment, now)) <= max_age:
                continue
            self.account.stale.append(str(path))
            if self.plan.stale == "fail":
                self.fail(CassetteStale(f"recorded {age:.0f} days ago, and connex_max_age is {max_age:g} days", path))
                return

    def _facts(self) -> dict[str, str]:
        return {
            "recorded_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "source": self.plan.source,
            "generator": self.plan.generator,
            "test": self.plan.test,
        }

    def _all_settings(self) -> tuple[ConnexConfig, Dialect, Redactor]:
        config, dialect = self._settings()
        if self._redactor is None:
            values = dict.fromkeys(self.plan.secrets, "connex-recorded-value")
            if self.plan.action == "record":
                if any(0 < len(value or "") < MIN_SECRET for value in (config.api_key, config.api_secret)):
                    self.fail(
                        CassetteError(
                            f"a key or secret has fewer than {MIN_SECRET} characters and cannot be kept out of the "
                            "recording; record with longer ones"
                        )
                    )
                values[config.api_key or ""] = RECORDED_KEY
                values[config.api_secret or ""] = RECORDED_SECRET
            self._redactor = Redactor(values, dialect.secret_fields, (dialect.key_header, dialect.secret_header))
        return config, dialect, self._redactor

    def _recorded(self, url: str, dial: dict[str, Any]) -> Behaviour:
        try:
            dialler = self._relay_dialler()
        except CassetteError as exc:
            from .replay import Verdict

            self.fail(exc)
            return Verdict(exc)
        return dialler.behaviour(url, dial)

    def _replay_dialler(self, recording: Recording) -> ReplayDialler:
        if self._replay is None:
            from .player import Player, Rules
            from .replay import ReplayDialler

            _, dialect, redactor = self._all_settings()
            plan = self.plan
            rules = Rules(
                volatile=(*dialect.volatile_paths, *plan.volatile),
                redactor=redactor,
                strict=plan.strict,
                again=plan.again,
                echoed=(*dialect.echoed_paths, *plan.volatile),
            )
            self._replay = ReplayDialler(Player(recording, rules), plan.replay_timeout, self.fail, plan.pace)
        return self._replay

    def _relay_dialler(self) -> RelayDialler:
        if self._relay is None:
            from .events import FORMAT, VERSION, Header
            from .recorder import Recorder
            from .relay import RelayDialler
            from .writing import CassetteWriter

            config, _, redactor = self._all_settings()
            header = Header(FORMAT, VERSION, **self._facts())
            self._writer = CassetteWriter(self.plan.websocket_path, header, redactor)
            self._recorder = Recorder(
                self._record,
                self._record_messages,
                redactor,
                lambda url: canonical_url(url, config.ws_url, RECORDED_WS_URL),
            )
            self._relay = RelayDialler(self._recorder, *([self._upstream] if self._upstream else []))
        return self._relay

    def _record(self, event: Event) -> None:
        if self._writer is not None and not self._closed:
            self._guarded(partial(self._writer.write, event))

    def _record_messages(self, messages: Sequence[Message]) -> None:
        if self._writer is not None and not self._closed:
            self._guarded(partial(self._writer.write_messages, messages))

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write; what stops it fails the test instead of the connection."""
        try:
            write()
        except CassetteError as exc:
            if self._writer is not None:
                self._writer.discard()
            self._writer = None
            self.fail(exc)

    def _watched_paths(self) -> list[Path]:
        """The files that this run would have written, had there been such traffic."""
        watched = self.http is None or self.http.watched
        return [self.plan.websocket_path, *([self.plan.http_path] if watched else [])]

    def _http_writer(self) -> TextWriter | None:
        if self.http is None or self.http.text is None:
            return None
        return TextWriter(self.plan.http_path, self.http.text, self._all_settings()[2])

    def _ask_again(self) -> None:
        self._asked_again += 1
        if self._asked_again <= PATIENCE and not self.ending.at_last():
            return
        self.ending.insist()
        if self._asked_again > 2 * PATIENCE:
            self.ending.slow_down()
        abort(self.verdict)
