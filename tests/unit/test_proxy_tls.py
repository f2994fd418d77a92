"""The server behind the proxy speaks TLS: whom it is believed, and what a client hears otherwise."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidHandshake
from websockets.sync.client import connect

from pytest_connex.background import BackgroundLoop
from pytest_connex.errors import ConfigError
from pytest_connex.proxy.forward import CA_BUNDLE, tls

from .upstream import KEY, SECRET, Stage, Upstream, ask, ending, ok, says
from .versions import installed

NO_HANDSHAKE = InvalidHandshake if installed("websockets") >= (15,) else EOFError
"""What the client raises whose handshake is broken off."""

BOTH = pytest.mark.parametrize("action", ["pass", "record"])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    monkeypatch.delenv(CA_BUNDLE, raising=False)
    return Stage(tmp_path)


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch, stage) -> None:
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv(CA_BUNDLE, str(bundle))


def certified(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@contextmanager
def speaking_websocket(context: ssl.SSLContext) -> Iterator[str]:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    silent = logging.Logger("silent")
    silent.disabled = True

    async def start() -> object:
        return await serve(echo, "127.0.0.1", 0, ssl=context, logger=silent)

    background = BackgroundLoop("websocket-upstream")
    background.start()
    server = background.run(start())
    yield f"wss://localhost:{server.sockets[0].getsockname()[1]}/ws"
    server.close()
    background.run(server.wait_closed())
    background.stop()


def test_a_server_that_the_bundle_vouches_for_is_believed(stage, authority, trusted):
    with (
        Upstream(says(ok(b"fine")), certified(authority)) as upstream,
        stage.proxy("record", upstream.url) as proxy,
    ):
        assert ask(proxy, "/v1/status").endswith(b"\r\n\r\nfine")
    assert upstream.asked[0].target == "/v1/status"
    assert stage.interactions[0]["response"]["status"]["code"] == 200


@BOTH
def test_a_server_that_nobody_vouches_for_is_a_502_that_says_so(stage, authority, action, caplog, capfd):
    with Upstream(says(ok()), certified(authority)) as upstream, stage.proxy(action, upstream.url) as proxy:
        raw = ask(proxy, f"/v1/status?secret={SECRET}", "GET", f"X-CONNEX-API-KEY: {KEY}")
    gc.collect()
    assert raw.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert raw.partition(b"\r\n\r\n")[2] == (
        b"the upstream of the connex proxy has a certificate that is not trusted: unable to get local issuer "
        b"certificate. CONNEX_CA_BUNDLE names a file of other authorities\n"
    )
    assert upstream.asked == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == ""


def test_a_certificate_of_another_host_is_not_believed_and_is_not_named(stage, authority, trusted):
    with Upstream(says(ok()), certified(authority, "elsewhere.example")) as upstream:
        with stage.proxy("record", upstream.url) as proxy:
            raw = ask(proxy)
    assert b"502 Bad Gateway" in raw
    assert b"not trusted: Hostname mismatch, certificate is not valid for it" in raw
    assert str(stage.session.verdict).startswith("the certificate of the upstream rest is not trusted")
    assert not stage.stem.with_suffix(".yaml").exists()


def test_where_the_server_speaks_no_tls_the_connection_is_reset(stage):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok())
        await reader.read()

    with Upstream(says(), serve=plain) as upstream:
        with stage.proxy("pass", upstream.url.replace("http:", "https:")) as proxy:
            assert ending(proxy, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == (b"", "reset")
            [note] = proxy.notes
    gc.collect()
    assert note == "the upstream of the connex proxy cannot be reached: TLS fails with WRONG_VERSION_NUMBER"


@BOTH
def test_a_websocket_that_the_bundle_vouches_for_is_believed(stage, authority, trusted, action):
    with speaking_websocket(certified(authority)) as url, stage.proxy(action, ws=url) as proxy:
        with connect(proxy.ws_url) as client:
            client.send("hello")
            assert client.recv() == "hello"


@BOTH
def test_a_websocket_that_nobody_vouches_for_is_a_failed_handshake(stage, authority, action, caplog, capfd):
    with speaking_websocket(certified(authority)) as url, stage.proxy(action, ws=url) as proxy:
        with pytest.raises(NO_HANDSHAKE):
            connect(proxy.ws_url)
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("rest", "ws"), [("https://localhost:1", ""), ("", "wss://localhost:1")])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_bundle_that_cannot_be_read_is_an_error_before_anyone_is_served(
    stage, tmp_path, monkeypatch, rest, ws, content
):
    bundle = tmp_path / "authorities.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv(CA_BUNDLE, str(bundle))
    with pytest.raises(ConfigError) as caught:
        with stage.proxy("pass", rest, ws):
            pass
    assert f"CONNEX_CA_BUNDLE names '{bundle}', which cannot be read as certificates: " in str(caught.value)


@pytest.mark.parametrize(("action", "rest"), [("pass", "http://localhost:1"), ("replay", "")])
def test_a_bundle_is_not_read_where_there_is_no_tls(stage, monkeypatch, action, rest):
    monkeypatch.setenv(CA_BUNDLE, "/does/not/exist")
    with stage.proxy(action, rest) as proxy:
        assert proxy.rest_url.startswith("http://127.0.0.1:")


def test_without_a_bundle_it_is_the_system_s_authorities_that_count(stage):
    context = tls()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs() == ssl.create_default_context().get_ca_certs()


def test_a_bundle_takes_the_place_of_the_system_s_authorities(authority, trusted):
    [only] = tls().get_ca_certs()
    assert only["subject"] == only["issuer"]
