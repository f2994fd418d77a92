"""A process that may have no sockets is found out before a loop is made, of which nothing is left then."""

from __future__ import annotations

import gc
import socket
import sys

import pytest

from pytest_connex.background import BackgroundLoop
from pytest_connex.sockets import require_sockets
from pytest_connex.virtual import VirtualLoop


class Refused(RuntimeError):
    pass


class NoSocket(socket.socket):
    """As pytest-socket has it: refused before the operating system is asked."""

    def __new__(cls, *args: object, **kwargs: object) -> NoSocket:
        raise Refused("no sockets here")


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is raised where nobody can catch it, while sockets are refused."""
    reports: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)
    monkeypatch.setattr(socket, "socket", NoSocket)
    return reports


def test_where_there_are_sockets_none_is_kept():
    require_sockets()
    gc.collect()  # an unclosed socket would be a warning, and warnings are errors here


@pytest.mark.parametrize("make", [lambda: BackgroundLoop("connex-test"), VirtualLoop], ids=["background", "virtual"])
def test_where_sockets_are_refused_no_loop_is_left_half_made(reported, make):
    with pytest.raises(Refused, match="no sockets here"):
        make()
    gc.collect()
    assert reported == []
