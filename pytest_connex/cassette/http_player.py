"""Playing the HTTP of a recording: which recorded answer a request gets, and when it is due.

A sans-I/O core, which several threads may use at once. :meth:`HttpPlayer.ask` finds the recorded interaction; the
same request asked several times gets the answers in the order in which they were asked for. Its owner gives the
client each part of the answer when it is :meth:`~Played.due`: the head, the pieces of the body, and the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from ..errors import CassetteError, CassetteMismatch, CassetteMissing, CassetteUnplayed
from ..secrets.redaction import Redactor
from ..upstreams import REST
from .causality import Order
from .cleaning import Cleaning, adapted, moved
from .echoes import Distinctive, Echoes
from .exchange import Ending, Fields, HttpRequest, Interaction, values
from .http_matching import Matching, Miss, is_form
from .parameters import made_up

_LISTED = 50
"""So many of the recorded requests are listed in a message."""


@dataclass(frozen=True)
class HttpRules:
    """How requests are compared.

    Attributes:
        matching: Which parts may differ.
        redactor: Applied to what is asked before it is compared, as it was when it was recorded.
        upstreams: The base URL of each upstream, by its name.
        again: The command that records the test again, for messages.
        echoed: Dotted paths of members, and names of parameters, that a client makes up and the server repeats.
    """

    matching: Matching
    redactor: Redactor
    upstreams: Mapping[str, str]
    again: str = ""
    echoed: Collection[str] = ()


class PlayedPiece(NamedTuple):
    """A part of a body, and when it came, in seconds on the tape; None where the recording does not say."""

    at: float | None
    data: bytes


class Played:
    """The recorded answer to a request.

    Attributes:
        interaction: What is recorded.
        pieces: The body, in the pieces it came in.
    """

    HEAD = -1
    """The part of an answer that is its head; its pieces follow, and then its end."""

    def __init__(self, interaction: Interaction, order: Order, place: int, echoes: Echoes) -> None:
        self._is_measured = bool(values(interaction.headers, "content-length"))
        self.interaction = _with_new_values(interaction, echoes) if self._is_measured else interaction
        self.pieces = _pieces(self.interaction)
        self._echoes = echoes
        self._order = order
        self._place = place
        self.given(self.HEAD - 1 if self.status is not None else len(self.pieces) - 1)

    @property
    def status(self) -> int | None:
        """The status; None where nothing was answered."""
        return self.interaction.status

    @property
    def reason(self) -> str:
        """The phrase behind the status."""
        return self.interaction.reason

    @property
    def headers(self) -> Fields:
        """The headers, as they came."""
        return self.interaction.headers

    @property
    def ended(self) -> Ending:
        """How it ended."""
        return self.interaction.ended

    @property
    def error(self) -> OSError | None:
        """The operating system's error that was the end; None where there was none."""
        return self.interaction.failure()

    def data(self, index: int) -> bytes:
        """Return a piece of the body, with what the client has made up by now."""
        data = self.pieces[index].data
        return data if self._is_measured else _changed(data, self._echoes, len(self.pieces) == 1)

    def at(self, index: int) -> float | None:
        """Return when a part came, in seconds on the tape; None where the recording does not say."""
        if index < len(self.pieces):
            return self.interaction.answered if index < 0 else self.pieces[index].at
        known = [self.interaction.over, *(piece.at for piece in reversed(self.pieces)), self.interaction.answered]
        return next((at for at in known if at is not None), None)

    def gap(self, index: int) -> float:
        """Return how long it took, when it was recorded, from the part before to this one; in seconds."""
        before = self.interaction.asked if index < 0 or self.status is None else self.at(index - 1)
        at = self.at(index)
        return 0.0 if at is None or before is None else max(0.0, at - before)

    def given(self, index: int) -> None:
        """Take note that the client has a part: what came after the next one waits for that."""
        following = index + 1
        is_last = following > len(self.pieces) or (following == len(self.pieces) and self.ended == "left")
        with self._order.moving():
            self._order.answer(self._place, None if is_last else self.at(following))

    def over(self) -> None:
        """Take note that the client gets no more of it, or has left: nothing waits for it."""
        with self._order.moving():
            self._order.answer(self._place, None)

    def due(self, index: int) -> bool:
        """Tell whether a part may be given to the client now; the one after the last piece is the end."""
        with self._order.lock:
            return self._order.is_due(self.at(index))

    def waits_for(self, index: int) -> str:
        """Say what has to happen before a part is due, for messages; an empty text where nothing has to."""
        with self._order.lock:
            return self._order.awaited_by_answer(self.at(index))


