"""Where Connex is, and who is asking.

:class:`ConnexConfig` is the one place from which code under test takes its URLs and keys, so a run mode
changes nothing but a configuration. This module reads settings and refuses wrong ones; when a run stops
because of them is :mod:`pytest_connex.plugin`'s business.
"""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigError

Mode = Literal["recorded", "sandbox", "live"]

REST_URL, WS_URL, API_KEY, API_SECRET = VARIABLES = (
    "CONNEX_REST_URL",
    "CONNEX_WS_URL",
    "CONNEX_API_KEY",
    "CONNEX_API_SECRET",
)

RECORDED_REST_URL = "https://rest.connex.invalid"
RECORDED_WS_URL = "wss://ws.connex.invalid"
RECORDED_KEY = "connex-recorded-key"
RECORDED_SECRET = "connex-recorded-secret"  # noqa: S105  (a placeholder, the same for everybody)

MIN_SECRET = 8
"""Keys and secrets with fewer characters cannot be replaced in recordings without hitting innocent text."""

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def mask_key(key: str | None) -> str:
    """Return what may be shown of an API key: four characters at each end when it has 12 or more."""
    if not key:
        return "not set"
    return f"{key[:4]}...{key[-4:]}" if len(key) >= 12 else "***"


def mask_secret(secret: str | None) -> str:
    """Return what may be shown of an API secret: its last four characters when it has 12 or more."""
    if not secret:
        return "not set"
    return f"***{secret[-4:]}" if len(secret) >= 12 else "***"


def origin(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of ``url``, with the scheme's own port where it names none."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def canonical_url(url: str, configured: str, recorded: str) -> str:
    """Return ``url`` as recordings carry it: below ``recorded`` what is below ``configured``.

    A URL of another origin is returned as it is.
    """
    if origin(url) != origin(configured):
        return url
    parts, base = urlsplit(url), urlsplit(configured)
    prefix = base.path.rstrip("/")
    inside = parts.path == prefix or parts.path.startswith(f"{prefix}/")
    path = parts.path[len(prefix) :] if inside else parts.path
    query = "" if parts.query == base.query else f"?{parts.query}"
    return f"{recorded.rstrip('/')}{path or '/'}{query}"


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class ConnexConfig:
    """What a client needs to talk to Connex.

    Attributes:
        mode: What stands behind the URLs: ``recorded``, ``sandbox`` or ``live``.
        rest_url: Base URL of REST, without a trailing slash. Empty when it is not set.
        ws_url: Full URL of the WebSocket. Empty when it is not set.
        api_key: The API key, or None. Never shown in full by ``repr``.
        api_secret: The API secret, or None. Never shown by ``repr``.
        timeout: How long one REST request may take, in seconds.
        ws_timeout: How long to wait for one WebSocket frame, in seconds.
        max_retries: How many attempts a WebSocket session gets, and how many retries a REST request.
        retry_delay: Base of the waits between attempts, in seconds: attempt *k* is followed by *k* times this.

    Raises:
        ConfigError: A value cannot be used. The message names every one that cannot.
    """

    mode: Mode = "live"
    rest_url: str = ""
    ws_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    timeout: float = 10.0
    ws_timeout: float = 30.0
    max_retries: int = 3
    retry_delay: float = 5.0
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        problems = [
            *_url_problems(REST_URL, self.rest_url, ("https", "http"), self.allow_plaintext),
            *_url_problems(WS_URL, self.ws_url, ("wss", "ws"), self.allow_plaintext),
            *_credential_problems(API_KEY, self.api_key),
            *_credential_problems(API_SECRET, self.api_secret),
            *_number_problems(self),
        ]
        if problems:
            raise ConfigError("Connex configuration cannot be used:\n  " + "\n  ".join(problems))
        object.__setattr__(self, "rest_url", self.rest_url.rstrip("/"))

    def __repr__(self) -> str:
        shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr)
        return (
            f"ConnexConfig({shown}, api_key={mask_key(self.api_key)!r}, api_secret={mask_secret(self.api_secret)!r})"
        )

    @property
    def has_credentials(self) -> bool:
        """Whether both key and secret are set."""
        return bool(self.api_key and self.api_secret)

    def missing(self, *names: str) -> list[str]:
        """Return those of the variable ``names`` that are not set, in the order of :data:`VARIABLES`."""
        values = dict(zip(VARIABLES, (self.rest_url, self.ws_url, self.api_key, self.api_secret), strict=True))
        return [name for name in VARIABLES if name in names and not values[name]]

    def placeholders(self) -> dict[str, str]:
        """Return the credentials, each with what takes its place in recordings.

        Raises:
            ConfigError: One is too short to be replaced.
        """
        values = {self.api_key or "": RECORDED_KEY, self.api_secret or "": RECORDED_SECRET}
        values.pop("", None)
        if any(len(value) < MIN_SECRET for value in values):
            raise ConfigError(
                f"a key or secret has fewer than {MIN_SECRET} characters and cannot be kept out of the recording; "
                "record with longer ones"
            )
        return values

    def half_credentials(self) -> list[str]:
        """Return the name of the unset one when exactly one of key and secret is set."""
        absent = self.missing(API_KEY, API_SECRET)
        return absent if len(absent) == 1 else []

    def require(self, *names: str) -> None:
        """Raise :class:`ConfigError` naming every one of ``names`` that is not set."""
        if absent := self.missing(*names):
            raise ConfigError(f"Missing Connex configuration: {', '.join(absent)}")


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the variables that an ``.env`` file sets; none where it does not exist.

    Raises:
        ConfigError: The file cannot be read.
    """
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}. It must be a text file in UTF-8") from exc
    return {name: value for name, value in found.items() if value is not None}


def read_environment(dotenv: Path | None = None, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the Connex variables that are set, an ``.env`` file only filling what the environment lacks.

    Args:
        dotenv: The file to read, if it exists.
        environ: Taken instead of ``os.environ``.

    Raises:
        ConfigError: The file cannot be read.
    """
    values = {} if dotenv is None else read_dotenv(dotenv)
    values.update(os.environ if environ is None else environ)
    return {name: values[name] for name in VARIABLES if values.get(name)}


