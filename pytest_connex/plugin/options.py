"""The command-line options and ini settings, declared once and read once.

:func:`declare` adds them to pytest, :func:`read` turns what the user gave into :class:`RunOptions` and refuses
values that cannot be used. What a run does with them is :mod:`pytest_connex.plugin`'s business.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import pytest

from ..cassette.places import UNUSED_OPTION
from . import typed

if TYPE_CHECKING:
    from ..config import Mode


MISSING_POLICIES = ("fail", "skip")
STALE_POLICIES = ("warn", "fail")
CLOCKS = ("real", "virtual")


@dataclass(frozen=True)
class RunOptions:
    """What the user asked of this run.

    Attributes:
        mode: Where traffic goes.
        record: How recordings are made, or None when they are not.
        verify: Whether what arrives is compared with recordings and pinned schemas.
        verify_report: Where that is written as JSON, or None.
        tls: Whether the URLs of the proxy are those of TLS.
        cassette_dir: The folder of the recordings.
        replay_timeout: How long a client may wait beyond a recorded gap, in seconds.
        missing: What becomes of a recorded test that has no recording.
        allow_uvloop: Whether recorded tests may run on uvloop, around the network block.
        seed: The seed of sandboxes.
        interval: The seconds between two order-book updates of a sandbox.
        client: Settings of :class:`~pytest_connex.config.ConnexConfig` by name.
        max_age: How many days old a recording may be, or None.
        stale: What becomes of an older one.
        pace: What recorded intervals are multiplied with on replay; 0 delivers at once what is due.
        clock: Whether asynchronous tests run on the ``real`` clock or on a ``virtual`` one.
        match_headers: Names of headers that must hold what they held when they were recorded.
    """

    mode: Mode
    record: Literal["once", "rewrite", "replace-live"] | None
    cassette_dir: Path
    replay_timeout: float
    missing: Literal["fail", "skip"]
    allow_uvloop: bool
    seed: int
    interval: float
    client: dict[str, Any]
    max_age: float | None = None
    stale: Literal["warn", "fail"] = "warn"
    pace: float = 0.0
    clock: Literal["real", "virtual"] = "real"
    verify: bool = False
    verify_report: Path | None = None
    tls: bool = False
    match_headers: tuple[str, ...] = ()


class _Setting(NamedTuple):
    """A value with a CLI form ``--connex-...`` and an ini form ``connex_...``."""

    name: str
    default: str
    read: Callable[[str], Any]
    help: str

    @property
    def ini(self) -> str:
        return f"connex_{self.name}"

    @property
    def option(self) -> str:
        return f"--connex-{self.name.replace('_', '-')}"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("a number of seconds above zero")
    return value


def _delay(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError("a number of seconds, zero or more")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("a whole number, zero or more")
    return value


def _boolean(text: str) -> bool:
    values = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    if text.strip().lower() not in values:
        raise ValueError("true or false, on the command line with the equals sign")
    return values[text.strip().lower()]


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return read


def _days(text: str) -> float | None:
    return _seconds(text) if text.strip() else None


def read_pace(text: str) -> float:
    """Return the factor that ``instant``, ``recorded`` or a number stand for.

    Raises:
        ValueError: It is none of them.
    """
    named = {"instant": 0.0, "recorded": 1.0}
    value = named[text] if text in named else float(text)
    if not 0 <= value < float("inf"):
        raise ValueError("a number, zero or more")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _folder(text: str) -> Path:
    if not text.strip():
        raise ValueError("a folder")
    return Path(text)


_SETTINGS = (
    _Setting("cassette_dir", "cassettes", _folder, "folder of the recordings, below the rootdir"),
    _Setting("replay_timeout", "5", _seconds, "seconds a client may wait beyond a recorded gap"),
    _Setting(
        "missing_cassette",
        "fail",
        _one_of(MISSING_POLICIES),
        "what becomes of a test without recording: fail or skip",
    ),
    _Setting("max_age", "", _days, "days after which a recording is stale; empty for never"),
    _Setting("stale_cassette", "warn", _one_of(STALE_POLICIES), "what becomes of a stale recording: warn or fail"),
    _Setting("pace", "instant", read_pace, "how fast recordings replay: instant, recorded, or a factor"),
    _Setting("clock", "real", _one_of(CLOCKS), "the clock of asynchronous tests: real or virtual"),
    _Setting(
        "match_headers", "", _names, "headers that must hold on replay what they held, separated by spaces or commas"
    ),
    _Setting(
        "allow_uvloop",
        "false",
        _boolean,
        "run recorded tests on uvloop, which the network block cannot reach",
    ),
    _Setting(
        "tls", "false", _boolean, "give clients https:// and wss:// URLs of the proxy, with a certificate of the run"
    ),
    _Setting("allow_plaintext", "false", _boolean, "allow http:// and ws:// for hosts that are not loopback"),
    _Setting("sandbox_seed", "7", int, "seed of the sandbox's markets"),
    _Setting("sandbox_interval", "0.05", _seconds, "seconds between two order-book updates of the sandbox"),
    _Setting("timeout", "10", _seconds, "seconds one REST request may take"),
    _Setting("ws_timeout", "30", _seconds, "seconds to wait for one WebSocket frame"),
    _Setting("max_retries", "3", _count, "retries of a REST request, attempts of a WebSocket session"),
    _Setting("retry_delay", "5", _delay, "seconds between attempts: attempt k is followed by k times this"),
)
_CLIENT = ("timeout", "ws_timeout", "max_retries", "retry_delay", "allow_plaintext")
_WANTED = {
    int: "a whole number",
    _seconds: "a number of seconds above zero",
    _days: "a number of days above zero, or nothing",
    _delay: "a number of seconds, zero or more",
    _count: "a whole number, zero or more",
    read_pace: "instant, recorded, or a number, zero or more, that recorded intervals are multiplied with",
}


def declare(parser: pytest.Parser) -> None:
    """Add every option and ini setting."""
    group = parser.getgroup("connex", "Connex integration tests")
    typed.declare(group.addoption)
    group.addoption("--connex-sandbox", action="store_true", help="send traffic to the embedded sandbox")
    group.addoption(
        "--connex-verify",
        action="store_true",
        help="with --connex-live or --connex-sandbox: compare what arrives with recordings and pinned schemas",
    )
    group.addoption("--connex-verify-report", metavar="FILE", help="with --connex-verify: write the changes as JSON")
    group.addoption(UNUSED_OPTION, help=argparse.SUPPRESS)
    for setting in _SETTINGS:
        group.addoption(
            setting.option,
            metavar="VALUE",
            **({"nargs": "?", "const": "true"} if setting.read is _boolean else {}),
            help=f"{setting.help} (ini: {setting.ini}, default: {setting.default})",
        )
        parser.addini(setting.ini, setting.help, default=setting.default)


def read(config: pytest.Config) -> RunOptions:
    """Return what the user asked.

    Raises:
        pytest.UsageError: A value, or a combination, cannot be used; the message lists the valid ones.
    """
    typed.refuse_what_was_not_typed(config)
    live, sandbox = config.getoption("--connex-live"), config.getoption("--connex-sandbox")
    record = config.getoption("--connex-record")
    if live and sandbox:
        raise pytest.UsageError("--connex-live and --connex-sandbox exclude each other: choose one")
    _refuse_a_mode_without_equals_sign(config)
    if record and not (live or sandbox):
        raise pytest.UsageError("--connex-record needs something to record: add --connex-sandbox or --connex-live")
    verify, verify_report = config.getoption("--connex-verify"), config.getoption("--connex-verify-report")
    if verify and not (live or sandbox):
        raise pytest.UsageError("--connex-verify needs something to verify: add --connex-live or --connex-sandbox")
    if verify and record:
        raise pytest.UsageError("--connex-verify and --connex-record exclude each other: verify first, then record")
    report = config.invocation_params.dir / verify_report if verify_report else None
    if report is not None and not verify:
        raise pytest.UsageError("--connex-verify-report needs --connex-verify")
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise pytest.UsageError(f"--connex-verify-report={verify_report}: name a file in a folder that exists")
    values = {setting.name: _value(config, setting) for setting in _SETTINGS}
    return RunOptions(
        mode="live" if live else "sandbox" if sandbox else "recorded",
        record=record,
        cassette_dir=config.rootpath / values["cassette_dir"],
        replay_timeout=values["replay_timeout"],
        missing=cast(Literal["fail", "skip"], values["missing_cassette"]),
        max_age=values["max_age"],
        stale=cast(Literal["warn", "fail"], values["stale_cassette"]),
        pace=values["pace"],
        clock=cast(Literal["real", "virtual"], values["clock"]),
        allow_uvloop=values["allow_uvloop"],
        seed=values["sandbox_seed"],
        interval=values["sandbox_interval"],
        tls=values["tls"],
        match_headers=values["match_headers"],
        client={name: values[name] for name in _CLIENT},
        verify=verify,
        verify_report=report,
    )


def _refuse_a_mode_without_equals_sign(config: pytest.Config) -> None:
    for word in config.args if config.getoption("--connex-record") else ():
        if word in typed.RECORD_MODES and not (config.invocation_params.dir / word).exists():
            raise pytest.UsageError(f"--connex-record {word}: type --connex-record={word}, with the equals sign")


def _value(config: pytest.Config, setting: _Setting) -> Any:
    given = config.getoption(setting.option)
    source, text = (setting.option, given) if given is not None else (setting.ini, str(config.getini(setting.ini)))
    try:
        return setting.read(text)
    except ValueError as exc:
        wanted = _WANTED.get(setting.read, str(exc))
        raise pytest.UsageError(f"{source} = {text!r}: expected {wanted}") from exc
