"""Both players on one tape, with clients that do what was recorded in any order that what they need allows.

A tape is drawn as a list of steps. A client is drawn over it: of each thing it does, what it needs to have seen and
done before, which lies earlier on the tape; everything else may go in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_connex.cassette.causality import Order
from pytest_connex.cassette.events import Closed, Dial, Event, Open, Received, Sent
from pytest_connex.cassette.exchange import HttpRequest, Interaction, Piece
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.http_player import HttpPlayer, HttpRules, Played
from pytest_connex.cassette.player import Playback, Player, Rules
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.secrets.redaction import Redactor

from .conftest import HEADER, URL

HOST = "https://rest.connex.invalid"
ACTIONS = ("dial", "sent", "asked")


@dataclass(frozen=True)
class Step:
    """One thing that happened: of connection or request ``of``, the ``nth`` of its kind."""

    kind: str
    of: int
    nth: int = 0


@dataclass
class Tape:
    """Steps in the order they happened, and how many of everything there are."""

    steps: list[Step] = field(default_factory=list)
    alike: bool = False

    def position(self, step: Step) -> int:
        return self.steps.index(step)


@st.composite
def tapes(draw: st.DrawFn, alike: bool = False) -> Tape:
    """Several connections and requests, each in its own order, shuffled into each other.

    Where they are ``alike``, nothing tells the connections apart but what is said on them.
    """
    strands: list[list[Step]] = []
    for conn in range(1, draw(st.integers(1, 3)) + 1):
        kinds = draw(st.lists(st.sampled_from(["sent", "received"]), max_size=4))
        counted = {"sent": 0, "received": 0}
        strand = [Step("dial", conn)]
        for kind in kinds:
            strand.append(Step(kind, conn, counted[kind]))
            counted[kind] += 1
        strands.append([*strand, Step("closed", conn)])
    for number in range(draw(st.integers(0, 4))):
        pieces = draw(st.integers(0, 2))
        strands.append([Step("asked", number), *(Step("part", number, part - 1) for part in range(pieces + 2))])
    tape = Tape(alike=alike)
    while strands := [strand for strand in strands if strand]:
        tape.steps.append(draw(st.sampled_from(strands)).pop(0))
    return tape


def url_of(tape: Tape, conn: int) -> str:
    return URL if tape.alike else f"{URL}{conn}"


def write(folder: Path, tape: Tape) -> tuple[Recording, list[Interaction]]:
    events: list[Event] = []
    renumbered: dict[int, int] = {}
    parts: dict[int, dict[int, float]] = {}
    for place, step in enumerate(tape.steps):
        at = place / 1e6
        conn = (
            renumbered.setdefault(step.of, len(renumbered) + 1) if step.kind == "dial" else renumbered.get(step.of, 0)
        )
        match step.kind:
            case "dial":
                events += [Dial(conn, at, url_of(tape, step.of)), Open(conn, at)]
            case "sent":
                events.append(Sent(conn, at, f"sent {step.of} {step.nth}"))
            case "received":
                events.append(Received(conn, at, f"received {step.of} {step.nth}"))
            case "closed":
                events.append(Closed(conn, at, "server", 1000))
            case "asked":
                parts[step.of] = {}
                parts[step.of][-2] = at
            case "part":
                parts[step.of][step.nth] = at
    writer = CassetteWriter(folder / "tape.ws.jsonl", HEADER, Redactor({}))
    for event in events:
        writer.write(event)
    writer.finish()
    writer.commit()
    writer.settle()
    interactions = []
    for number, times in sorted(parts.items()):
        last = max(times)
        pieces = tuple(Piece(times[part], 1) for part in range(last))
        request = HttpRequest("GET", f"{HOST}/{number}", [], b"")
        body, over = b"x" * len(pieces), times[last] if last >= 0 else None
        interactions.append(Interaction(request, 200, "OK", [], body, times[-2], times[-1], pieces, over))
    return Recording(folder / "tape.ws.jsonl"), interactions


class Replaying:
    """Plays a tape step by step, and knows what has happened."""

    def __init__(self, folder: Path, tape: Tape) -> None:
        recording, interactions = write(folder, tape)
        self.order = Order(recording, interactions)
        self.player = Player(recording, Rules((), Redactor({})), self.order)
        rules = HttpRules(Matching((), ()), Redactor({}), {"rest": HOST})
        self.http = HttpPlayer(folder / "tape.yaml", interactions, rules, self.order)
        self.tape = tape
        self.done: list[Step] = []
        self._playbacks: dict[int, Playback] = {}
        self._answers: dict[int, Played] = {}
        self._parts: dict[int, int] = {}

    def act(self, step: Step) -> None:
        match step.kind:
            case "dial":
                self._playbacks[step.of] = self.player.dial(url_of(self.tape, step.of))
            case "sent":
                self._playbacks[step.of].sent(f"sent {step.of} {step.nth}")
            case "asked":
                self._answers[step.of] = self.http.ask(HttpRequest("GET", f"{HOST}/{step.of}", [], b""))
                self._parts[step.of] = -1
        self.done.append(step)

    def serve(self) -> Iterator[Step]:
        """Do the next thing that is due, if anything is, on each connection and request."""
        for of, playback in self._playbacks.items():
            if Step("closed", of) in self.done:
                continue
            if batch := playback.deliver(1):
                _, conn, nth = str(batch[0]).split()
                yield Step("received", int(conn), int(nth))
            elif playback.waiting().closed is not None:
                yield Step("closed", of)
        for of, played in self._answers.items():
            part = self._parts[of]
            if part <= len(played.pieces) and Step("part", of, part) in self.tape.steps and played.due(part):
                self._parts[of] += 1
                yield Step("part", of, part)
                played.given(part)
                if Step("part", of, part + 1) not in self.tape.steps:
                    played.over()

    def has_asked(self, number: int) -> bool:
        return any(one.kind == "asked" and one.of == number for one in self.done)

    def check(self, step: Step) -> None:
        """Hold the order in which things happen against the tape."""
        before = self.tape.steps[: self.tape.position(step)]
        missing = [one for one in before if one.kind == "part" and self.has_asked(one.of) and one not in self.done]
        if step.kind in ("received", "closed"):
            missing += [one for one in before if one.kind in ACTIONS and one not in self.done]
        else:
            unasked = [one for one in self.tape.steps if one.kind == "asked" and one not in self.done]
            if unasked:
                before = before[: min(self.tape.position(one) for one in unasked)]
            missing += [one for one in before if one.kind in ("dial", "sent", "received") and one not in self.done]
        assert missing == [], f"{step} came before {missing}"


def play(tape: Tape, needs: dict[Step, set[Step]], choose: st.DataObject, locked: bool = False) -> None:
    """Play a tape to a client that acts as soon as it has what it ``needs``, or later."""
    with TemporaryDirectory() as folder:
        replaying = Replaying(Path(folder), tape)
        left = [step for step in tape.steps if step.kind in ACTIONS]
        while len(replaying.done) < len(tape.steps):
            able = [step for step in left if needs[step] <= set(replaying.done)]
            if locked and is_busy(replaying):
                able = [step for step in able if step.kind != "asked"]
            if able and choose.draw(st.booleans()):
                step = choose.draw(st.sampled_from(able))
                left.remove(step)
                replaying.act(step)
                continue
            served = False
            for step in replaying.serve():
                replaying.check(step)
                replaying.done.append(step)
                served = True
            if not served:
                assert able, f"deadlock after {replaying.done}"
                step = choose.draw(st.sampled_from(able))
                left.remove(step)
                replaying.act(step)
        assert replaying.player.unplayed() is replaying.http.unplayed() is None


def is_busy(replaying: Replaying) -> bool:
    """Tell whether a request has not got all of its answer."""
    asked = {step.of for step in replaying.done if step.kind == "asked"}
    return any(
        step.kind == "part" and step.of in asked and step not in replaying.done for step in replaying.tape.steps
    )


def own_order(tape: Tape, step: Step) -> set[Step]:
    """Return what a client does on the same connection before ``step``."""
    before = tape.steps[: tape.position(step)]
    return {one for one in before if step.kind == "sent" and one.of == step.of and one.kind in ("dial", "sent")}


@settings(deadline=None)
@given(tapes(), st.data())
def test_an_honest_client_never_waits_for_ever_and_never_sees_an_inversion(tape, data):
    """It may need anything that was there before, and may do the rest whenever it likes."""
    needs = {}
    for step in tape.steps:
        if step.kind in ACTIONS:
            before = tape.steps[: tape.position(step)]
            needed = data.draw(st.sets(st.sampled_from(before), max_size=4)) if before else set()
            needs[step] = own_order(tape, step) | needed
    play(tape, needs, data)


@settings(deadline=None)
@given(st.booleans().flatmap(tapes), st.data())
def test_a_client_that_does_everything_as_it_was_recorded_never_waits_for_ever(tape, data):
    needs = {step: set(tape.steps[: tape.position(step)]) for step in tape.steps if step.kind in ACTIONS}
    play(tape, needs, data)


@settings(deadline=None)
@given(tapes(), st.data())
def test_requests_that_take_turns_otherwise_than_recorded_never_wait_for_ever(tape, data):
    """A lock or a pool of one connection: no request is asked before another has its answer.

    What is needed before a request is never another request, nor what came of it.
    """
    needs = {}
    for step in tape.steps:
        if step.kind not in ACTIONS:
            continue
        before = tape.steps[: tape.position(step)]
        if step.kind == "asked":
            before = before[: next((place for place, one in enumerate(before) if one.kind == "asked"), len(before))]
        needed = data.draw(st.sets(st.sampled_from(before), max_size=4)) if before else set()
        needs[step] = own_order(tape, step) | needed
    play(tape, needs, data, locked=True)
