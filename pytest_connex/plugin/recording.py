"""Living with pytest-recording, which records other hosts in the same test: it must leave the proxy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..config import is_loopback
from .run import PROXY

_LOOPBACK = (r"127\.0\.0\.1\Z", r"::1\Z", r"localhost\Z")


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


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(config: pytest.Config, vcr: Any) -> None:
    """Have VCR.py pass over what goes to the proxy."""
    proxy = config.stash.get(PROXY, None)
    if proxy is None:
        return
    merged: Callable[..., dict[str, Any]] = vcr.get_merged_config
    ports = {urlsplit(url).port for url in proxy.urls()}

    def passing_over(**options: Any) -> dict[str, Any]:
        found = merged(**options)
        filtered = found["before_record_request"]

        def filter_request(request: Any) -> Any:
            parts = urlsplit(request.uri)
            ours = parts.port in ports and is_loopback(parts.hostname or "")
            return None if ours else filtered(request)

        return found | {"before_record_request": filter_request}

    vcr.get_merged_config = passing_over