class HttpPlayer:
    """Plays what is recorded of HTTP.

    Args:
        path: Where it is recorded, for messages.
        interactions: What is recorded.
        rules: How requests are compared.
        order: Of the whole tape, made with the same ``interactions``.
        tape: What the client has made up on the whole tape.
    """

    def __init__(
        self,
        path: Path,
        interactions: Sequence[Interaction],
        rules: HttpRules,
        order: Order | None = None,
        tape: Distinctive | None = None,
    ) -> None:
        self.path = path
        self.order = order or Order(None, interactions)
        self._interactions = interactions
        self._rules = rules
        self._tape = Distinctive() if tape is None else tape
        self._cleaning = Cleaning(path, rules.redactor, rules.upstreams)
        self._played = bytearray(len(interactions))
        self._places: dict[Hashable, deque[int]] = {}
        times = ((one.asked or 0.0, place) for place, one in enumerate(interactions))
        for _, place in sorted(times):
            key = rules.matching.key(interactions[place].request)
            self._places.setdefault(key, deque()).append(place)

    def ask(self, request: HttpRequest, upstream: str = REST) -> Played:
        """Return the recorded answer to a request.

        Raises:
            CassetteMissing: Nothing is recorded.
            CassetteMismatch: This request is not recorded, or was played already.
            CassetteError: It cannot be compared, because it cannot be looked into.
        """
        asked = self._cleaning.request(request, upstream)
        key = self._rules.matching.key(asked)
        with self.order.moving():
            place = self._fitting(self._places.get(key, ()), asked)
            if place is not None:
                self._places[key].remove(place)
                self._played[place] = True
                self.order.ask(place)
                interaction = self._interactions[place]
                return Played(interaction, self.order, place, self._echoes(interaction.request, asked))
            raise self._verdict_on(asked)

    def _fitting(self, places: Iterable[int], asked: HttpRequest) -> int | None:
        """Return the first interaction with the headers of a request, or with some of them; None where none has."""
        rules, some = self._rules.matching.headers, None
        for place in places:
            recorded = self._interactions[place].request.headers
            if rules.are_equal(recorded, asked.headers):
                return place
            if some is None and not rules.misses(recorded, asked.headers):
                some = place
        return some

    def _echoes(self, recorded: HttpRequest, asked: HttpRequest) -> Echoes:
        """Remember what a request has in the place of recorded values."""
        echoed = self._rules.echoed
        echoes = Echoes(echoed, self._tape)
        echoes.note(made_up(urlsplit(recorded.url).query, urlsplit(asked.url).query, echoed))
        before, now = (one.body.decode("utf-8", "surrogateescape") for one in (recorded, asked))
        if is_form(recorded):
            echoes.note(made_up(before, now, echoed))
        else:
            echoes.learn(before, now)
        echoes.share()
        return echoes

    def unplayed(self) -> CassetteUnplayed | None:
        """Return what of the recording the test has not used, or None when it used it up."""
        left = [one for one, played in zip(self._interactions, self._played, strict=True) if not played]
        if not left:
            return None
        listing = _listing([f"{one.request.method} {one.request.url}" for one in left])
        return CassetteUnplayed(
            f"the test left a part of its recording unused:{listing}\n{self._rules.again}", self.path
        )

    def _verdict_on(self, asked: HttpRequest) -> CassetteError:
        said = f"{asked.method} {asked.url}"
        if not self._interactions:
            return CassetteMissing(f"nothing is recorded for {said}\n{self._rules.again}", self.path)
        recorded = _listing(
            [
                f"{one.request.method} {one.request.url}{' (played)' if played else ''}"
                for one, played in zip(self._interactions, self._played, strict=True)
            ]
        )
        closest, misses = self._closest(asked)
        differing = "".join(f"\n  {miss}" for miss in misses)
        hint = "".join(f"\n{line}" for line in self._rules.matching.hints(closest, asked)) if misses else ""
        return CassetteMismatch(
            f"{said} is not recorded, or was played already\nrecorded are:{recorded}"
            f"{differing and chr(10) + 'the closest differs in:' + differing}{hint}\n{self._rules.again}",
            self.path,
        )

    def _closest(self, asked: HttpRequest) -> tuple[HttpRequest, list[Miss]]:
        """Return the recorded request that differs in the fewest parts, and in which; one not played, if possible."""
        found = (
            (self._rules.matching.misses(one.request, asked), played, place)
            for place, (one, played) in enumerate(zip(self._interactions, self._played, strict=True))
        )
        misses, _, place = min(found, key=lambda one: (len(one[0]), one[1], one[2]))
        return self._interactions[place].request, misses


def _pieces(interaction: Interaction) -> list[PlayedPiece]:
    """Return a body in its pieces; the last one has what is left, should somebody have edited the body."""
    body, start = memoryview(interaction.body), 0
    pieces = []
    for index, (at, length) in enumerate(interaction.pieces, start=1):
        stop = len(body) if index == len(interaction.pieces) else start + length
        pieces.append(PlayedPiece(at, bytes(body[start:stop])))
        start = stop
    if not pieces and body:
        pieces.append(PlayedPiece(interaction.answered, interaction.body))
    return pieces


def _with_new_values(interaction: Interaction, echoes: Echoes) -> Interaction:
    """Return an interaction whose answer has what the client has made up, and the length of that."""
    whole = len(interaction.pieces) < 2
    before, after = interaction.body, _changed(interaction.body, echoes, whole)
    if before == after:
        return interaction
    pieces = tuple(moved(before, after, interaction.pieces, lambda part: _changed(part, echoes, whole)))
    headers = adapted(interaction.headers, len(before), len(after))
    return replace(interaction, body=after, pieces=pieces, headers=headers)


def _changed(data: bytes, echoes: Echoes, whole: bool) -> bytes:
    if not echoes:
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    return cast(str, echoes.apply(text, whole)).encode()


def _listing(lines: list[str]) -> str:
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "".join(f"\n  {line}" for line in (*lines[:_LISTED], *more))