def variable_origins(dotenv: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return, for each Connex variable that is set, where :func:`read_environment` has it from, as words.

    A value that both the environment and the file hold may have been loaded from the file: both are named then.

    Raises:
        ConfigError: The file cannot be read.
    """
    environ = os.environ if environ is None else environ
    written = read_dotenv(dotenv)
    origins = {}
    for name, value in read_environment(dotenv, environ).items():
        places = ["the environment"] if environ.get(name) else []
        if written.get(name) == value:
            places.append(dotenv.name)
        origins[name] = f"from {' and '.join(places)}"
    return origins


def live_config(values: Mapping[str, str], **settings: object) -> ConnexConfig:
    """Return the configuration of a live run from ``values``, a mapping of :data:`VARIABLES`."""
    return ConnexConfig(
        mode="live",
        rest_url=values.get(REST_URL, ""),
        ws_url=values.get(WS_URL, ""),
        api_key=values.get(API_KEY),
        api_secret=values.get(API_SECRET),
        **settings,  # type: ignore[arg-type]
    )


def recorded_config(**settings: object) -> ConnexConfig:
    """Return the configuration of a recorded run: hosts that cannot exist and keys that open nothing."""
    return ConnexConfig(
        mode="recorded",
        rest_url=RECORDED_REST_URL,
        ws_url=RECORDED_WS_URL,
        api_key=RECORDED_KEY,
        api_secret=RECORDED_SECRET,
        **settings,  # type: ignore[arg-type]
    )


def _url_problems(name: str, url: str, schemes: tuple[str, str], allow_plaintext: bool) -> list[str]:
    if not url:
        return []
    secure, plain = schemes
    if any(character.isspace() for character in url):
        return [f"{name} contains white space"]
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return [f"{name} is not a URL"]
    if parts.username or parts.password:
        return [f"{name} carries credentials: put them into {API_KEY} and {API_SECRET}"]
    if parts.scheme not in schemes or not parts.hostname:
        return [f"{name} must be a URL with {secure}:// and a host, for example {secure}://connex.example"]
    if _exposes_the_secret(parts, plain, allow_plaintext):
        return [
            f"{name} uses {plain}:// for {parts.hostname}, and the secret travels in a header: "
            f"use {secure}://, or set connex_allow_plaintext = true in the ini"
        ]
    if parts.fragment or (plain == "http" and parts.query):
        return [f"{name} must end with its path"]
    return []


def _exposes_the_secret(parts: SplitResult, plain: str, allow_plaintext: bool) -> bool:
    return parts.scheme == plain and not allow_plaintext and not is_loopback(parts.hostname or "")


def _credential_problems(name: str, value: str | None) -> list[str]:
    if value is None:
        return []
    if not value.strip():
        return [f"{name} is blank: unset it or give it a value"]
    if value != value.strip() or any(ord(character) < 0x20 for character in value):
        return [f"{name} begins or ends with white space, or contains a control character"]
    return []


def _number_problems(config: ConnexConfig) -> list[str]:
    problems = []
    for name in ("timeout", "ws_timeout", "retry_delay"):
        value = getattr(config, name)
        usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not usable or value < 0 or (value == 0 and name != "retry_delay"):
            problems.append(f"{name} must be a number of seconds above zero, not {value!r}")
    if not isinstance(config.max_retries, int) or isinstance(config.max_retries, bool) or config.max_retries < 0:
        problems.append(f"max_retries must be a whole number, zero or more, not {config.max_retries!r}")
    return problems
