"""Which addresses a recorded run reaches; no test here sends anything beyond this machine."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from pytest_connex.errors import CassetteError, NetworkBlocked
from pytest_connex.plugin.network import UVLOOP_REFUSED, blocked, is_uvloop, nothing_around
from pytest_connex.proxy.whose import at_door

BEYOND = "192.0.2.1"
"""An address for documentation (RFC 5737): nobody answers there."""


def dial(host: str, port: int = 9) -> None:
    """Tell the guard of a dial, without one."""
    sys.audit("socket.connect", None, (host, port))


def is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except NetworkBlocked:
        return True
    return False


# --- Beyond this machine ---------------------------------------------------------------------------------


def test_a_connection_beyond_this_machine_is_refused_with_what_to_do():
    with socket.socket() as ours, blocked((), False), pytest.raises(NetworkBlocked) as caught:
        ours.connect((BEYOND, 9))
    assert str(caught.value) == (
        "a recorded test reached for 192.0.2.1:9: recorded runs have no network. Give the client the URLs of "
        "connex_config, which are recorded and played, or allow the host with "
        "@pytest.mark.block_network(allowed_hosts=[...])"
    )


def test_what_is_refused_is_told_before_whoever_dials_is():
    told: list[CassetteError] = []
    with blocked((), False, told.append), pytest.raises(NetworkBlocked) as caught:
        dial(BEYOND)
    assert told == [caught.value]


def test_within_another_it_is_the_inner_one_that_is_told():
    inner: list[CassetteError] = []
    outer: list[CassetteError] = []
    with blocked((), False, outer.append):
        with blocked((), False, inner.append):
            assert is_refused(lambda: dial(BEYOND))
        assert is_refused(lambda: dial("192.0.2.2"))
    assert [len(inner), len(outer)] == [1, 1]
    assert "192.0.2.2" in str(outer[0])


def test_so_is_one_that_returns_its_error():
    with socket.socket() as ours, blocked((), False), pytest.raises(NetworkBlocked):
        ours.connect_ex((BEYOND, 9))


def test_so_is_one_over_ipv6():
    with (
        socket.socket(socket.AF_INET6) as ours,
        blocked((), False),
        pytest.raises(NetworkBlocked, match="2001:db8::1"),
    ):
        ours.connect(("2001:db8::1", 9, 0, 0))


def test_a_datagram_is_refused():
    with socket.socket(type=socket.SOCK_DGRAM) as ours, blocked((), False), pytest.raises(NetworkBlocked):
        ours.sendto(b"x", (BEYOND, 53))


def test_a_datagram_in_parts_is_refused():
    with socket.socket(type=socket.SOCK_DGRAM) as ours, blocked((), False), pytest.raises(NetworkBlocked):
        ours.sendmsg([b"x"], [], 0, (BEYOND, 53))


@pytest.mark.parametrize(
    "lookup",
    [
        lambda name: socket.getaddrinfo(name, 443),
        socket.gethostbyname,
        socket.gethostbyname_ex,
        socket.gethostbyaddr,
    ],
    ids=["getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"],
)
def test_a_name_is_not_looked_up(lookup):
    with blocked((), False), pytest.raises(NetworkBlocked, match="reached for gateway.invalid: recorded runs"):
        lookup("gateway.invalid")


def test_a_name_in_bytes_is_not_looked_up():
    with blocked((), False), pytest.raises(NetworkBlocked, match="reached for gateway.invalid:"):
        socket.getaddrinfo(b"gateway.invalid", 443)


def test_a_thread_is_refused_too():
    raised: list[bool] = []
    with blocked((), False):
        thread = threading.Thread(target=lambda: raised.append(is_refused(lambda: dial(BEYOND))))
        thread.start()
        thread.join()
    assert raised == [True]


async def test_a_stream_of_asyncio_is_refused():
    with blocked((), False), pytest.raises(NetworkBlocked):
        await asyncio.open_connection(BEYOND, 9)


async def test_a_name_that_asyncio_looks_up_in_a_thread_is_refused():
    with blocked((), False), pytest.raises(NetworkBlocked):
        await asyncio.open_connection("gateway.invalid", 443)


# --- This machine, and what is allowed -------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_this_machine_is_free(host):
    with blocked((), False):
        dial(host)


def test_a_server_on_this_machine_is_reached():
    with blocked((), False), socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as ours:
            assert ours.getpeername() == server.getsockname()


def test_a_datagram_on_this_machine_arrives():
    with blocked((), False), socket.socket(type=socket.SOCK_DGRAM) as theirs, socket.socket(type=2) as ours:
        theirs.bind(("127.0.0.1", 0))
        ours.sendto(b"hello", theirs.getsockname())
        assert theirs.recv(10) == b"hello"


def test_localhost_is_looked_up():
    with blocked((), False):
        assert socket.gethostbyname("localhost") == "127.0.0.1"


def test_no_name_is_this_machine():
    with blocked((), False):
        assert socket.getaddrinfo(None, 80, type=socket.SOCK_STREAM)


def test_unix_sockets_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with blocked((), False), socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as ours:
        server.bind("here")
        server.listen()
        ours.connect("here")


def test_socket_pairs_are_free():
    with blocked((), False):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(b"hello")
            assert theirs.recv(10) == b"hello"


@pytest.mark.parametrize(
    ("allowed", "host", "refused"),
    [
        (["192.0.2.1"], "192.0.2.1", False),
        (["192.0.2.1"], "192.0.2.2", True),
        ([r"192\.0\.2\..*"], "192.0.2.77", False),
        (["nothing", "gateway"], "gateway.invalid", False),
        (["gateway"], "the-gateway.invalid", True),
        (["gateway$"], "gateway.invalid", True),
    ],
)
def test_allowed_hosts_are_patterns_from_the_beginning_of_a_host(allowed, host, refused):
    with blocked(allowed, False):
        assert is_refused(lambda: dial(host)) is refused


# --- When ------------------------------------------------------------------------------------------------


def test_nothing_is_refused_before_and_after():
    with blocked((), False):
        pass
    dial(BEYOND)


def test_it_ends_with_an_error_of_the_test_too():
    with contextlib.suppress(ValueError), blocked((), False):
        raise ValueError
    dial(BEYOND)


def test_within_another_its_own_hosts_are_allowed_and_then_those_of_the_other_again():
    with blocked(["192.0.2.1"], False):
        with blocked(["192.0.2.2"], False):
            assert [is_refused(lambda: dial("192.0.2.1")), is_refused(lambda: dial("192.0.2.2"))] == [True, False]
        assert [is_refused(lambda: dial("192.0.2.1")), is_refused(lambda: dial("192.0.2.2"))] == [False, True]


def test_other_events_are_none_of_its_business():
    with blocked((), False):
        sys.audit("socket.bind", None, (BEYOND, 9))
        sys.audit("open", BEYOND, "r", 0)


# --- Around the proxy ------------------------------------------------------------------------------------

HERE = {"192.0.2.1:443", "gateway.invalid:443"}


@pytest.fixture
def told() -> Iterator[list[CassetteError]]:
    """What is told of dials while a test is recorded."""
    errors: list[CassetteError] = []
    with nothing_around(lambda: HERE, errors.append):
        yield errors


def test_a_dial_to_an_upstream_that_is_not_the_proxy_s_is_told_and_made(told):
    dial("192.0.2.1", 443)
    [error] = told
    assert str(error) == (
        "this went around the recording: a dial of 192.0.2.1:443. Give the client the URLs of connex_config, or hand "
        "it connex_connect"
    )
    assert not isinstance(error, NetworkBlocked)


@pytest.mark.parametrize("host", ["gateway.invalid", "Gateway.INVALID", "gateway.invalid.", b"gateway.invalid"])
@pytest.mark.parametrize("port", [443, "443", b"443", "https", b"https"])
def test_so_is_a_name_of_one_that_is_looked_up_however_it_is_written(told, host, port):
    sys.audit("socket.getaddrinfo", host, port, 0, 0, 0)
    assert ["gateway.invalid:443" in str(error) for error in told] == [True]


def test_no_host_is_this_machine():
    errors: list[CassetteError] = []
    with nothing_around(lambda: {"localhost:80"}, errors.append):
        sys.audit("socket.getaddrinfo", None, 80, 0, 0, 0)
        sys.audit("socket.getaddrinfo", None, "no service has this name", 0, 0, 0)
    assert len(errors) == 1


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 80), ("192.0.2.2", 443), ("127.0.0.1", 443)])
def test_what_is_no_upstream_may_be_dialled(told, host, port):
    dial(host, port)
    sys.audit("socket.connect", None, "/run/a-socket-of-unix")
    assert told == []


def test_the_proxy_itself_may_dial_an_upstream(told):
    def by_the_proxy() -> None:
        at_door()
        dial("192.0.2.1", 443)

    contextvars.copy_context().run(by_the_proxy)
    thread = threading.Thread(target=dial, args=("192.0.2.1", 443), name="connex-proxy")
    thread.start()
    thread.join()
    assert told == []
    dial("192.0.2.1", 443)
    assert len(told) == 1


def test_upstreams_are_asked_for_when_something_is_dialled():
    known: set[str] = set()
    errors: list[CassetteError] = []
    with nothing_around(lambda: known, errors.append):
        dial("192.0.2.1", 443)
        known.add("192.0.2.1:443")
        dial("192.0.2.1", 443)
    assert len(errors) == 1


def test_afterwards_nothing_is_told(told):
    errors: list[CassetteError] = []
    with nothing_around(lambda: HERE, errors.append):
        pass
    dial("192.0.2.1", 443)
    assert (errors, len(told)) == ([], 1)


# --- uvloop ----------------------------------------------------------------------------------------------


async def nothing() -> None:
    """What uvloop is asked to run."""


def test_a_loop_of_uvloop_is_refused():
    with blocked((), False), pytest.raises(NetworkBlocked) as caught:
        uvloop.new_event_loop()
    assert str(caught.value) == UVLOOP_REFUSED


def test_a_run_on_uvloop_is_refused():
    work = nothing()
    with blocked((), False), pytest.raises(NetworkBlocked):
        uvloop.run(work)
    work.close()


def test_uvloop_is_free_afterwards():
    with blocked((), False):
        pass
    uvloop.new_event_loop().close()
    assert uvloop.run(nothing()) is None


def test_uvloop_may_be_allowed():
    with blocked((), True):
        uvloop.new_event_loop().close()


def test_where_uvloop_is_not_imported_it_stays_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "uvloop")
    with blocked((), False):
        assert "uvloop" not in sys.modules


@pytest.mark.parametrize(("kind", "expected"), [(uvloop.Loop, True), (asyncio.SelectorEventLoop, False)])
def test_loops_of_uvloop_are_known(kind, expected):
    loop = kind()
    loop.close()
    assert is_uvloop(loop) is expected


def test_a_loop_that_was_made_from_uvloop_s_is_known():
    class Mine(uvloop.Loop):
        pass

    loop = Mine()
    loop.close()
    assert is_uvloop(loop)
