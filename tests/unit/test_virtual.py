"""A clock that jumps: the order and the distance of timers stay, the waiting goes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import trustme

from pytest_connex.background import BackgroundLoop
from pytest_connex.loopback import Connections
from pytest_connex.virtual import StandIn, VirtualLoop

from .stopwatch import Stopwatch

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds bytes back on demand")


def run(main: Callable[[], Awaitable[object]]) -> object:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def test_a_sleep_takes_its_full_virtual_time():
    async def main() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(3_600)
        return loop.time() - start

    assert run(main) == pytest.approx(3_600)


def test_decades_pass_without_anybody_waiting():
    run(lambda: asyncio.sleep(10**9))


def test_timers_fire_in_their_order():
    async def main() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (30, 5, 20, 10):
            loop.call_later(delay, fired.append, delay)
        await asyncio.sleep(31)
        return fired

    assert run(main) == [5, 10, 20, 30]


def test_a_timeout_comes_after_what_happens_before_it():
    async def main() -> str:
        async with asyncio.timeout(30):
            await asyncio.sleep(29.999)
        try:
            async with asyncio.timeout(30):
                await asyncio.sleep(30.001)
        except TimeoutError:
            return "timed out"
        return "in time"

    assert run(main) == "timed out"


def test_data_that_is_there_comes_before_any_timer():
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop.call_later(5, theirs.send, b"early")
            async with asyncio.timeout(5.000001):
                return await loop.sock_recv(ours, 10)

    assert run(main) == b"early"


def test_the_clock_stands_still_while_a_thread_works():
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        start, gate = loop.time(), threading.Event()
        threading.Timer(0.05, gate.set).start()
        async with asyncio.timeout(0.001):
            await asyncio.to_thread(gate.wait, 10)
        return "in time", loop.time() - start

    assert run(main) == ("in time", 0.0)


def test_advancing_lets_timers_become_due():
    async def main() -> list[str]:
        fired: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(5, fired.append, "due")
        loop.call_later(8, fired.append, "not yet")
        loop.advance(6)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return fired

    assert run(main) == ["due"]


BEYOND = ("192.0.2.1", 443)


@pytest.mark.parametrize(
    "dial",
    [
        lambda loop, sock: loop.create_connection(asyncio.Protocol, *BEYOND),
        lambda loop, sock: loop.create_connection(asyncio.Protocol, "gateway.invalid", 443),
        lambda loop, sock: loop.create_unix_connection(asyncio.Protocol, "/nowhere"),
        lambda loop, sock: loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=BEYOND),
        lambda loop, sock: loop.sock_connect(sock, BEYOND),
    ],
)
def test_dialling_beyond_this_machine_is_refused_with_what_to_do(dial):
    async def main() -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            await dial(asyncio.get_running_loop(), sock)

    with pytest.raises(RuntimeError, match="a virtual clock cannot wait for a real network.*drop clock="):
        run(main)


# --- Connections within the loop -------------------------------------------------------------------------


@asynccontextmanager
async def echoing(*address: Any, **options: Any) -> AsyncIterator[int]:
    """A server of the loop that returns what it is sent, a line at a time and after ten seconds."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(end := asyncio.Event())
        while line := await reader.readline():
            await asyncio.sleep(10)
            writer.write(line)
        writer.close()
        await writer.wait_closed()
        end.set()

    ended: list[asyncio.Event] = []
    async with await asyncio.start_server(echo, *address, **options) as server:
        yield server.sockets[0].getsockname()[1]
        for end in ended:
            await end.wait()


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> bytes:
    writer.write(line)
    return await reader.readline()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_conversation_takes_the_time_of_its_timers_and_no_other(host):
    async def main() -> list[float]:
        watch, times = Stopwatch(), []
        async with echoing(host, 0) as port:
            reader, writer = await asyncio.open_connection(host, port)
            for _ in range(5):
                async with asyncio.timeout(10.001):
                    assert await echoed(reader, writer, b"tick\n") == b"tick\n"
                times.append(watch.seconds)
            writer.close()
        return times

    assert run(main) == [10, 20, 30, 40, 50]


