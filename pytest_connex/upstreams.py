"""The servers behind a test: Connex's REST and WebSocket, and those that a project names besides.

Each has a URL, and speaks HTTP and WebSocket on its host. Recordings carry hosts that cannot exist in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from .config import ConnexConfig, canonical_url, origin
from .errors import ConfigError

REST = "rest"
"""The upstream that is Connex's own REST."""

WEBSOCKET = "ws"
"""The upstream that is Connex's own WebSocket."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_OF_WEBSOCKET = {"https": "wss", "http": "ws"}
_OF_HTTP = {"wss": "https", "ws": "http"}


def all_upstreams(config: ConnexConfig, named: Mapping[str, str]) -> dict[str, str]:
    """Return the URL of every upstream, by its name."""
    return {REST: config.rest_url, WEBSOCKET: config.ws_url, **named}


def checked(named: object) -> dict[str, str]:
    """Return upstreams as they were given, name to URL.

    Raises:
        ConfigError: A name or a URL cannot be used.
    """
    if not isinstance(named, Mapping):
        raise ConfigError(f"upstreams are a mapping from name to URL, not {named!r}")
    for name, url in named.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (REST, WEBSOCKET):
            raise ConfigError(
                f"an upstream cannot be called {name!r}: use lower-case letters, digits and hyphens, and neither "
                f"{REST} nor {WEBSOCKET}, which are Connex"
            )
        if not isinstance(url, str) or not _is_url(url):
            raise ConfigError(f"the upstream {name} needs a URL with a host, for example https://venue.example")
    return dict(named)


def recorded_upstream(name: str, url: str = "") -> str:
    """Return the URL that recordings carry in the place of an upstream's ``url``; without one, that of its HTTP."""
    scheme = "wss" if urlsplit(url).scheme in ("ws", "wss") else "https"
    return f"{scheme}://{name}.connex.invalid"


def http_url(url: str) -> str:
    """Return the URL of the HTTP of a server."""
    return _with(url, _OF_HTTP)


def websocket_url(url: str) -> str:
    """Return the URL of the WebSockets of a server."""
    return _with(url, _OF_WEBSOCKET)


def is_tls(url: str) -> bool:
    """Tell whether a server is spoken to through TLS."""
    return url.startswith(("https:", "wss:"))


def canonical_websocket(url: str, upstreams: Mapping[str, str]) -> str:
    """Return the URL of a dial as recordings carry it; that of no upstream is returned as it is."""
    for name in sorted(upstreams, key=lambda name: name != WEBSOCKET):
        base = websocket_url(upstreams[name])
        if base and origin(url) == origin(base):
            return canonical_url(url, base, recorded_upstream(name, base))
    return url


def _with(url: str, schemes: Mapping[str, str]) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{schemes.get(scheme, scheme)}{separator}{rest}"


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
