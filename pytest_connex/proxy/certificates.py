"""Certificates for one run, made by an authority of its own, for clients that insist on TLS."""

from __future__ import annotations

import os
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigError

_NAMES = ("127.0.0.1", "localhost", "::1")
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of all authorities: OpenSSL with Python's ssl and httpx, requests, curl."""

_FURTHER = ("NODE_EXTRA_CA_CERTS",)
"""Variables that name a file of further authorities."""


class Certificates:
    """A certificate for this machine, and what makes clients trust it.

    Attributes:
        context: What a server needs.
        authority: The file of the authority, in PEM.

    Raises:
        ConfigError: The extra ``tls`` is not installed.
    """

    def __init__(self) -> None:
        try:
            import trustme
        except ModuleNotFoundError as exc:
            raise ConfigError("TLS needs the extra tls: pip install 'pytest-connex[tls]'") from exc
        authority = trustme.CA(organization_name="pytest-connex", organization_unit_name="for one run")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Clients that read and write in two threads lose a request now and then to a ticket that comes with it.
        self.context.num_tickets = 0
        authority.issue_cert(*_NAMES).configure_cert(self.context)
        self._folder = tempfile.TemporaryDirectory(prefix="connex-tls-")
        self.authority = Path(self._folder.name) / "authority.pem"
        self._bundle = Path(self._folder.name) / "bundle.pem"
        self._pem = authority.cert_pem.bytes()
        self.authority.write_bytes(self._pem)
        self._bundle.write_bytes(_known_authorities() + b"\n" + self._pem)

    def client_context(self) -> ssl.SSLContext:
        """Return what a client in this process needs that has read the environment already."""
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self._pem.decode())
        return context

    def variables(self) -> dict[str, str]:
        """Return the variables that make Python, requests, httpx, curl and Node trust the certificate."""
        return dict.fromkeys(_BUNDLES, str(self._bundle)) | dict.fromkeys(_FURTHER, str(self.authority))

    def remove(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


def _known_authorities() -> bytes:
    """Return the authorities that are trusted anyway, in PEM; requests brings the usual ones."""
    known = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE") or ""
    if not known:
        import certifi

        known = certifi.where()
    with suppress(OSError):
        return Path(known).read_bytes()
    return b""
