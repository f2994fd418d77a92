"""Who may ask a port of this machine: programs, and pages that this machine serves, but no page from elsewhere.

A page in a browser can send requests to any port of the machine it is shown on, and where its own name is made to
lead here (DNS rebinding), read the answers. A browser says in ``Host`` which name it asked for, and in ``Origin`` or
``Sec-Fetch-Site`` whose page it shows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from ..config import is_loopback
from .http import Asked, Refusal, refusal

_ELSEWHERE = frozenset({"cross-site", "same-site"})
_PRIVATE = (".internal", ".local", ".localhost")
"""What no public name ends with."""


def turned_away(asked: Asked, listens_on: str, origins: Collection[str] = ()) -> Refusal | None:
    """Return the answer to a request that must not be served, or None.

    Args:
        asked: The request.
        listens_on: The host that the port listens on. Where that is every address of the machine, it may be asked for
            by any address, and by names that no public DNS has.
        origins: Further origins whose pages, and programs that name them, may ask.
    """
    hosts = asked.values("host")
    if any(not _is_ours(host, listens_on) for host in hosts):
        where = "127.0.0.1 or localhost" if not _is_every(listens_on) else "an address of this machine"
        return refusal(421, f"this port serves {where}, and the request is for another host")
    if given := asked.values("origin"):
        foreign = any(origin not in origins and not is_loopback(_host(origin)) for origin in given)
    else:
        foreign = any(site.strip().lower() in _ELSEWHERE for site in asked.values("sec-fetch-site"))
    return refusal(403, "pages of other sites may not ask this port") if foreign else None


def _is_ours(authority: str, listens_on: str) -> bool:
    host = _host(f"//{authority}")
    if is_loopback(host) or host == listens_on.lower():
        return True
    return _is_every(listens_on) and (
        _is_address(host) or (host != "" and "." not in host) or host.endswith(_PRIVATE)
    )


def _is_every(host: str) -> bool:
    """Tell whether this stands for every address of the machine."""
    return not host or (_is_address(host) and ipaddress.ip_address(host).is_unspecified)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(url: str) -> str:
    """Return the host of ``url`` in lower case; an empty text where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
