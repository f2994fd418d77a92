"""Living with pytest-recording, which records other hosts in the same test: each leaves the other's traffic alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..config import is_loopback, origin
from .run import RUN, TRIAL, Run

_LOOPBACK = (r"127\.0\.0\.1\Z", r"::1\Z", r"localhost\Z")

_OWN_NAME = "{}.vcr"
"""How the recordings of pytest-recording are called in a test whose own have the usual name."""


def let_pass(item: pytest.Item) -> None:
    """Let a test reach this machine where pytest-recording blocks its network."""
    if item.config.getoption("--block-network", None) is None:
        return  # nothing reads markers of pytest-recording, and pytest may refuse unknown ones
    marker = item.get_closest_marker("block_network")
    if marker is None and not item.config.getoption("--block-network"):
        return
    given = marker.kwargs.get("allowed_hosts") if marker is not None else None
    given = given or item.config.getoption("--allowed-hosts") or ()
    hosts = given.split(",") if isinstance(given, str) else list(given)
    item.add_marker(pytest.mark.block_network(allowed_hosts=[*hosts, *_LOOPBACK]), append=False)


def part_recordings(item: pytest.Item) -> None:
    """Have pytest-recording use a file of its own where it would by default use the one of Connex."""
    if item.get_closest_marker("vcr") is None or item.get_closest_marker("default_cassette") is not None:
        return
    stem = item.stash[TRIAL].session.plan.stem
    if stem.parent == item.path.parent / "cassettes" / item.path.stem:
        item.add_marker(pytest.mark.default_cassette(_OWN_NAME.format(stem.name)))


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(config: pytest.Config, vcr: Any) -> None:
    """Have VCR.py pass over what goes to Connex, to the proxy or to a sandbox."""
    run = config.stash[RUN]
    merged: Callable[..., dict[str, Any]] = vcr.get_merged_config

    def passing_over(**options: Any) -> dict[str, Any]:
        found = merged(**options)
        filtered = found["before_record_request"]

        def filter_request(request: Any) -> Any:
            return None if _is_ours(run, request.uri) else filtered(request)

        return found | {"before_record_request": filter_request}

    vcr.get_merged_config = passing_over


def _is_ours(run: Run, url: str) -> bool:
    _, host, port = origin(url)
    return f"{host}:{port}" in run.addresses() or (is_loopback(host) and port in run.stand_ins)
