"""What is under way on connections, and which of them lead out of a loop."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pytest_connex import loopback
from pytest_connex.loopback import CAN_TELL, Connections

tells = pytest.mark.skipif(not CAN_TELL, reason="this system does not say what is under way")

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds bytes back on demand")

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def connections() -> Iterator[Connections]:
    known = Connections()
    yield known
    known.close()


@pytest.fixture(params=["127.0.0.1", "::1", "mapped"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both ends of a connection."""
    host, family = request.param, socket.AF_INET if request.param == "127.0.0.1" else socket.AF_INET6
    listening = socket.create_server(
        ("::" if host == "mapped" else host, 0), family=family, dualstack_ipv6=host == "mapped"
    )
    with listening:
        address = ("127.0.0.1" if host == "mapped" else host, listening.getsockname()[1])
        near = socket.create_connection(address)
        far, _ = listening.accept()
    with near, far:
        near.setblocking(False)
        yield near, far


def fill(sock: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(100_000))


def test_both_ends_in_the_loop_do_not_lead_out(connections, pair):
    near, far = pair
    connections.add(near.fileno())
    assert connections.lead_out()
    connections.add(far.fileno())
    assert not connections.lead_out()
    assert len(connections) == 2


def test_an_end_whose_other_end_has_been_closed_does_not_lead_out(connections, pair):
    near, far = pair
    for sock in pair:
        connections.add(sock.fileno())
    near.close()
    connections.under_way()
    connections.add(far.fileno())
    assert not connections.lead_out()


def test_an_end_that_is_closed_leads_nowhere(connections, pair):
    near, _ = pair
    connections.add(near.fileno())
    near.close()
    assert not connections.lead_out()
    assert len(connections) == 0


def test_what_is_no_connection_is_left_alone(connections, tmp_path):
    with (
        open(tmp_path / "file", "w") as file,
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket() as idle,
    ):
        for fileno in (file.fileno(), listening.fileno(), idle.fileno()):
            connections.add(fileno)
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(("127.0.0.1", 9))
        for sock in (ours, datagrams):
            connections.add(sock.fileno())
    assert len(connections) == 0


def test_a_number_that_is_used_again_is_another_end(connections, pair):
    near, far = pair
    connections.add(near.fileno())
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as other,
    ):
        os.dup2(other.fileno(), near.fileno())
        connections.add(near.fileno())
        connections.add(far.fileno())  # its other end is gone
        assert len(connections) == 2
        assert connections.lead_out()


def test_nothing_is_under_way_where_nothing_was_sent(connections, pair):
    for sock in pair:
        connections.add(sock.fileno())
    assert connections.under_way() == {}


def test_what_has_arrived_is_not_under_way_although_nobody_has_read_it(connections, pair):
    near, far = pair
    for sock in pair:
        connections.add(sock.fileno())
    for _ in range(10):
        near.send(b"question")
        far.recv(10)
        far.send(b"answer")
        assert connections.under_way() == {}
        near.recv(10)


def test_what_has_been_read_is_not_under_way_although_its_receipt_is(connections, pair):
    near, far = pair
    for sock in pair:
        connections.add(sock.fileno())
    for _ in range(10):
        near.send(b"question")
        far.recv(10)
        far.send(b"answer")
        near.recv(10)
        assert connections.under_way() == {}


@tells
def test_what_does_not_fit_is_not_under_way_because_nobody_reads(connections, pair):
    for sock in pair:
        connections.add(sock.fileno())
    fill(pair[0])
    assert connections.under_way() == {}


def cork(sock: socket.socket, on: int) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)


@linux
def test_what_the_kernel_holds_back_is_under_way_until_it_is_sent(connections, pair):
    near, _ = pair
    for sock in pair:
        connections.add(sock.fileno())
    cork(near, 1)
    near.send(b"question")
    assert connections.under_way() == {near.fileno(): 8}
    cork(near, 0)
    assert connections.under_way() == {}


@linux
def test_what_was_given_up_is_left_out_until_it_gets_on(connections, pair):
    near, far = pair
    for sock in pair:
        connections.add(sock.fileno())
    cork(near, 1)
    near.send(b"question")
    connections.give_up(connections.under_way())
    assert connections.under_way() == {}
    cork(near, 0)
    far.recv(10)
    assert connections.under_way() == {}
    cork(near, 1)
    near.send(b"question")
    far.send(b"answer")
    assert connections.under_way() == {near.fileno(): 8}


@tells
def test_the_end_of_a_connection_is_under_way_once_where_the_other_end_is_open(connections, pair):
    near, _ = pair
    for sock in pair:
        connections.add(sock.fileno())
    connections.under_way()
    number = near.fileno()
    near.close()
    assert [connections.under_way() for _ in range(2)] == [{number: 0}, {}]


def test_nothing_is_under_way_where_both_ends_are_closed(connections, pair):
    for sock in pair:
        connections.add(sock.fileno())
    for sock in pair:
        sock.close()
    assert connections.under_way() == {}
    assert len(connections) == 0


# --- Looking only where something was sent ---------------------------------------------------------------


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sockets that were looked at."""
    seen: list[int] = []
    monkeypatch.setattr(loopback, "_unacknowledged", lambda fds: seen.extend(fds) or {})
    return seen


@pytest.mark.parametrize("file", ["there", "another machine's", "not there"])
def test_sockets_are_looked_at_after_packets_only_where_those_are_counted(looked, monkeypatch, tmp_path, file):
    count = tmp_path / "tx_packets"
    monkeypatch.setattr(loopback, "_PACKETS", str(count))
    if file != "not there":
        count.write_text("10\n")
    connections = Connections()
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as near,
    ):
        if file == "there":
            count.write_text("13\n")
        connections.add(near.fileno())
        times = []
        for packets in ("13", "13", "14", "14"):
            if file == "there":
                count.write_text(f"{packets}\n")
            connections.under_way()
            times.append(len(looked))
        connections.close()
    assert times == ([1, 1, 2, 2] if file == "there" else [1, 2, 3, 4])


@pytest.mark.parametrize("count", [0, 7])
def test_sockets_with_something_under_way_are_looked_at_again(monkeypatch, tmp_path, count, pair):
    (tmp_path / "tx_packets").write_text("10\n")
    monkeypatch.setattr(loopback, "_PACKETS", str(tmp_path / "tx_packets"))
    monkeypatch.setattr(loopback, "_unacknowledged", lambda fds: dict.fromkeys(fds, count) if count else {})
    connections = Connections()
    (tmp_path / "tx_packets").write_text("11\n")
    connections.add(pair[0].fileno())
    found = {pair[0].fileno(): count} if count else {}
    assert [connections.under_way() for _ in range(2)] == [found, found]
    connections.close()


# --- Other systems ---------------------------------------------------------------------------------------


def test_where_the_system_does_not_tell_nothing_is_said_to_be_under_way(connections, pair, monkeypatch):
    monkeypatch.setattr(loopback, "_unacknowledged", None)
    for sock in pair:
        connections.add(sock.fileno())
    fill(pair[0])
    assert connections.under_way() == {}
