"""What the plugin knows of a run, and of each test in it.

State is kept in stashes of pytest's own objects. What a test asks, what a run needs and what becomes of recordings
is decided elsewhere; this module is read by every run, also by those that use nothing of the plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from ..cassette.session import Account
    from ..config import ConnexConfig
    from ..proxy.proxy import Proxy
    from ..virtual import StandIn
    from .options import RunOptions
    from .report.masking import Masking
    from .trial import Trial

MARKERS = ("connex", "connex_live", "connex_recorded", "connex_sandbox")

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")

REFUSAL = "connex_refusal"
"""Under this name a worker of a distributed run tells why the run cannot start."""

UNUSED_KEY = "connex_unused"
"""Under this name it tells which recordings no test uses."""


@dataclass
class Run:
    """One run: what the user asked, and what is known of Connex.

    Attributes:
        options: What the user asked.
        live: The configuration of a live run; None otherwise.
        origins: Where each variable of a live run came from, as words.
        extra: Secret values that the hook ``pytest_connex_secrets`` gave.
        masking: Hides secrets in reports and logs, where there are any.
        item: The test that runs.
        known: The settings that fixtures have given last.
        loop: The loop of the test that runs, where its clock is virtual.
        failures: How many tests have failed so far.
        learned: The secrets that shared fixtures have learned, each with its placeholder.
        accounts: What shared fixtures did with their recordings.
        stand_ins: What serves a port of this machine on the loop of a virtual clock, by the number of the port.
        behind: Connex behind the proxy; None as long as no test needs it.
        upstreams: The URLs of other servers behind it, by name.
    """

    options: RunOptions
    live: ConnexConfig | None = None
    origins: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = field(default=(), repr=False)
    masking: Masking | None = field(default=None, repr=False)
    item: pytest.Item | None = field(default=None, repr=False)
    behind: ConnexConfig | None = field(default=None, repr=False)
    upstreams: dict[str, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict, repr=False)
    stand_ins: dict[int, Callable[[], StandIn]] = field(default_factory=dict, repr=False)
    loop: AbstractEventLoop | None = field(default=None, repr=False)
    failures: int = 0
    learned: dict[str, str] = field(default_factory=dict, repr=False)
    accounts: list[Account] = field(default_factory=list)

    def now(self) -> float:
        """Return the time of the test that runs, in seconds: real, or that of its virtual clock."""
        from ..clock import real_time

        return real_time() if self.loop is None or self.loop.is_closed() else self.loop.time()

    def hide(self, secret: str, placeholder: str) -> None:
        """Keep a secret that was learned out of reports and logs from now on."""
        if self.masking is not None:
            self.masking.hide(secret)

    def share(self, secret: str, placeholder: str) -> None:
        """Keep a secret that a shared fixture has learned out of the recordings of tests, too."""
        self.learned[secret] = placeholder
        self.hide(secret, placeholder)

    def addresses(self) -> set[str]:
        """Return where the upstreams are, each as ``host:port``; they are known once their fixtures are set up."""
        from ..config import is_loopback, origin

        urls = (*self.upstreams.values(), self.behind and self.behind.rest_url, self.behind and self.behind.ws_url)
        places = [origin(url) for url in urls if url]
        return {
            f"{name}:{port}"
            for _, host, port in places
            for name in ((*_THIS_MACHINE, host) if is_loopback(host) else (host,))
        }

    @property
    def proxied(self) -> bool:
        """Whether clients find the proxy in the place of Connex: what they say is played, recorded or compared."""
        options = self.options
        return options.mode == "recorded" or options.record is not None or options.verify


RUN = pytest.StashKey[Run]()
UNUSED = pytest.StashKey[list[Path]]()
"""The recordings that no collected test uses."""

ACTIVE: pytest.StashKey[Trial | None] = pytest.StashKey()
"""The test that is running, if it uses Connex."""

TRIAL: pytest.StashKey[Trial] = pytest.StashKey()
PROXY: pytest.StashKey[Proxy] = pytest.StashKey()
"""The proxy of this run, once it is there."""

OUTCOMES = pytest.StashKey[list[str]]()
"""What became of the call of a test, and of each of its subtests: ``passed``, ``xfailed`` or ``failed``."""


SETTINGS = ("connex_config", "connex_dialect")
"""The fixtures that say what recordings have to know of a test."""


def uses_connex(item: pytest.Item) -> bool:
    """Tell whether a test uses Connex: by marker, or by requesting a ``connex_*`` fixture."""
    names: list[str] = getattr(item, "fixturenames", [])
    return any(name.startswith("connex_") for name in names) or any(
        item.get_closest_marker(marker) for marker in MARKERS
    )


def owns_sandbox(item: pytest.Item) -> bool:
    """Tell whether a test has a sandbox of its own in every mode."""
    return bool(item.get_closest_marker("connex_sandbox")) or "connex_sandbox" in getattr(item, "fixturenames", [])


def skip_reason(item: pytest.Item, options: RunOptions) -> str | None:
    """Return why a test cannot run in this mode, with the switch that would run it."""
    if item.get_closest_marker("connex_live") and options.mode != "live":
        return "needs the live gateway: run with --connex-live"
    if item.get_closest_marker("connex_recorded") and (options.mode != "recorded"):
        return f"runs from its recording only: run without --connex-{options.mode}"
    return None
