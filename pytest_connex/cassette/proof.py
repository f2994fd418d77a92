"""Proving that a recording can be played, before it takes its place.

The finished files are read back and compared with what passed: nothing may be missing. Then every dial, message and
request of the tape is asked of players made from these files, in the order of the tape, and must find its own
recording. What fails here fails the test that was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import TypeAlias

from ..errors import CassetteError
from .causality import Order
from .events import Dial, Payload, Sent, fields
from .exchange import Interaction
from .http_file import read_interactions
from .http_player import HttpPlayer, HttpRules, Played
from .playback import Playback
from .player import Player, Rules
from .store import Recording
from .tally import Messages, Requests

_BATCH = 256
"""So many messages are taken from a player at once."""

_Action: TypeAlias = Dial | Sent | Interaction


class Proof:
    """Proves one tape, of one or two files.

    Args:
        rules: How messages are compared when it is played.
        http_rules: How requests are.
    """

    def __init__(self, rules: Rules, http_rules: HttpRules) -> None:
        self._rules = rules
        # What is asked here has the hosts of recordings already.
        self._http_rules = replace(http_rules, upstreams={})
        self._recording: Recording | None = None
        self._interactions: list[Interaction] = []
        self._messages = Messages()
        self._requests = Requests()
        self._path = self._http_path = Path()

    def messages(self, finished: Path, path: Path, passed: Messages) -> None:
        """Read a WebSocket recording back.

        Args:
            finished: Where it is.
            path: Where it is to be, for messages.
            passed: What it must hold.

        Raises:
            CassetteError: It cannot be read.
        """
        self._path, self._messages = path, passed
        with _named(finished, path):
            self._recording = Recording(finished)

    def requests(self, finished: Path, path: Path, passed: Requests) -> None:
        """Read an HTTP recording back; the same.

        Raises:
            CassetteError: It cannot be read.
        """
        self._http_path, self._requests = path, passed
        with _named(finished, path):
            self._interactions = read_interactions(finished)

    def check(self) -> None:
        """Compare with what passed, and play everything.

        Raises:
            CassetteError: Something is missing, or does not find its own recording; with the reason.
        """
        trial = _Trial(self._recording, self._interactions, self._rules, self._http_rules, self._http_path)
        with _named(self._recording.path if self._recording else self._path, self._path):
            found = trial.play()
        if found != self._messages:
            raise _missing(self._messages, found, self._path)
        played = Requests(len(self._interactions), sum(len(one.body) for one in self._interactions))
        if played != self._requests:
            raise _missing(self._requests, played, self._http_path)


class _Trial:
    """Players of a tape, and who asks them for all of it."""

    def __init__(
        self,
        recording: Recording | None,
        interactions: list[Interaction],
        rules: Rules,
        http_rules: HttpRules,
        http_path: Path,
    ) -> None:
        self._recording = recording
        self._interactions = interactions
        order = Order(recording, interactions)
        self._player = Player(recording, rules, order) if recording else None
        self._http = HttpPlayer(http_path, interactions, http_rules, order)
        self._path, self._http_path = recording.path if recording else http_path, http_path
        self._playbacks: dict[int, Playback] = {}
        self._answers: list[Played] = []
        self._found = Messages()

    def play(self) -> Messages:
        """Do everything that the client did; return what of it there was on WebSockets.

        Raises:
            CassetteError: Something does not find its own recording.
        """
        for action in self._actions():
            match action:
                case Dial():
                    self._dial(action)
                case Sent():
                    self._send(action)
                case Interaction():
                    self._ask(action)
        for number, playback in self._playbacks.items():
            self._deliver(playback)
            self._check_own(number, playback)
        for played in self._answers:
            if not played.due(len(played.pieces)):
                request = played.interaction.request
                raise CassetteError(
                    f"the answer to {request.method} {request.url} would wait for ever, until "
                    f"{played.waits_for(len(played.pieces))}",
                    self._http_path,
                )
        return self._found

    def _actions(self) -> Iterator[_Action]:
        """Return what the client did, in the order of the tape: of what has the same time, WebSockets come first."""
        actions = self._recording.actions() if self._recording else ()
        return merge(actions, sorted(self._interactions, key=_asked), key=_moment)

    def _dial(self, dial: Dial) -> None:
        if self._player is None:
            return
        self._found.dials += 1
        if dial.of:
            joined = self._player.join(dial.of, dial.number)
            if joined is None:
                raise CassetteError(f"connection {dial.conn} does not go on with that of {dial.of}", self._path)
            self._playbacks[dial.conn] = joined
        else:
            self._playbacks[dial.conn] = self._player.dial(dial.url, dial.subprotocols, list(fields(dial.headers)))

    def _send(self, sent: Sent) -> None:
        playback = self._playbacks[sent.conn]
        self._deliver(playback)
        self._found.sent += 1
        self._found.size += len(sent.payload)
        playback.sent(sent.payload)

    def _ask(self, interaction: Interaction) -> None:
        played = self._http.ask(interaction.request, interaction.upstream)
        if played.interaction is not interaction:
            request = interaction.request
            raise CassetteError(
                f"{request.method} {request.url}, asked at {_asked(interaction):g} s, would get the answer to the "
                f"same request asked at {_asked(played.interaction):g} s",
                self._http_path,
            )
        played.over()
        self._answers.append(played)

    def _deliver(self, playback: Playback) -> None:
        while batch := playback.deliver(_BATCH):
            self._count(batch)

    def _count(self, batch: list[Payload]) -> None:
        self._found.received += len(batch)
        self._found.size += sum(map(len, batch))

    def _check_own(self, number: int, playback: Playback) -> None:
        connection = playback.track.connection
        if connection.number != number:
            raise CassetteError(
                f"connection {number} would be played from the recording of connection {connection.number}",
                self._path,
            )
        if not playback.is_played_out:
            raise CassetteError(
                f"connection {number} would wait for ever, until {playback.expectation()}", self._path
            )


def _moment(action: _Action) -> float:
    return _asked(action) if isinstance(action, Interaction) else action.at


def _asked(interaction: Interaction) -> float:
    return interaction.asked or 0.0


def _missing(passed: Messages | Requests, found: Messages | Requests, path: Path) -> CassetteError:
    return CassetteError(f"the recording is not what passed: {found} where {passed} was expected", path)


@contextmanager
def _named(finished: Path, path: Path) -> Iterator[None]:
    """Have errors name the file by the place where it is to be."""
    try:
        yield
    except CassetteError as exc:
        said = str(exc).replace(finished.name, path.name)
        error = CassetteError(f"what was recorded cannot be played: {said}")
        error.path, error.line = path if exc.path == finished else exc.path, exc.line
        raise error from exc