def test_a_server_for_both_families_serves_the_older_one():
    async def main() -> float:
        watch = Stopwatch()
        listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        async with echoing(sock=listening) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await echoed(reader, writer, b"tick\n")
            await asyncio.sleep(3_600)
            writer.close()
        return watch.seconds

    assert run(main) == 3_610


def test_connections_of_tls_are_connections():
    authority = trustme.CA()
    serving, dialling = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(dialling)

    async def main() -> float:
        watch = Stopwatch()
        async with echoing("localhost", 0, ssl=serving) as port:
            reader, writer = await asyncio.open_connection("localhost", port, ssl=dialling)
            for _ in range(5):
                assert await echoed(reader, writer, b"tick\n") == b"tick\n"
            writer.close()
        return watch.seconds

    assert run(main) == 50


def test_who_waits_in_a_backlog_is_accepted_before_any_time_passes():
    async def main() -> float:
        watch, accepted = Stopwatch(), asyncio.Event()
        async with await asyncio.start_server(
            lambda reader, writer: accepted.set() or writer.close(), "127.0.0.1", 0
        ) as server:
            with socket.create_connection(server.sockets[0].getsockname()):
                async with asyncio.timeout(0.000001):
                    await accepted.wait()
        return watch.seconds

    assert run(main) == 0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no wait end because the machine is slow."""
    monkeypatch.setattr("pytest_connex.virtual._MOMENT", 10.0)


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection that the loop has seen."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    loop = asyncio.get_running_loop()
    with near, far:
        for sock in (near, far):
            sock.setblocking(False)
            loop.add_reader(sock, lambda: None)
            loop.remove_reader(sock)
        yield near, far


@linux
def test_bytes_that_the_kernel_holds_back_arrive_before_any_timer(patient):
    async def main() -> bytes:
        async with connection() as (near, far):
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            near.send(b"held back")
            threading.Timer(0.02, near.setsockopt, (socket.IPPROTO_TCP, socket.TCP_CORK, 0)).start()
            async with asyncio.timeout(5):
                return await asyncio.get_running_loop().sock_recv(far, 10)

    assert run(main) == b"held back"


@linux
def test_bytes_that_wait_for_a_receipt_arrive_before_any_timer(patient):
    async def main() -> list[bytes]:
        async with connection() as (near, far):
            recv = asyncio.get_running_loop().sock_recv
            said = []
            for _ in range(3):  # who answers does not send receipts at once
                near.send(b"question")
                said.append(await recv(far, 10))
                far.send(b"answer")
                said.append(await recv(near, 10))
            near.send(b"one")
            said.append(await recv(far, 10))
            near.send(b"two")
            async with asyncio.timeout(5):
                said.append(await recv(far, 10))
            return said

    assert run(main) == [b"question", b"answer"] * 3 + [b"one", b"two"]


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, int]]:
    """What a loop waited for in vain."""
    told: list[dict[int, int]] = []
    give_up = Connections.give_up
    monkeypatch.setattr("pytest_connex.virtual._MOMENT", 0.001)
    monkeypatch.setattr(Connections, "give_up", lambda self, unread: told.append(unread) or give_up(self, unread))
    return told


def test_who_does_not_read_does_not_stop_time(given_up):
    async def main() -> float:
        watch = Stopwatch()
        async with connection() as (near, _):
            with suppress(BlockingIOError):
                while True:
                    near.send(bytes(100_000))
            for _ in range(1_000):
                await asyncio.sleep(1)
        return watch.seconds

    assert (run(main), given_up) == (1_000, [])


@linux
def test_what_does_not_get_on_is_given_up_once(given_up):
    async def main() -> tuple[float, int]:
        watch = Stopwatch()
        async with connection() as (near, _):
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            near.send(b"held back")
            for _ in range(1_000):
                await asyncio.sleep(1)
            return watch.seconds, near.fileno()

    seconds, fileno = run(main)
    assert (seconds, given_up) == (1_000, [{fileno: 9}])


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_where_the_system_does_not_tell_what_is_under_way_there_is_a_short_wait(monkeypatch, seconds):
    monkeypatch.setattr("pytest_connex.virtual.CAN_TELL", False)
    monkeypatch.setattr("pytest_connex.virtual._MOMENT", 10.0)

    async def main() -> bytes:
        async with connection() as (near, far):
            threading.Timer(seconds, near.send, [b"late"]).start()
            async with asyncio.timeout(5):
                return await asyncio.get_running_loop().sock_recv(far, 10)

    assert run(main) == b"late"


# --- Dials -----------------------------------------------------------------------------------------------


@pytest.fixture
def full() -> Iterator[socket.socket]:
    """A listening socket whose backlog is full: the kernel lets a dial wait."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, socket.socket() as first:
        first.connect(listening.getsockname())
        yield listening


