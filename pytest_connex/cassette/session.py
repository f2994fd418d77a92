"""One test's recordings, from its first request to the verdict.

A :class:`CassetteSession` holds what is recorded, or takes what is to be: the player and the recorder of both
files. It remembers the first thing that went wrong, and at the end either writes both files as one unit or says what
was left unused. Who asks, over what connection, is the proxy's business; who runs and ends the test, the plugin's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ..clock import real_time
from ..config import ConnexConfig
from ..errors import CassetteError, CassetteMissing, CassetteStale, ConfigError
from ..protocol import Dialect
from ..secrets.learning import redactor_for
from ..secrets.redaction import Redactor
from ..upstreams import canonical_websocket, http_url
from .echoes import Distinctive
from .stamps import TapeClock

if TYPE_CHECKING:
    from .causality import Order
    from .credentials import HeaderRules
    from .events import Event, Message
    from .exchange import Interaction
    from .http_player import HttpPlayer, HttpRules
    from .http_recorder import HttpRecorder
    from .playback import Rules
    from .player import Player
    from .recorder import Recorder
    from .store import Recording
    from .writing import CassetteWriter, Writer

Action = Literal["replay", "record", "pass"]


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
        volatile: Dotted paths of members, and names of parameters, that differ in every run, besides the dialect's.
        match_headers: Names of headers that must hold what they held when they were recorded.
        baseline: Where the recordings are that those of this run are compared with, or None.
        kept: Recordings that a run would replace, and leaves alone because of their source, which is the value.
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
    match_headers: tuple[str, ...] = ()
    baseline: Path | None = None
    kept: Mapping[Path, str] = field(default_factory=dict)

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

    def add(self, other: Account) -> None:
        """Take in what another did."""
        for mine, its in (
            (self.read, other.read),
            (self.written, other.written),
            (self.missing, other.missing),
            (self.removed, other.removed),
            (self.stale, other.stale),
        ):
            mine += its
        self.kept.update(other.kept)


class Settings(NamedTuple):
    """What recordings have to know of a test.

    Attributes:
        config: Whose keys are used, which must not be written.
        dialect: How Connex is spoken to.
        upstreams: The URL of each server, by its name.
    """

    config: ConnexConfig
    dialect: Dialect
    upstreams: Mapping[str, str]


class Judge(Protocol):
    """Who is told of verdicts: the one that can end the test."""

    def begin(self, verdict: CassetteError) -> None:
        """Take the first verdict."""

    def asked_again(self) -> None:
        """Take note that the test goes on asking after it.

        Raises:
            ReplayAborted: It has gone on for long.
        """


class CassetteSession:
    """The recordings of one running test, or of the fixtures of a wider scope.

    Args:
        plan: What to do.
        settings: Returns what has to be known of the test, once its fixtures know it.
        judge: Told of verdicts.
        now: The clock of the test, in seconds.
        learned: The secrets that shared fixtures have learned, each with its placeholder.
        told: Told each secret that is learned from what passes, and its placeholder.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Callable[[], Settings],
        judge: Judge,
        now: Callable[[], float] = real_time,
        learned: Mapping[str, str] | None = None,
        told: Callable[[str, str], None] = lambda secret, placeholder: None,
    ) -> None:
        self.plan = plan
        self.account = Account()
        self.verdict: CassetteError | None = None
        self.clock = TapeClock(now)
        self._settings = settings
        self._judge = judge
        self._learned = learned
        self._told = told
        self._redactor: Redactor | None = None
        self._recording: Recording | None = None
        self._interactions: list[Interaction] = []
        self._order: Order | None = None
        self._made_up = Distinctive()
        self._player: Player | None = None
        self._http_player: HttpPlayer | None = None
        self._recorder: Recorder | None = None
        self._http_recorder: HttpRecorder | None = None
        self._writer: CassetteWriter | None = None
        self._closed = False
        self._lock = threading.RLock()

    def open(self) -> None:
        """Read what is there, before the test starts; a recording that cannot be read is the verdict."""
        self.account.kept = {str(path): source for path, source in self.plan.kept.items()}
        if self.plan.action != "replay":
            return
        paths = self.plan.files()
        self.account.read += map(str, paths)
        if self.plan.max_age is not None:
            self._check_age(paths, self.plan.max_age)
        try:
            self._read()
        except CassetteError as exc:
            self.fail(exc)

    def _read(self) -> None:
        if self.plan.http_path.exists():
            from .http_file import read_interactions

            self._interactions = read_interactions(self.plan.http_path)
        if self.plan.websocket_path.exists():
            from .store import Recording

            self._recording = Recording(self.plan.websocket_path)

    def final_verdict(self) -> CassetteError | None:
        """Return the verdict that every further client is to get, if there is one."""
        return self.verdict

    def fail(self, verdict: CassetteError) -> None:
        """Remember ``verdict`` if it is the first, and see to it that the test ends.

        Raises:
            ReplayAborted: The test goes on asking after its verdict.
        """
        if self.verdict is not None:
            self._judge.asked_again()
            return
        verdict.advise(self.plan.again)
        self.verdict = verdict
        if isinstance(verdict, CassetteMissing):
            verdict.advise(self.plan.renaming)
        if isinstance(verdict, CassetteMissing) and verdict.path is not None:
            self.account.missing.append(str(verdict.path))
        self._judge.begin(verdict)

    # what its clients ask

    @property
    def has_websockets(self) -> bool:
        """Whether WebSocket connections are recorded."""
        return self._recording is not None

    def player(self) -> Player:
        """Return what plays the WebSocket recording.

        Raises:
            CassetteMissing: There is none.
        """
        with self._lock:
            if self._recording is None:
                raise CassetteMissing("no WebSocket is recorded for this test", self.plan.websocket_path)
            if self._player is None:
                from .player import Player

                self._player = Player(self._recording, self._rules(), self._order_of_tape(), self._made_up)
            return self._player

    def recorder(self) -> Recorder:
        """Return what records WebSocket connections.

        Raises:
            CassetteError: The recording cannot be begun.
        """
        with self._lock:
            if self._recorder is None:
                self._recorder = self._made_recorder()
            return self._recorder

    def http_player(self) -> HttpPlayer:
        """Return what plays the HTTP recording."""
        with self._lock:
            if self._http_player is None:
                from .http_player import HttpPlayer

                rules, order = self._http_rules(), self._order_of_tape()
                self._http_player = HttpPlayer(self.plan.http_path, self._interactions, rules, order, self._made_up)
            return self._http_player

    def http_recorder(self) -> HttpRecorder:
        """Return what records HTTP."""
        with self._lock:
            if self._http_recorder is None:
                from .http_recorder import HttpRecorder

                upstreams = _as_http(self._settings().upstreams)
                self._http_recorder = HttpRecorder(
                    self.plan.http_path, self._known_redactor(), upstreams, self.clock, self.fail, self._hear_messages
                )
            return self._http_recorder

    # the end of the test

    def close(self) -> None:
        """The test and its fixtures are over: nothing more is recorded."""
        if self._recorder is not None:
            self._recorder.finish()
        if self._http_recorder is not None:
            self._http_recorder.finish()
        if not self._closed:
            self.check_recorded()
        self._closed = True

    def check_recorded(self) -> None:
        """Search what was recorded so far, while the test can still fail for it."""
        if self._recorder is not None:
            self._recorder.check()
        if self._writer is not None:
            self._guarded(self._writer.flush)
        if self._http_recorder is not None:
            self._http_recorder.check()

    def _hear_messages(self) -> None:
        """Learn from the messages that wait to be written."""
        if self._recorder is not None:
            self._recorder.flush()

    def unplayed(self) -> CassetteError | None:
        """Return what the test left unused, when nothing worse is known."""
        if self.plan.action != "replay" or self.verdict is not None:
            return None
        if self._interactions and (error := self.http_player().unplayed()):
            return error
        return None if self._recording is None else self.player().unplayed()

    def commit(self) -> None:
        """Write what was recorded: both files, or none of them.

        Raises:
            CassetteError: One of them cannot be written, or holds a secret; the old ones are as they were.
        """
        if self.plan.action != "record":
            return
        from .writing import put_in_place

        writers: list[Writer] = [] if self._writer is None else [self._writer]
        try:
            if self._http_recorder is not None and (http := self._http_recorder.writer(self._facts())) is not None:
                writers.append(http)
            for writer in writers:
                writer.finish()
            self._prove(writers)
            kept = {writer.path for writer in writers}
            watched = [self.plan.websocket_path, self.plan.http_path]
            removed = put_in_place(writers, [path for path in watched if path not in kept])
        except CassetteError:
            for writer in writers:
                writer.discard()
            raise
        self.account.written += [str(writer.path) for writer in writers]
        self.account.removed += map(str, removed)

    def _prove(self, writers: Sequence[Writer]) -> None:
        """Read back what was recorded, and play it.

        Raises:
            CassetteError: It is not what passed, or cannot be played.
        """
        if not writers:
            return
        from .proof import Proof

        proof = Proof(self._rules(), self._http_rules())
        for writer in writers:
            if writer is self._writer:
                proof.messages(writer.finished, writer.path, self.recorder().passed)
            else:
                proof.requests(writer.finished, writer.path, self.http_recorder().passed)
        proof.check()

    def discard(self) -> None:
        """Throw away what was recorded: the test did not pass."""
        if self._writer is not None:
            self._writer.discard()
        if self._http_recorder is not None:
            self._http_recorder.close()

    # inside

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

    def _known_redactor(self) -> Redactor:
        """Return what replaces the secrets of the test, which are known from its first request on."""
        if self._redactor is None:
            config, dialect, _ = self._settings()
            values, volatile = self._placeholders(config), self.plan.volatile
            self._redactor = redactor_for(dialect, values, volatile, self._learned, self._told)
        return self._redactor

    def _placeholders(self, config: ConnexConfig) -> dict[str, str]:
        """Return the secrets of the test, and what stands in the place of each."""
        values = dict.fromkeys(self.plan.secrets, "connex-recorded-value")
        if self.plan.action == "record":
            try:
                values |= config.placeholders()
            except ConfigError as exc:
                self.fail(CassetteError(str(exc)))
        return values

    def _order_of_tape(self) -> Order:
        if self._order is None:
            from .causality import Order

            self._order = Order(self._recording, self._interactions)
        return self._order

    def _rules(self) -> Rules:
        from .playback import Rules

        dialect = self._settings().dialect
        return Rules(
            volatile=(*dialect.volatile_paths, *self.plan.volatile),
            redactor=self._known_redactor(),
            strict=self.plan.strict,
            again=self.plan.again,
            echoed=(*dialect.echoed_paths, *self.plan.volatile),
            volatile_query=(*dialect.volatile_query, *self.plan.volatile),
            headers=self._header_rules(),
            decode=dialect.decode,
        )

    def _http_rules(self) -> HttpRules:
        from .http_matching import Matching
        from .http_player import HttpRules

        _, dialect, upstreams = self._settings()
        volatile, headers = self.plan.volatile, self._header_rules()
        matching = Matching((*dialect.volatile_query, *volatile), (*dialect.volatile_body, *volatile), headers)
        echoed = (*dialect.echoed_paths, *volatile)
        return HttpRules(matching, self._known_redactor(), _as_http(upstreams), self.plan.again, echoed)

    def _header_rules(self) -> HeaderRules:
        from .credentials import HeaderRules

        same = frozenset(name.lower() for name in self.plan.match_headers)
        return HeaderRules(self._known_redactor().credentials, same)

    def _made_recorder(self) -> Recorder:
        from .events import FORMAT, VERSION, Header
        from .recorder import Recorder
        from .writing import CassetteWriter

        redactor, upstreams = self._known_redactor(), self._settings().upstreams
        self._writer = CassetteWriter(self.plan.websocket_path, Header(FORMAT, VERSION, **self._facts()), redactor)
        return Recorder(
            self._record,
            self._record_messages,
            redactor,
            lambda url: canonical_websocket(url, upstreams),
            self.clock,
        )

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


def _as_http(upstreams: Mapping[str, str]) -> dict[str, str]:
    return {name: http_url(url) for name, url in upstreams.items()}
