"""Which recorded connection a dial becomes, what may be delivered when, and what is left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pytest_connex.cassette.events import VERSION, Open, Refused, Rejected
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteMismatch
from pytest_connex.secrets.redaction import Redactor

from .conftest import MANY, URL, Tape, Write, conversation

Play = Callable[..., Player]


@pytest.fixture
def play(write: Write) -> Play:
    def player(tape: Tape, strict: bool = False, redactor: Redactor | None = None, version: int = VERSION) -> Player:
        again = "record it again: pytest --again"
        rules = Rules(("id", "data.nonce"), redactor or Redactor({}), strict, again, echoed=("id",))
        path = write(tape)
        path.write_bytes(path.read_bytes().replace(b'"version":%d' % VERSION, b'"version":%d' % version, 1))
        return Player(Recording(path), rules)

    return player


# --- Causality -------------------------------------------------------------------------------------------


def test_what_was_received_before_anything_was_sent_is_due_at_once(tape, play):
    player = play(tape.connection(("received", "hello"), ("received", b"\x00"), ("sent", "a"), ("received", "b")))
    playback = player.dial(URL)
    assert playback.deliver(MANY) == ["hello", b"\x00"]
    assert playback.deliver(MANY) == []


def test_what_was_received_after_a_message_waits_for_it(tape, play):
    player = play(tape.connection(("sent", "a"), ("received", "1"), ("sent", "b"), ("sent", "c"), ("received", "2")))
    playback = player.dial(URL)
    assert playback.deliver(MANY) == []
    playback.sent("a")
    assert playback.deliver(MANY) == ["1"]
    playback.sent("b")
    assert playback.deliver(MANY) == []
    playback.sent("c")
    assert playback.deliver(MANY) == ["2"]


def test_a_client_may_send_before_it_reads(tape, play):
    player = play(tape.connection(("sent", "a"), ("received", "1"), ("sent", "b"), ("received", "2")))
    playback = player.dial(URL)
    playback.sent("a")
    playback.sent("b")
    assert playback.deliver(MANY) == ["1", "2"]


def test_no_more_than_the_limit_is_delivered_at_a_time(tape, play):
    player = play(tape.connection(*[("received", str(number)) for number in range(5)]))
    playback = player.dial(URL)
    assert [playback.deliver(2), playback.deliver(2), playback.deliver(2)] == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
def test_no_more_than_the_limit_is_delivered_over_what_the_client_sent_early(tape, play, limit):
    before, after = [("received", one) for one in "abc"], [("received", one) for one in "def"]
    playback = play(tape.connection(*before, ("sent", "x"), *after)).dial(URL)
    playback.sent("x")
    messages = list("abcdef")
    expected = [messages[start : start + limit] for start in range(0, 6, limit)]
    assert list(iter(lambda: playback.deliver(limit), [])) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_no_more_than_the_limit_is_delivered_of_what_several_recordings_have(tape, play, limit):
    for symbol in ("x", "y"):
        tape.connection(*[("received", message) for message in ("1", "2", "3", symbol, symbol)], ("sent", symbol))
    playback = play(tape).dial(URL)
    messages = ["1", "2", "3", "x", "x"]
    expected = [messages[start : start + limit] for start in range(0, 5, limit)]
    assert list(iter(lambda: playback.deliver(limit), [])) == expected


def test_the_gap_is_from_the_last_message_that_several_recordings_have(tape, play):
    for symbol in ("x", "y"):
        tape.connection(*[("received", message) for message in "123"], ("sent", symbol))
    playback = play(tape).dial(URL)
    playback.deliver(2)
    assert round(playback.gap() * 1000) == 1


def test_gap_and_patience_are_from_the_last_event_and_from_the_last_message_of_the_client(tape, play):
    script = [
        ("received", "1"),
        ("received", "2"),
        ("sent", "a"),
        ("received", "3"),
        ("received", "4"),
        ("sent", "b"),
    ]
    playback = play(tape.connection(*script)).dial(URL)  # a millisecond from one to the next
    found = []
    for act in (None, 1, 1, "a", 1, 1, "b"):
        if isinstance(act, int):
            playback.deliver(act)
        elif act is not None:
            playback.sent(act)
        found.append((round(playback.gap() * 1000), round(playback.patience() * 1000)))
    assert found == [(1, 1), (1, 2), (1, 3), (1, 1), (1, 2), (1, 3), (1, 1)]


def test_a_message_more_than_recorded_is_told_of_where_the_recording_stands(tape, play):
    playback = play(tape.connection(*[("received", str(number)) for number in range(5)])).dial(URL)
    playback.deliver(2)
    with pytest.raises(CassetteMismatch) as caught:
        playback.sent("x")
    assert caught.value.line == 6


def test_waiting_names_the_line_and_the_recorded_gap(tape, play):
    player = play(tape.connection(("received", "1"), ("sent", "a"), ("received", "2")))
    playback = player.dial(URL)
    playback.deliver(MANY)
    waiting = playback.waiting()
    assert (waiting.closed, waiting.line) == (None, 5)
    assert playback.gap() == pytest.approx(0.001)
    playback.sent("a")
    playback.deliver(MANY)
    assert (playback.waiting().closed, playback.waiting().line) == (None, 7)


@pytest.mark.parametrize(("by", "code"), [("server", 1012), ("network", 1006)])
def test_an_end_that_is_not_the_client_s_is_due_after_the_last_message(tape, play, by, code):
    playback = play(tape.connection(("received", "1"), by=by, code=code)).dial(URL)
    assert playback.deliver(MANY) == ["1"]
    assert (playback.waiting().closed.by, playback.waiting().closed.code) == (by, code)


# --- Causality across connections ------------------------------------------------------------------------


@pytest.fixture
def trading(tape: Tape) -> Tape:
    """Fills arrive on connection 1 for orders that are sent on connection 2, and both are closed by the server."""
    fills, orders = tape.dial(), tape.dial()
    tape.opened(fills).opened(orders).sent(fills, "subscribe").received(fills, "subscribed")
    tape.sent(orders, "buy").received(fills, "bought").sent(orders, "sell").received(fills, "sold")
    return tape.received(orders, "done").closed(orders, "server").closed(fills, "server")


def test_what_was_received_after_a_message_on_another_connection_waits_for_it(trading, play):
    player = play(trading)
    fills, orders = player.dial(URL), player.dial(URL)
    assert conversation(fills, "subscribe") == ["subscribed"]
    orders.sent("buy")
    assert (fills.deliver(MANY), fills.deliver(MANY)) == (["bought"], [])
    orders.sent("sell")
    assert fills.deliver(MANY) == ["sold"]


def test_a_client_that_is_ahead_with_another_connection_waits_for_nothing(trading, play):
    player = play(trading)
    fills, orders = player.dial(URL), player.dial(URL)
    fills.sent("subscribe")
    orders.sent("buy")
    orders.sent("sell")
    assert fills.deliver(MANY) == ["subscribed", "bought", "sold"]


def test_a_connection_that_is_not_dialled_yet_is_waited_for(trading, play):
    player = play(trading)
    fills = player.dial(URL)
    assert conversation(fills, "subscribe") == []
    assert fills.blocked
    player.dial(URL)
    assert fills.deliver(MANY) == ["subscribed"]


def test_in_version_1_only_what_it_sends_is_waited_for(trading, play):
    fills = play(trading, version=1).dial(URL)
    assert conversation(fills, "subscribe") == ["subscribed"]
    assert fills.blocked
    assert fills.expectation() == "the client sends on connection 2 what it sends on line 8"


def test_the_close_of_the_server_waits_too(tape, play):
    first, second = tape.dial(), tape.dial()
    tape.opened(first).opened(second).sent(first, "x").sent(second, "y").closed(first, "server", 1012).closed(second)
    player = play(tape)
    closing, sending = player.dial(URL), player.dial(URL)
    closing.sent("x")
    assert closing.waiting().closed is None
    sending.sent("y")
    assert closing.waiting().closed.code == 1012


def test_the_close_of_the_client_waits_for_nobody(tape, play):
    first, second = tape.dial(), tape.dial()
    tape.opened(first).opened(second).sent(first, "x").sent(second, "y").closed(first).closed(second)
    playback = play(tape).dial(URL)
    playback.sent("x")
    assert playback.expectation() == "the client closes the connection"


def test_the_wait_for_another_connection_names_it_and_the_line(trading, play):
    player = play(trading)
    fills = player.dial(URL)
    conversation(fills, "subscribe")
    assert fills.expectation() == f"the client dials {URL}, connection 2, which stands on line 3"
    player.dial(URL)
    assert fills.deliver(MANY) == ["subscribed"]
    assert fills.expectation() == "the client sends on connection 2 what it sends on line 8"


@pytest.fixture
def watching(tape: Tape) -> Tape:
    """What arrives on the last connection waits for ``auth`` on the two before it, which are alike until ``x``."""
    conns = [tape.dial(), tape.dial()]
    watch = tape.dial(f"{URL}?watch")
    for conn in (*conns, watch):
        tape.opened(conn)
    for conn in conns:
        tape.sent(conn, "auth").received(watch, f"{conn} is there")
    for conn, symbol in zip(conns, ("x", "y"), strict=True):
        tape.sent(conn, symbol)
    for conn in (*conns, watch):
        tape.closed(conn)
    return tape


def test_a_claim_that_moves_takes_along_what_its_client_has_sent(watching, play):
    player = play(watching)
    watch, first, second = player.dial(f"{URL}?watch"), player.dial(URL), player.dial(URL)
    first.sent("auth")
    second.sent("auth")
    second.sent("x")
    assert (first.track.connection.number, second.track.connection.number) == (2, 1)
    assert watch.deliver(MANY) == ["1 is there", "2 is there"]


def test_a_connection_whose_claim_has_moved_on_is_waited_for_again(watching, play):
    player = play(watching)
    watch, first = player.dial(f"{URL}?watch"), player.dial(URL)
    first.sent("auth")
    first.sent("y")
    assert watch.deliver(MANY) == []
    player.dial(URL).sent("auth")
    assert watch.deliver(MANY) == ["1 is there", "2 is there"]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_in_version_1_connections_that_were_never_open_together_do_not_wait_for_each_other(tape, play, order):
    for symbol in ("a", "b"):
        tape.connection(("sent", symbol), ("received", f"book of {symbol}"))
    player = play(tape, version=1)
    playbacks = [player.dial(URL), player.dial(URL)]
    assert [conversation(playback, symbol) for playback, symbol in zip(playbacks, order, strict=True)] == [
        [f"book of {symbol}"] for symbol in order
    ]


# --- Echoes ----------------------------------------------------------------------------------------------


def test_a_value_that_is_made_up_anew_comes_back_in_the_answer(tape, play):
    playback = play(tape.connection(("sent", '{"id": "old"}'), ("received", '{"id": "old", "n": 1}'))).dial(URL)
    assert conversation(playback, '{"id": "new"}') == ['{"id": "new", "n": 1}']


def test_every_answer_has_the_value_of_its_own_question(tape, play):
    script = [("sent", '{"id": 1}'), ("sent", '{"id": 2}'), ("received", '{"id": 2}'), ("received", '{"id": 1}')]
    playback = play(tape.connection(*script)).dial(URL)
    assert conversation(playback, '{"id": 2}', '{"id": 3}') == ['{"id": 3}', '{"id": 2}']


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_identical_connections_that_are_open_at_once_get_their_own_values(tape, play, order):
    conns = [tape.dial(), tape.dial()]
    for conn in conns:
        tape.opened(conn)
    for conn in conns:
        tape.sent(conn, f'{{"id": "recorded-{conn}"}}')
    for conn in conns:
        tape.received(conn, f'{{"id": "recorded-{conn}", "ok": true}}')
    for conn in conns:
        tape.closed(conn)
    player = play(tape)
    playbacks = [player.dial(URL), player.dial(URL)]
    for number in order:
        playbacks[number].sent(f'{{"id": "now-{number}"}}')
    assert [playback.deliver(MANY) for playback in playbacks] == [
        ['{"id": "now-0", "ok": true}'],
        ['{"id": "now-1", "ok": true}'],
    ]
    assert player.unplayed() is None


def test_a_value_comes_back_also_where_several_recordings_fit(tape, play):
    for symbol in ("x", "y"):
        tape.connection(("sent", '{"id": 1}'), ("received", '{"id": 1}'), ("sent", symbol))
    playback = play(tape).dial(URL)
    assert conversation(playback, '{"id": 2}') == ['{"id": 2}']
    playback.sent("y")
    assert playback.track.connection.number == 2


# --- The end ---------------------------------------------------------------------------------------------


def test_another_close_code_of_the_client_is_a_mismatch(tape, play):
    player = play(tape.connection(("sent", "a"), code=1000))
    playback = player.dial(URL)
    playback.sent("a")
    error = playback.closed(4123)
    assert type(error) is CassetteMismatch
    assert str(error) == (
        f"{player.recording.path}:5: the client closed connection 1 with 4123, expected 1000\n"
        "record it again: pytest --again"
    )
    assert (error.path, error.line) == (player.recording.path, 5)


@pytest.mark.parametrize(
    ("by", "recorded", "code"),
    [
        ("client", 1000, 1000),
        ("client", 4123, 4123),
        *[("client", 1000, code) for code in (1005, 1006)],
        *[("client", code, 1000) for code in (1005, 1006)],
        ("server", 1012, 1000),
        ("network", 1006, 4123),
    ],
)
def test_close_codes_that_travelled_from_client_to_client_are_compared_and_no_others(tape, play, by, recorded, code):
    playback = play(tape.connection(("sent", "a"), by=by, code=recorded)).dial(URL)
    playback.sent("a")
    assert playback.closed(code) is None


@pytest.mark.parametrize("refuse", [True, False])
def test_a_dial_that_became_no_connection_has_no_close_to_compare(tape, play, refuse):
    conn = tape.dial()
    playback = play(tape.refused(conn) if refuse else tape.rejected(conn, 401, {}, "")).dial(URL)
    assert playback.closed(1006) is playback.closed(1000) is None


@pytest.mark.parametrize("strict", [True, False])
def test_a_playback_says_whether_everything_must_be_used_up(tape, play, strict):
    assert play(tape.connection(), strict=strict).dial(URL).strict is strict


# --- Matching --------------------------------------------------------------------------------------------


def test_a_mismatch_says_expected_actual_paths_place_and_command(tape, play):
    player = play(tape.connection(("sent", '{"depth": 50, "symbol": "ETH/USDT", "id": 1}')))
    playback = player.dial(URL)
    with pytest.raises(CassetteMismatch) as caught:
        playback.sent('{"id": 9, "depth": 20, "symbol": "ETH/USDT"}')
    path = player.recording.path
    assert str(caught.value) == (
        f"{path}:4: the client sent another message than the recording expects\n"
        """  expected: '{"depth": 50, "symbol": "ETH/USDT", "id": 1}'\n"""
        """  actual:   '{"id": 9, "depth": 20, "symbol": "ETH/USDT"}'\n"""
        "  depth: expected 50, actual 20\n"
        "record it again: pytest --again"
    )
    assert (caught.value.path, caught.value.line) == (path, 4)


def test_a_message_more_than_recorded_is_a_mismatch(tape, play):
    playback = play(tape.connection(("sent", "a"))).dial(URL)
    playback.sent("a")
    with pytest.raises(CassetteMismatch, match="connection 1, where nothing more is recorded as sent\n  actual: 'b'"):
        playback.sent("b")


def test_messages_in_another_order_are_a_mismatch(tape, play):
    playback = play(tape.connection(("sent", "a"), ("sent", "b"))).dial(URL)
    with pytest.raises(CassetteMismatch, match="expected: 'a'"):
        playback.sent("b")


def test_binary_messages_match_to_the_byte(tape, play):
    playback = play(tape.connection(("sent", b"\x00\x01"), ("sent", b"\x02"))).dial(URL)
    playback.sent(b"\x00\x01")
    with pytest.raises(CassetteMismatch):
        playback.sent(b"\x03")


def test_what_the_client_sends_is_redacted_as_it_was_recorded_and_in_the_message(tape, play):
    redactor = Redactor({"a-long-secret": "connex-recorded-value"})
    playback = play(tape.connection(("sent", "auth connex-recorded-value"), ("sent", "x")), redactor=redactor).dial(
        URL
    )
    playback.sent("auth a-long-secret")
    with pytest.raises(CassetteMismatch) as caught:
        playback.sent("a-long-secret")
    assert "a-long-secret" not in str(caught.value)
    assert "actual:   'connex-recorded-value'" in str(caught.value)


# --- Claims ----------------------------------------------------------------------------------------------


def test_identical_dials_become_the_recorded_ones_in_their_order(tape, play):
    tape.connection(("sent", "a"), ("received", "1")).connection(("sent", "a"), ("received", "2"))
    player = play(tape)
    assert [conversation(player.dial(URL), "a") for _ in range(2)] == [["1"], ["2"]]


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_identical_code_in_two_tasks_gets_its_own_frames_in_either_order(tape, play, order):
    for symbol in ("x", "y"):
        tape.connection(("received", "welcome"), ("sent", symbol), ("received", f"book of {symbol}"))
    player = play(tape)
    playbacks = {symbol: player.dial(URL) for symbol in order}
    delivered = [[playback.deliver(MANY) for playback in playbacks.values()]]
    for symbol in order:
        playbacks[symbol].sent(symbol)
        delivered.append([playbacks["x"].deliver(MANY), playbacks["y"].deliver(MANY)])
    x_first = [[["welcome"], []], [["book of x"], ["welcome"]], [[], ["book of y"]]]
    y_first = [[["welcome"], []], [["welcome"], []], [["book of x"], ["book of y"]]]
    assert delivered == (x_first if order[0] == "x" else y_first)
    assert player.unplayed() is None


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_in_version_1_identical_code_in_two_tasks_gets_its_own_frames_at_once(tape, play, order):
    for symbol in ("x", "y"):
        tape.connection(("received", "welcome"), ("sent", symbol), ("received", f"book of {symbol}"))
    player = play(tape, version=1)
    playbacks = {symbol: player.dial(URL) for symbol in order}
    assert all(playback.deliver(MANY) == ["welcome"] for playback in playbacks.values())
    assert {symbol: conversation(playback, symbol) for symbol, playback in playbacks.items()} == {
        "x": ["book of x"],
        "y": ["book of y"],
    }
    assert player.unplayed() is None


@pytest.mark.parametrize("order", [("y", "x"), ("x", "y")])
def test_messages_bind_playbacks_in_whatever_order_they_are_sent(tape, play, order):
    for symbol in ("x", "y"):
        tape.connection(("sent", "auth"), ("received", "ok"), ("sent", symbol), ("received", f"book of {symbol}"))
    player = play(tape)
    first, second = player.dial(URL), player.dial(URL)
    first.sent("auth")
    second.sent("auth")
    second.sent(order[0])
    first.sent(order[1])
    assert second.deliver(MANY) == ["ok", f"book of {order[0]}"]
    assert first.deliver(MANY) == ["ok", f"book of {order[1]}"]
    assert player.unplayed() is None


def test_differing_deliveries_bind_a_playback(tape, play):
    tape.connection(("received", "session 1"), ("sent", "x")).connection(("received", "session 2"), ("sent", "y"))
    player = play(tape)
    first, second = player.dial(URL), player.dial(URL)
    assert second.deliver(MANY) == []
    assert first.deliver(MANY) == ["session 1"]
    first.sent("x")
    assert second.deliver(MANY) == ["session 2"]
    with pytest.raises(CassetteMismatch):
        second.sent("x")


@pytest.mark.parametrize("other", [{"headers": {"X-Node": "2"}}, {"subprotocol": "v1"}])
def test_a_playback_stays_with_the_answer_that_its_client_got(tape, play, other):
    first, second = tape.dial(), tape.dial()
    tape.opened(first, headers={"X-Node": "1"}).sent(first, "x").closed(first)
    tape.opened(second, **{"headers": {"X-Node": "1"}, **other}).sent(second, "y").closed(second)
    playback = play(tape).dial(URL)
    assert playback.answer.headers == {"X-Node": "1"}
    with pytest.raises(CassetteMismatch, match="expected: 'x'"):
        playback.sent("y")


@pytest.mark.parametrize("first_sends", [True, False])
def test_a_client_that_closes_where_another_sends_is_told_apart_by_what_is_sent(tape, play, first_sends):
    """Whichever was dialled first when they were recorded, and whichever is now."""
    tape.connection(("received", "welcome")).connection(("received", "welcome"), ("sent", "x"))
    player = play(tape)
    playbacks = [player.dial(URL), player.dial(URL)]
    assert [playback.deliver(MANY) for playback in playbacks] == [["welcome"], ["welcome"]]
    sending, closing = playbacks if first_sends else reversed(playbacks)
    sending.sent("x")
    assert closing.closed(1000) is None
    assert (sending.track.connection.number, closing.track.connection.number) == (2, 1)
    assert player.unplayed() is None


def test_two_playbacks_never_end_on_one_recorded_connection(tape, play):
    tape.connection(("sent", "x")).connection(("sent", "y"))
    player = play(tape)
    first, second = player.dial(URL), player.dial(URL)
    first.sent("x")
    with pytest.raises(CassetteMismatch):
        second.sent("x")
    assert {first.track.connection.number, second.track.connection.number} == {1, 2}


@pytest.mark.parametrize("sent", [("x", "y", "z"), ("z", "y", "x"), ("y", "z", "x"), ("z", "x", "y")])
def test_three_playbacks_share_three_recordings_however_they_show_themselves(tape, play, sent):
    for symbol in "xyz":
        tape.connection(("sent", symbol), ("received", symbol * 3))
    player = play(tape)
    playbacks = [player.dial(URL) for _ in sent]
    for playback, symbol in zip(playbacks, sent, strict=True):
        playback.sent(symbol)
    assert [playback.deliver(MANY) for playback in playbacks] == [[symbol * 3] for symbol in sent]
    assert player.unplayed() is None


def test_a_late_dial_moves_the_tentative_claim_of_an_earlier_one(tape, play):
    """The first playback fits both recordings, the second dial only one of them."""
    tape.connection(("sent", "x"), url=f"{URL}?a=1").connection(("sent", "y"), url=f"{URL}?a=1")
    player = play(tape)
    first = player.dial(f"{URL}?a=1")
    second = player.dial(f"{URL}?a=1")
    second.sent("x")
    first.sent("y")
    assert (first.track.connection.number, second.track.connection.number) == (2, 1)


def test_a_rejected_dial_is_followed_by_the_open_one(tape, play):
    conn = tape.dial()
    tape.rejected(conn, 429, {"Retry-After": "2"}, "slow down")
    tape.connection(("sent", "a"), ("received", "1"))
    player = play(tape)
    rejected = player.dial(URL)
    assert isinstance(rejected.answer, Rejected)
    assert (rejected.answer.status, rejected.answer.headers, rejected.answer.body) == (
        429, {"Retry-After": "2"}, "slow down",
    )  # fmt: skip
    accepted = player.dial(URL)
    assert isinstance(accepted.answer, Open)
    assert conversation(accepted, "a") == ["1"]
    assert player.unplayed() is None


def test_a_refused_dial_is_answered_as_it_was(tape, play):
    conn = tape.dial()
    tape.refused(conn)
    player = play(tape)
    answer = player.dial(URL).answer
    assert isinstance(answer, Refused)
    assert (answer.error, answer.errno) == ("ConnectionRefusedError", 111)
    assert player.unplayed() is None


@pytest.mark.parametrize(
    ("recorded", "url", "fits"),
    [
        ("wss://ws.connex.invalid", "wss://ws.connex.invalid/", True),
        ("wss://ws.connex.invalid/?a=1", "wss://ws.connex.invalid?a=1", True),
        ("wss://ws.connex.invalid/", "wss://ws.connex.invalid/other", False),
        ("wss://ws.connex.invalid/?a=1", "wss://ws.connex.invalid/?a=2", False),
        ("wss://ws.connex.invalid/", "wss://other.invalid/", False),
    ],
)
def test_a_dial_fits_by_host_path_and_query(tape, play, recorded, url, fits):
    player = play(tape.connection(url=recorded))
    if fits:
        assert player.dial(url).track.connection.number == 1
    else:
        with pytest.raises(CassetteMismatch, match="no recorded connection is left"):
            player.dial(url)


def test_a_dial_fits_by_its_offered_subprotocols_in_order(tape, play):
    conn = tape.dial(subprotocols=["v2", "v1"])
    tape.opened(conn, subprotocol="v1").closed(conn)
    player = play(tape)
    for offered in ([], ["v1"], ["v1", "v2"]):
        with pytest.raises(CassetteMismatch):
            player.dial(URL, offered)
    assert player.dial(URL, ["v2", "v1"]).answer.subprotocol == "v1"


def test_a_dial_too_many_lists_what_is_recorded(tape, play):
    player = play(tape.connection())
    player.dial(URL)
    with pytest.raises(CassetteMismatch) as caught:
        player.dial(URL, ["v1"])
    assert str(caught.value) == (
        f"{player.recording.path}:2: no recorded connection is left for wss://ws.connex.invalid/ ['v1']\n"
        "recorded are:\n  line 2: wss://ws.connex.invalid/ \nrecord it again: pytest --again"
    )


def test_a_dial_too_many_is_one_also_where_no_claim_is_settled(tape, play):
    player = play(tape.connection(("sent", "x")).connection(("sent", "y")))
    playbacks = [player.dial(URL), player.dial(URL)]
    with pytest.raises(CassetteMismatch, match="no recorded connection is left"):
        player.dial(URL)
    assert sorted(playback.track.connection.number for playback in playbacks) == [1, 2]


@pytest.mark.parametrize("opened_first", [True, False])
def test_an_open_connection_is_never_a_rejected_one(tape, play, opened_first):
    for opens in (opened_first, not opened_first):
        if opens:
            tape.connection(("sent", "a"))
        else:
            tape.rejected(tape.dial(), 429, {}, "")
    player = play(tape)
    assert [isinstance(player.dial(URL).answer, Open) for _ in range(2)] == [opened_first, not opened_first]


def test_an_end_of_the_server_tells_recordings_apart(tape, play):
    tape.connection(("received", "1"), by="server", code=1012).connection(("received", "1"), ("received", "2"))
    player = play(tape)
    first, second = player.dial(URL), player.dial(URL)
    assert (first.deliver(MANY), first.waiting().closed.code) == (["1"], 1012)
    assert second.deliver(MANY) == ["1", "2"]


def test_a_dial_of_an_empty_recording_is_a_mismatch(tape, play):
    with pytest.raises(CassetteMismatch, match="recorded are: none"):
        play(tape).dial(URL)


# --- What is left ----------------------------------------------------------------------------------------


def test_a_connection_never_opened_and_a_message_never_sent_are_unplayed(tape, play):
    tape.connection(("sent", "a"), ("sent", "b")).connection(("sent", "c"))
    player = play(tape)
    player.dial(URL).sent("a")
    error = player.unplayed()
    assert str(error) == (
        f"{player.recording.path}:5: the test left a part of its recording unused:\n"
        "  line 5: never sent: 'b'\n  line 7: connection 2 was never opened\nrecord it again: pytest --again"
    )
    assert (error.path, error.line) == (player.recording.path, 5)


def test_everything_that_is_unplayed_is_listed(tape, play):
    tape.connection(url=f"{URL}?a=1").connection(("sent", "b"))
    player = play(tape)
    player.dial(URL)
    assert "line 2: connection 1 was never opened\n  line 7: never sent: 'b'" in str(player.unplayed())


def test_received_messages_after_the_last_sent_one_may_stay_unread(tape, play):
    player = play(tape.connection(("sent", "a"), ("received", "1"), ("received", "2")))
    playback = player.dial(URL)
    playback.sent("a")
    playback.deliver(1)
    assert player.unplayed() is None


def test_strict_forbids_unread_messages(tape, play):
    player = play(tape.connection(("sent", "a"), ("received", "1"), ("received", "2")), strict=True)
    playback = player.dial(URL)
    playback.sent("a")
    playback.deliver(MANY)
    playback.read()
    error = player.unplayed()
    assert "line 7: 1 received messages were never read on connection 1" in str(error)
    playback.read()
    assert player.unplayed() is None


def test_what_is_read_before_a_playback_is_bound_counts_for_whatever_it_becomes(tape, play):
    for symbol in ("x", "y"):
        tape.connection(("received", "welcome"), ("sent", symbol))
    player = play(tape, strict=True)
    for symbol in ("y", "x"):
        playback = player.dial(URL)
        assert playback.deliver(MANY) == ["welcome"]
        playback.read()
        playback.sent(symbol)
    assert player.unplayed() is None


def test_an_unused_recording_is_unplayed_and_an_empty_one_is_not(tape, play):
    assert play(tape).unplayed() is None
    player = play(tape.connection())
    assert "connection 1 was never opened" in str(player.unplayed())


def test_a_long_recording_is_delivered_whole_in_batches(tape, play):
    player = play(tape.connection(*[("received", f"frame {number}") for number in range(3_000)]))
    playback = player.dial(URL)
    batches = iter(lambda: playback.deliver(256), [])
    assert [message for batch in batches for message in batch] == [f"frame {number}" for number in range(3_000)]


# --- A connection of a shared fixture ----------------------------------------------------------------------

FEED = "@fixture.session.feed"


def joined(tape: Tape, *script: tuple[str, str], number: int = 1) -> Tape:
    """What a test said and was given on a connection of a fixture."""
    conn = tape.dial()
    tape.events[-1] = replace(tape.events[-1], of=FEED, number=number)
    tape.opened(conn)
    for kind, message in script:
        getattr(tape, kind)(conn, message)
    return tape.closed(conn, "test", 1006)


def test_a_test_goes_on_with_a_connection_of_a_fixture(tape, play):
    player = play(joined(tape, ("sent", "a"), ("received", "1")))
    playback = player.join(FEED, 1)
    assert conversation(playback, "a") == ["1"]
    assert playback.ends_with_test
    assert player.unplayed() is None


@pytest.mark.parametrize(("fixture", "number"), [("@fixture.session.other", 1), (FEED, 2)])
def test_of_another_connection_nothing_is_recorded(tape, play, fixture, number):
    assert play(joined(tape)).join(fixture, number) is None


def test_it_goes_on_once(tape, play):
    player = play(joined(tape))
    assert player.join(FEED, 1) is not None
    assert player.join(FEED, 1) is None


def test_no_dial_becomes_a_connection_of_a_fixture(tape, play):
    player = play(joined(tape))
    with pytest.raises(CassetteMismatch, match="no recorded connection is left for"):
        player.dial(URL)


def test_what_a_test_did_not_say_on_it_is_unplayed(tape, play):
    player = play(joined(tape, ("sent", "a")))
    assert "connection 1 was never opened" in str(player.unplayed())
    player.join(FEED, 1)
    assert "never sent: 'a'" in str(player.unplayed())


def test_the_order_of_the_tape_holds_for_it_too(tape, play):
    own = tape.dial()
    tape.opened(own).sent(own, "buy")
    player = play(joined(tape, ("received", "bought")).closed(own))
    fills = player.join(FEED, 1)
    assert fills.deliver(MANY) == []
    assert conversation(player.dial(URL), "buy") == []
    assert fills.deliver(MANY) == ["bought"]