async def dial(listening: socket.socket, seconds: float) -> str:
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(sock, listening.getsockname())
        except TimeoutError:
            return "timed out"
        return "connected"


@linux
def test_the_clock_waits_for_a_dial_that_is_under_way(full, monkeypatch):
    monkeypatch.setattr("pytest_connex.virtual._DIALLING", 10.0)

    async def main() -> str:
        threading.Timer(0.02, lambda: full.accept()[0].close()).start()
        return await dial(full, 5)

    assert run(main) == "connected"


@linux
def test_a_dial_that_nobody_takes_times_out(full, monkeypatch):
    monkeypatch.setattr("pytest_connex.virtual._DIALLING", 0.01)
    assert run(lambda: dial(full, 3_600)) == "timed out"


def test_a_port_where_nobody_listens_refuses():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
    with pytest.raises(ConnectionRefusedError, match=f"Connect call failed .*{address[1]}"):
        run(lambda: asyncio.open_connection(*address))


# --- Connections that lead out of the loop ---------------------------------------------------------------


class SlowServer:
    """Answers one client, in a thread and after a while."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = self._listening.getsockname()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        sock, _ = self._listening.accept()
        with sock:
            sock.recv(10)
            threading.Event().wait(0.05)
            sock.send(b"late")

    def __enter__(self) -> SlowServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listening.close()
        self._thread.join()


def test_time_is_real_while_another_thread_has_the_other_end_and_jumps_afterwards():
    async def main() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"question")
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        passed = loop.time() - start
        await asyncio.sleep(10**6)
        return answer, passed

    with SlowServer() as server:
        answer, passed = run(main)
    assert answer == b"late"
    assert 0 < passed < 60


def test_a_thread_may_wait_for_a_server_of_this_loop_that_takes_its_time():
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(b"late")
        writer.close()

    def ask(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, timeout=10) as sock:
            return sock.recv(10)

    async def main() -> bytes:
        async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
            return await asyncio.to_thread(ask, server.sockets[0].getsockname())

    assert run(main) == b"late"


# --- Ports with a stand-in -------------------------------------------------------------------------------


class Named:
    """A server that says its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        await asyncio.sleep(0)
        self._server = await asyncio.start_server(self._say, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    @property
    def is_stopped(self) -> bool:
        return self._server is None

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.said += 1
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(self.name)}\r\n\r\n"
        writer.write(head.encode() + self.name.encode())
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def port(background: BackgroundLoop) -> Iterator[int]:
    """A port that is served in a thread."""
    server = Named("thread")
    yield background.run(server.start())
    background.run(server.stop())


def run_with(stand_ins: dict[int, Callable[[], StandIn]], main: Callable[[], Awaitable[object]]) -> object:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(stand_ins)) as runner:
        return runner.run(main())


async def by_aiohttp(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def by_httpx(url: str) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).text


async def by_requests(url: str) -> str:
    return requests.get(url, timeout=10).text


async def by_requests_in_a_thread(url: str) -> str:
    return (await asyncio.to_thread(requests.get, url, timeout=10)).text


