"""Engines that are wrong in one place each, for the checks of ``test_wrong_engines.py`` to notice.

Each changes the real classes through ``monkeypatch``, as little as it takes.
"""

from __future__ import annotations

import json
import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from websockets.frames import Opcode

from pytest_connex.cassette import matching, playback, recorder, store
from pytest_connex.cassette.causality import Limits, Order
from pytest_connex.cassette.echoes import Echoes
from pytest_connex.cassette.events import Open, Payload, Refused, Rejected, Sent
from pytest_connex.cassette.playback import Waiting
from pytest_connex.cassette.player import Playback, Player
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.track import Track
from pytest_connex.cassette.writing import CassetteWriter, Writer
from pytest_connex.errors import CassetteMismatch, SecretFound
from pytest_connex.proxy.endpoint import Endpoint
from pytest_connex.proxy.frames import FrameReader
from pytest_connex.proxy.relay import Relay
from pytest_connex.proxy.replay import Replay
from pytest_connex.secrets.redaction import Redactor

Patch = pytest.MonkeyPatch


class Wrong(NamedTuple):
    """One wrong engine, and the check that has to notice it."""

    noticed_by: str
    change: Callable[[Patch], None]


ENGINES: dict[str, Wrong] = {}


def wrong(noticed_by: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def register(change: Callable[[Patch], None]) -> Callable[[Patch], None]:
        ENGINES[change.__name__] = Wrong(noticed_by, change)
        return change

    return register


def delivering(patch: Patch, change: Callable[[list[Payload]], list[Payload]]) -> None:
    deliver = Playback.deliver
    patch.setattr(Playback, "deliver", lambda self, limit: change(deliver(self, limit)))


def sending(patch: Patch, change: Callable[[Sequence[Payload]], Sequence[Payload]]) -> None:
    send = Endpoint.send
    patch.setattr(Endpoint, "send", lambda self, messages: send(self, change(messages)))


# --- Causality and order ----------------------------------------------------------------------------------


@wrong("an_answer_waits_for_its_request")
def drops_a_gate(patch: Patch) -> None:
    due = Track.due

    def due_at_once(self: Track) -> Any:
        while type(self.event) is Sent:
            self.take()
        return due(self)

    patch.setattr(Track, "due", due_at_once)
    patch.setattr(Order, "limits", lambda self, connection: Limits(sys.maxsize, math.inf))


@wrong("a_fill_waits_for_its_order_on_another_connection")
def ignores_the_gates_of_other_connections(patch: Patch) -> None:
    patch.setattr(Order, "limits", lambda self, connection: Limits(sys.maxsize, math.inf))


@wrong("what_waits_on_one_connection_goes_on_when_another_sends")
def does_not_wake_other_connections(patch: Patch) -> None:
    patch.setattr(Replay, "nudge_soon", lambda self: None)


@wrong("messages_arrive_complete_and_in_order")
def swaps_two_frames(patch: Patch) -> None:
    delivering(patch, lambda batch: [*batch[1:2], *batch[:1], *batch[2:]])


@wrong("messages_arrive_complete_and_in_order")
def drops_a_frame(patch: Patch) -> None:
    delivering(patch, lambda batch: batch[:1] + batch[2:])


@wrong("messages_arrive_complete_and_in_order")
def doubles_a_frame(patch: Patch) -> None:
    delivering(patch, lambda batch: batch[:1] + batch)


@wrong("messages_arrive_complete_and_in_order")
def loses_the_empty_message(patch: Patch) -> None:
    sending(patch, lambda messages: [message for message in messages if message])


@wrong("messages_arrive_complete_and_in_order")
def sends_text_as_binary(patch: Patch) -> None:
    sending(patch, lambda messages: [m.encode() if isinstance(m, str) else m for m in messages])


@wrong("messages_arrive_complete_and_in_order")
def sends_binary_as_text(patch: Patch) -> None:
    sending(patch, lambda messages: [m.decode("latin-1") if isinstance(m, bytes) else m for m in messages])


@wrong("a_fragmented_message_is_one_message")
def takes_fragments_for_messages(patch: Patch) -> None:
    take = FrameReader._take

    def take_each(self: FrameReader, first: int, payload: bytes, found: list[Any]) -> None:
        take(self, first | 0x80, payload, found)
        self._opcode = None if first & 0x80 else Opcode.TEXT

    patch.setattr(FrameReader, "_take", take_each)


@wrong("a_handshake_comes_before_messages")
def delivers_before_the_handshake(patch: Patch) -> None:
    dialled = Replay.dialled

    def dialled_and_delivered(self: Replay, endpoint: Endpoint, request: Any) -> None:
        self._endpoint = endpoint
        self._pump()
        dialled(self, endpoint, request)

    patch.setattr(Replay, "dialled", dialled_and_delivered)


# --- Matching ---------------------------------------------------------------------------------------------


@wrong("another_message_is_a_mismatch")
def ignores_a_mismatch(patch: Patch) -> None:
    sent = Playback.sent

    def sent_whatever(self: Playback, message: Payload) -> None:
        try:
            sent(self, message)
        except CassetteMismatch:
            self.track.accept(message)

    patch.setattr(Playback, "sent", sent_whatever)


@wrong("a_mismatch_closes_with_4900")
def keeps_a_mismatch_to_itself(patch: Patch) -> None:
    patch.setattr(Replay, "_mismatch", lambda self, error: self._pump())


@wrong("messages_match_in_their_order")
def matches_without_order(patch: Patch) -> None:
    def fitting_any(self: Playback, message: Payload) -> list[Track]:
        return [
            track
            for track in self.tracks
            if any(not self._differences(event, message) for _, event in track.connection.sent())
        ]

    patch.setattr(Playback, "_fitting", fitting_any)


@wrong("a_message_more_than_recorded_is_a_mismatch")
def accepts_more_messages_than_recorded(patch: Patch) -> None:
    fitting = Playback._fitting

    def fitting_or_done(self: Playback, message: Payload) -> list[Track]:
        return fitting(self, message) or [track for track in self.tracks if not track.expected]

    patch.setattr(Playback, "_fitting", fitting_or_done)


@wrong("numbers_match_as_they_are_written")
def compares_numbers_by_value(patch: Patch) -> None:
    patch.setattr(matching, "read_json", lambda text: (json.loads(text),))


@wrong("every_key_counts")
def ignores_missing_and_additional_keys(patch: Patch) -> None:
    differences = playback.differences

    def of_values(*args: Any) -> list[Any]:
        return [found for found in differences(*args) if "nothing" not in (found.expected, found.actual)]

    patch.setattr(playback, "differences", of_values)


@wrong("only_volatile_members_may_differ")
def takes_every_path_for_volatile(patch: Patch) -> None:
    differences = playback.differences

    def of_keys(*args: Any) -> list[Any]:
        return [found for found in differences(*args) if "nothing" in (found.expected, found.actual)]

    patch.setattr(playback, "differences", of_keys)


@wrong("volatile_members_may_differ")
def takes_no_path_for_volatile(patch: Patch) -> None:
    differences = playback.differences
    patch.setattr(playback, "differences", lambda expected, actual, *others: differences(expected, actual))


@wrong("the_order_of_keys_does_not_count")
def compares_json_to_the_byte(patch: Patch) -> None:
    patch.setattr(matching, "read_json", lambda text: None)


@wrong("a_close_with_another_code_is_a_mismatch")
def ignores_the_close_code_of_the_client(patch: Patch) -> None:
    patch.setattr(Playback, "closed", lambda self, code: None)


# --- Ends -------------------------------------------------------------------------------------------------


@wrong("a_client_that_waits_beyond_the_tape_is_exhausted")
def invents_a_1000_at_the_end_of_the_tape(patch: Patch) -> None:
    wait = Replay._wait

    def wait_or_close(self: Replay) -> None:
        if self._playback.waiting().closed is None and self._playback.track.expected is None:
            self._endpoint.close(1000, "")
        else:
            wait(self)

    patch.setattr(Replay, "_wait", wait_or_close)


@wrong("a_client_that_waits_beyond_the_tape_is_exhausted")
def is_never_exhausted(patch: Patch) -> None:
    patch.setattr(Replay, "_exhausted", lambda self, line: None)


@wrong("a_client_that_waits_as_long_as_recorded_is_not_exhausted")
def forgets_the_recorded_gap(patch: Patch) -> None:
    patch.setattr(Playback, "patience", lambda self: 0.0)


@wrong("an_abort_is_an_abort")
def turns_1006_into_1000(patch: Patch) -> None:
    patch.setattr(Endpoint, "abort", lambda self: self.close(1000, ""))


@wrong("a_close_has_its_code_and_reason")
def changes_a_close_reason(patch: Patch) -> None:
    close = Endpoint.close
    patch.setattr(Endpoint, "close", lambda self, code, reason: close(self, code, reason.title()))


@wrong("a_close_has_its_code_and_reason")
def turns_every_close_code_into_1011(patch: Patch) -> None:
    close = Endpoint.close
    patch.setattr(Endpoint, "close", lambda self, code, reason: close(self, 1011, reason))


@wrong("a_close_comes_after_what_was_sent_before_it")
def closes_early(patch: Patch) -> None:
    def waiting(self: Playback) -> Waiting:
        closing = self.track.connection.closing
        return Waiting(closing if closing and closing.by == "server" else None, self.track.line)

    patch.setattr(Playback, "waiting", waiting)


@wrong("a_rejected_handshake_has_status_headers_and_body")
def accepts_a_rejected_handshake(patch: Patch) -> None:
    patch.setattr(Endpoint, "reject", lambda self, status, headers, body: self.accept(None, headers))


@wrong("a_rejected_handshake_has_status_headers_and_body")
def loses_the_body_of_a_rejection(patch: Patch) -> None:
    reject = Endpoint.reject
    patch.setattr(Endpoint, "reject", lambda self, status, headers, body: reject(self, status, headers, ""))


@wrong("a_refused_dial_raises_what_it_raised")
def forgets_why_a_dial_was_refused(patch: Patch) -> None:
    patch.setattr(Replay, "refusal", property(lambda self: None, lambda self, value: None), raising=False)


# --- Consumption ------------------------------------------------------------------------------------------


@wrong("what_was_never_sent_is_unplayed")
def never_reports_what_is_unplayed(patch: Patch) -> None:
    patch.setattr(Player, "_unplayed", lambda self: iter(()))


@wrong("what_was_used_up_is_not_unplayed")
def reports_what_was_played(patch: Patch) -> None:
    def everything(self: Player) -> Any:
        return iter([(connection.line, "never opened") for connection in self.recording.connections])

    patch.setattr(Player, "_unplayed", everything)


@wrong("what_was_never_sent_is_unplayed")
def overlooks_connections_never_opened(patch: Patch) -> None:
    unplayed = Player._unplayed
    patch.setattr(Player, "_unplayed", lambda self: (found for found in unplayed(self) if "opened" not in found[1]))


@wrong("strict_wants_every_message_read")
def reads_for_the_client(patch: Patch) -> None:
    received = Recording.__init__

    def counts_nothing(self: Recording, path: Any) -> None:
        received(self, path)
        for connection in self.connections:
            connection.received_count = 0

    patch.setattr(Recording, "__init__", counts_nothing)


# --- Claims -----------------------------------------------------------------------------------------------


@wrong("identical_dials_become_the_recorded_ones_in_their_order")
def swaps_the_claims_of_two_connections(patch: Patch) -> None:
    place = Player._place

    def place_from_the_end(self: Player, playback: Playback, seen: set[int]) -> bool:
        playback.tracks.reverse()
        return place(self, playback, seen)

    patch.setattr(Player, "_place", place_from_the_end)


@wrong("identical_code_in_two_tasks_gets_its_own_messages")
def claims_by_the_order_of_dials_only(patch: Patch) -> None:
    dial = Player.dial

    def dial_and_settle(self: Player, url: str, subprotocols: Any = ()) -> Playback:
        playback = dial(self, url, subprotocols)
        self.narrow(playback, [playback.track])
        return playback

    patch.setattr(Player, "dial", dial_and_settle)


@wrong("a_dial_fits_by_path_and_query")
def ignores_path_and_query(patch: Patch) -> None:
    patch.setattr(Player, "_target", lambda self, url: "the gateway")


@wrong("a_dial_too_many_is_a_mismatch")
def plays_a_recorded_connection_twice(patch: Patch) -> None:
    dial = Player.dial

    def dial_afresh(self: Player, url: str, subprotocols: Any = ()) -> Playback:
        if len(self._holders) == len(self.recording.connections):
            self._holders.clear()
        return dial(self, url, subprotocols)

    patch.setattr(Player, "dial", dial_afresh)


# --- Echoes -----------------------------------------------------------------------------------------------


@wrong("an_id_comes_back_as_the_client_made_it")
def does_not_echo_ids(patch: Patch) -> None:
    patch.setattr(Echoes, "apply", lambda self, payload: payload)


@wrong("an_id_comes_back_nowhere_else")
def echoes_into_numbers_elsewhere(patch: Patch) -> None:
    def everywhere(self: Echoes, payload: Payload) -> Payload:
        assert isinstance(payload, str)
        for (_, old), new in self._here.items():
            payload = payload.replace(old.written if isinstance(old, matching.Number) else old, new)
        return payload

    patch.setattr(Echoes, "apply", everywhere)


@wrong("an_id_comes_back_nowhere_else")
def echoes_through_a_json_library(patch: Patch) -> None:
    apply = Echoes.apply
    patch.setattr(Echoes, "apply", lambda self, payload: json.dumps(json.loads(apply(self, payload))))


# --- Recording --------------------------------------------------------------------------------------------


@wrong("what_was_on_the_wire_is_recorded_to_the_byte")
def writes_json_again(patch: Patch) -> None:
    split = recorder._split

    def split_again(message: Payload) -> Any:
        try:
            return split(json.dumps(json.loads(message)))
        except ValueError:
            return split(message)

    patch.setattr(recorder, "_split", split_again)


@wrong("what_was_on_the_wire_is_recorded_to_the_byte")
def records_binary_as_text(patch: Patch) -> None:
    def as_text(message: Payload) -> tuple[str | None, bytes | None]:
        return (message if isinstance(message, str) else message.decode("utf-8", "replace"), None)

    patch.setattr(recorder, "_split", as_text)


@wrong("messages_are_stamped_when_they_arrive")
def stamps_messages_when_they_are_read(patch: Patch) -> None:
    """Also: a message that is never read is not recorded."""
    received = Recorder.received
    unread: deque[tuple[Any, ...]] = deque()
    patch.setattr(Recorder, "received", lambda self, conn, now, message: unread.append((self, conn, message)))

    def on_read(self: Relay) -> Callable[[], None]:
        def read() -> None:
            recorder, conn, message = unread.popleft()
            received(recorder, conn, self._loop.time(), message)

        return read

    patch.setattr(Relay, "on_read", property(on_read))


@wrong("an_end_is_recorded_with_who_ended_it")
def records_every_end_as_the_servers(patch: Patch) -> None:
    closed = Recorder.closed

    def closed_by_server(self: Recorder, conn: int, now: float, by: Any, code: int, reason: str) -> None:
        closed(self, conn, now, "server", code, reason)

    patch.setattr(Recorder, "closed", closed_by_server)


@wrong("an_end_is_recorded_with_who_ended_it")
def records_an_abort_as_1000(patch: Patch) -> None:
    closed = Recorder.closed

    def closed_cleanly(self: Recorder, conn: int, now: float, by: Any, code: int, reason: str) -> None:
        closed(self, conn, now, by, 1000 if code == 1006 else code, reason)

    patch.setattr(Recorder, "closed", closed_cleanly)


@wrong("the_recorded_pace_takes_the_recorded_time")
def delivers_everything_at_once(patch: Patch) -> None:
    init = Replay.__init__

    def instant(self: Replay, playback: Playback, timeout: float, verdict: Any, pace: float = 0.0) -> None:
        init(self, playback, timeout, verdict, 0.0)

    patch.setattr(Replay, "__init__", instant)


# --- Secrets ----------------------------------------------------------------------------------------------


@wrong("a_secret_is_replaced_and_nothing_else")
def redacts_nothing(patch: Patch) -> None:
    patch.setattr(Redactor, "_redacted", lambda self, text, fit, shown: text)


@wrong("a_secret_is_replaced_and_nothing_else")
def redacts_the_white_space_too(patch: Patch) -> None:
    redacted = Redactor._redacted
    patch.setattr(Redactor, "_redacted", lambda self, *args: redacted(self, *args).replace(", ", ","))


@wrong("a_secret_is_replaced_and_nothing_else")
def redacts_text_only(patch: Patch) -> None:
    patch.setattr(Redactor, "_redacted_binary", lambda self, data, measured, shown: data)
    patch.setattr(Redactor, "check", lambda self, *args, **options: None)


@wrong("a_secret_in_a_line_is_refused")
def skips_the_search_for_secrets(patch: Patch) -> None:
    patch.setattr(Redactor, "check", lambda self, *args, **options: None)


@wrong("a_secret_in_a_line_is_refused")
def shows_the_secret_that_it_found(patch: Patch) -> None:
    check = Redactor.check

    def check_and_tell(self: Redactor, data: bytes, path: Any, line: int | None = None, **options: bool) -> None:
        try:
            check(self, data, path, line, **options)
        except SecretFound as exc:
            raise SecretFound(f"{exc}: {data!r}", path, line) from None

    patch.setattr(Redactor, "check", check_and_tell)


# --- Files ------------------------------------------------------------------------------------------------


@wrong("a_discarded_recording_leaves_the_old_one")
def commits_although_the_test_failed(patch: Patch) -> None:
    def discard(self: Writer) -> None:
        self.finish()
        self.commit()
        self.settle()

    patch.setattr(Writer, "discard", discard)


@wrong("a_discarded_recording_leaves_the_old_one")
def writes_in_place(patch: Patch) -> None:
    patch.setattr(Writer, "_beside", lambda self, ending: self._target)


@wrong("a_written_recording_is_complete")
def forgets_the_end_line(patch: Patch) -> None:
    patch.setattr(CassetteWriter, "finish", Writer.finish)


@wrong("another_version_is_refused")
def accepts_version_2(patch: Patch) -> None:
    def read_header(self: Recording, file: Any) -> Any:
        return store._headers.decode(file.readline())

    patch.setattr(Recording, "_read_header", read_header)


@wrong("a_recording_with_a_line_missing_is_refused")
def does_not_count_the_lines(patch: Patch) -> None:
    patch.setattr(Recording, "_check_end", lambda self, end, line, rest: None)


@wrong("times_that_run_backwards_are_refused")
def accepts_times_that_run_backwards(patch: Patch) -> None:
    patch.setattr(Recording, "_check_time", lambda self, before, after, line: None)


@wrong("events_before_the_handshake_are_refused")
def accepts_events_in_any_order(patch: Patch) -> None:
    check_order = Recording._check_order

    def in_any_order(self: Recording, event: Any, by_number: dict[int, Any], line: int) -> Any:
        if (connection := by_number.get(event.conn)) is not None:
            connection.answered = not isinstance(event, Open | Rejected | Refused)
        return check_order(self, event, by_number, line)

    patch.setattr(Recording, "_check_order", in_any_order)
