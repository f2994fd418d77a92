"""No fault is half there: each is in the class, on the command line, in the README and on the wire.

Whoever adds a method to :class:`Faults` that asks for a fault meets these tests until all four have it; whoever adds
a kind meets mypy until it is told apart wherever kinds are.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from pytest_connex.faults import SCRIPTABLE, Change, EndingKind, Faults, apply_fault

from .loopback import (
    BODY,
    SAID,
    SHORT,
    Http,
    Seen,
    Served,
    answer_to,
    ask_http_client,
    by_a_socket,
    handshake,
    listened,
    masked,
    raw,
)

README = Path(__file__).parents[2] / "README.md"

ASKS_FOR_NONE = frozenset(
    {
        "accept", "clear", "renew",
        "pending", "happened",
        "next_answer", "next_handshake", "connection", "claim", "release", "pace", "chance", "note",
        "add_gate", "remove_gate",
    }
)  # fmt: skip
"""The methods of :class:`Faults` that take faults back, tell of them, or are for servers."""

FAULTS = sorted({name for name in vars(Faults) if not name.startswith("_")} - ASKS_FOR_NONE)


class Effect(NamedTuple):
    """A fault as ``--fault`` spells it, what a client does, and what that comes to."""

    spelled: str
    seen: Callable[[Served], object]
    expected: object


def messages(served: Served) -> Seen:
    return by_a_socket(served.ws_url)


def asked(served: Served) -> Http:
    return ask_http_client(served.http_url)


def handshaken(served: Served) -> Http:
    return answer_to(served.http_url, handshake())


def status_and_wait(ask: Callable[[Served], Http]) -> Callable[[Served], object]:
    def seen(served: Served) -> object:
        answer = ask(served)
        return answer.status, answer.headers.get("Retry-After")

    return seen


def end(served: Served) -> str:
    return messages(served).end


def cut(served: Served) -> bytes:
    with pytest.raises(http.client.IncompleteRead) as caught:
        asked(served)
    return caught.value.partial


def refused(served: Served) -> bytes:
    """The dial is refused, and the next one is not once it is accepted."""
    with pytest.raises(ConnectionRefusedError):
        asked(served)
    served.faults.accept()
    return asked(served).body


def never_and_then(served: Served) -> object:
    """Nothing comes, and the next answer does once there is no fault any more."""
    with pytest.raises(TimeoutError):
        ask_http_client(served.http_url, SHORT)
    served.faults.clear()
    return asked(served).body


def stalled(served: Served) -> Seen:
    """Not even a ping is answered."""
    with raw(served.ws_url) as sock:
        sock.sendall(masked(b"", 0x89))
        return listened(sock, 2)


def second_message(served: Served) -> tuple[int, bool]:
    """How long the second message is, and whether it is the one that was said."""
    said = messages(served).messages[1]
    return len(said), said == SAID[1]


EFFECTS = {
    "answer": Effect("answer:status=503,retry_after=4", status_and_wait(asked), (503, "4")),
    "cut_answer": Effect("cut_answer:bytes=5", cut, BODY[:5]),
    "stall_answer": Effect("stall_answer", never_and_then, BODY),
    "refuse": Effect("refuse", refused, BODY),
    "refuse_handshake": Effect("refuse_handshake:status=429,retry_after=2", status_and_wait(handshaken), (429, "2")),
    "drop_after": Effect("drop_after:frames=2", messages, (["one", "two"], "EOF")),
    "reset_after": Effect("reset_after:frames=2", end, "ConnectionResetError"),
    "reset_instead_of_close": Effect("reset_instead_of_close", end, "ConnectionResetError"),
    "close_after": Effect(
        "close_after:frames=2,code=1012,reason=restart", messages, (["one", "two"], "CLOSE 1012 restart")
    ),
    "stall_after": Effect("stall_after:frames=2", stalled, (["one", "two"], "TimeoutError")),
    "truncate": Effect("truncate:frame=2", messages, (["one", "t", "three", "four"], "CLOSE 1000")),
    "corrupt": Effect("corrupt:frame=2", second_message, (3, False)),
    "invalid_utf8": Effect("invalid_utf8:frame=2", second_message, (len(r"two\xff"), False)),
    "duplicate": Effect("duplicate:frame=2", messages, (["one", "two", "two", "three", "four"], "CLOSE 1000")),
    "reorder": Effect("reorder:frame=2", messages, (["one", "three", "two", "four"], "CLOSE 1000")),
    "latency": Effect("latency:seconds=3600", never_and_then, BODY),
    "bandwidth": Effect("bandwidth:bytes_per_second=1", never_and_then, BODY),
}


def in_the_readme() -> list[str]:
    """The calls in the first column of the README's table of faults."""
    section = README.read_text("utf-8").partition("\n## Faults\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [call for row in rows for call in re.findall(r"`(.+?)`", row)]


@pytest.mark.parametrize("name", sorted({*FAULTS, *SCRIPTABLE, *EFFECTS}))
def test_a_fault_is_in_the_class_on_the_command_line_in_the_readme_and_on_the_wire(name):
    assert name in FAULTS
    assert name in SCRIPTABLE
    assert name in [call.partition("(")[0] for call in in_the_readme()]
    effect = EFFECTS[name]
    assert effect.spelled.partition(":")[0] == name
    with Served(closes=(1000, "")) as served:
        apply_fault(served.faults, effect.spelled)
        assert effect.seen(served) == effect.expected


def test_every_kind_of_change_and_ending_can_be_asked_for():
    assert {*get_args(Change), *(f"{kind}_after" for kind in get_args(EndingKind))} <= {*FAULTS}


@pytest.mark.parametrize("call", in_the_readme())
def test_what_the_readme_shows_of_faults_can_be_called(call):
    name, arguments = re.fullmatch(r"(\w+)(\(.*\))", call).groups()
    assert name in {*FAULTS, "accept"}
    eval(f"faults.{name}{arguments}", {"faults": Faults()})


def test_what_asks_for_no_fault_is_there():
    assert {name for name in ASKS_FOR_NONE if not callable(getattr(Faults, name, None))} == set()