async def by_threads_that_are_joined(url: str) -> str:
    with ThreadPoolExecutor() as threads:
        [answer] = {answer.text for answer in threads.map(requests.get, [url] * 3)}
    return answer


async def by_aiohttp_on_another_loop(url: str) -> str:
    return await asyncio.to_thread(asyncio.run, by_aiohttp(url))


async def by_a_process(url: str) -> str:
    code = f"import urllib.request; print(urllib.request.urlopen({url!r}).read().decode(), end='')"
    return await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", code], text=True)


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        (by_aiohttp, "loop"),
        (by_httpx, "loop"),
        (by_requests, "thread"),
        (by_requests_in_a_thread, "thread"),
        (by_threads_that_are_joined, "thread"),
        (by_aiohttp_on_another_loop, "thread"),
        (by_a_process, "thread"),
    ],
)
def test_clients_of_the_loop_are_served_by_it_and_all_others_by_the_thread(port, ask, name):
    stand_in = Named("loop")

    async def main() -> list[str]:
        return [await ask(f"http://127.0.0.1:{port}/") for _ in range(2)]

    assert run_with({port: lambda: stand_in}, main) == [name, name]
    assert (stand_in.said, stand_in.is_stopped) == (2 if name == "loop" else 0, True)


def test_a_stand_in_is_made_by_the_first_dials_and_once():
    made: list[Named] = []

    def make() -> Named:
        made.append(Named("loop"))
        return made[-1]

    async def main() -> list[str]:
        assert made == []
        first = asyncio.create_task(by_aiohttp("http://127.0.0.1:9/"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(*(by_aiohttp("http://127.0.0.1:9/") for _ in range(3)))

    assert run_with({9: make}, main) == ["loop"] * 3
    assert [stand_in.is_stopped for stand_in in made] == [True]


def test_a_stand_in_may_be_named_while_the_loop_runs():
    stand_ins: dict[int, Callable[[], StandIn]] = {}

    async def main() -> str:
        stand_ins[9] = lambda: Named("loop")
        return await by_aiohttp("http://127.0.0.1:9/")

    assert run_with(stand_ins, main) == "loop"


def test_a_stand_in_that_was_stopped_is_started_anew():
    async def main() -> list[str]:
        answers = []
        for _ in range(2):
            answers.append(await by_aiohttp("http://127.0.0.1:9/"))
            await asyncio.get_running_loop().stop_stand_ins()
        return answers

    assert run_with({9: lambda: Named("loop")}, main) == ["loop", "loop"]


def test_a_stand_in_that_has_only_begun_to_start_is_stopped():
    stand_in = Named("loop")

    async def main() -> None:
        dial = asyncio.create_task(asyncio.open_connection("127.0.0.1", 9))
        await asyncio.sleep(0)
        dial.cancel()
        await asyncio.sleep(0)
        await asyncio.get_running_loop().stop_stand_ins()
        await asyncio.sleep(1)
        assert stand_in.is_stopped

    run_with({9: lambda: stand_in}, main)


def test_a_stand_in_that_refuses_refuses_as_the_port_would():
    class Closed(Named):
        async def start(self) -> int:
            number = await super().start()
            await self.stop()
            return number

    with pytest.raises(ConnectionRefusedError) as caught:
        run_with({9: lambda: Closed("loop")}, lambda: asyncio.open_connection("127.0.0.1", 9))
    assert caught.value.strerror == "Connect call failed ('127.0.0.1', 9)"


def test_what_keeps_a_stand_in_from_starting_is_raised_by_each_dial():
    class Broken(Named):
        async def start(self) -> int:
            raise LookupError("no recording")

    async def main() -> list[object]:
        dials = [asyncio.open_connection("127.0.0.1", 9) for _ in range(2)]
        return await asyncio.gather(*dials, return_exceptions=True)

    assert [str(problem) for problem in run_with({9: lambda: Broken("loop")}, main)] == ["no recording"] * 2
