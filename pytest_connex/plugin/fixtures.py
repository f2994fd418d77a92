"""The fixtures. Each is thin, and imports its engine when it is requested.

Everything below takes its URLs and keys from ``connex_config``, or, in a test with a sandbox of its own, from
that sandbox; so the mode of the run changes a configuration and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import pytest_asyncio

from ..errors import ConfigError, ReplayAborted
from .marker import wishes
from .run import OUTCOMES, PROXY, RUN, TRIAL, owns_sandbox

if TYPE_CHECKING:
    import respx
    from websockets.asyncio.client import connect
    from websockets.sync.client import ClientConnection as SyncConnection

    from ..client.book import FollowedBook
    from ..client.rest import ConnexRest
    from ..client.rest_async import ConnexRestAsync
    from ..client.websocket import ConnexWebSocket
    from ..config import ConnexConfig
    from ..protocol import Dialect
    from ..proxy.certificates import Certificates
    from ..proxy.proxy import Proxy
    from ..sandbox.server import Sandbox
    from ..schema.pinned import PinnedSchemas
    from ..virtual import StandIn


@pytest.fixture(scope="session")
def connex_config(request: pytest.FixtureRequest) -> ConnexConfig:
    """Where Connex is and who is asking, in the mode of this run; frozen.

    Where traffic is played, recorded or compared, the URLs are those of the proxy; they stay for the whole run.
    """
    behind: ConnexConfig = request.getfixturevalue("_connex_behind")
    if not request.config.stash[RUN].proxied:
        return behind
    proxy: Proxy = request.getfixturevalue("_connex_proxy_of_run")
    return replace(behind, rest_url=behind.rest_url and proxy.rest_url, ws_url=behind.ws_url and proxy.ws_url)


@pytest.fixture(scope="session")
def connex_upstreams() -> Mapping[str, str]:
    """Servers besides Connex that tests talk to, name to URL; override it: ``{"venue": "https://venue.example"}``.

    Their traffic is recorded and played with that of Connex, in its order; ``connex_proxy.url("venue")`` is the URL
    that a client gets.
    """
    return {}


@pytest.fixture(scope="session")
def _connex_behind(request: pytest.FixtureRequest) -> ConnexConfig:
    """The servers of this run."""
    run = request.config.stash[RUN]
    if run.options.mode == "recorded":
        from ..config import recorded_config

        run.behind = recorded_config(**run.options.client)
    elif run.live is not None:
        run.behind = run.live
    else:
        sandbox: Sandbox = request.getfixturevalue("_connex_shared_sandbox")
        run.behind = replace(sandbox.config, **run.options.client)
    return run.behind


@pytest.fixture(scope="session")
def _connex_proxy_of_run(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """The proxy that stands where Connex would, for all tests of a run, or of one worker of it."""
    from ..proxy.proxy import Proxy
    from .shared import owner

    config = request.config
    run = config.stash[RUN]
    behind = request.getfixturevalue("_connex_behind")
    run.upstreams = _upstreams(request)
    with Proxy(lambda: owner(config), behind, run.upstreams, run.options.seed) as proxy, _spared():
        config.stash[PROXY] = proxy
        if run.options.tls:
            proxy.use_tls(request.getfixturevalue("_connex_certificates"))
        with _standing_in(request, proxy.stand_ins()):
            yield proxy
        del config.stash[PROXY]


def _upstreams(request: pytest.FixtureRequest) -> dict[str, str]:
    from ..upstreams import checked, recorded_upstream

    with _explained():
        named = checked(request.getfixturevalue("connex_upstreams"))
    if request.config.stash[RUN].options.mode == "recorded":
        return {name: recorded_upstream(name, url) for name, url in named.items()}
    return named


@contextmanager
def _standing_in(request: pytest.FixtureRequest, stand_ins: Mapping[int, Callable[[], StandIn]]) -> Iterator[None]:
    """Have loops with a virtual clock serve some ports themselves."""
    known = request.config.stash[RUN].stand_ins
    known.update(stand_ins)
    yield
    for port in stand_ins:
        del known[port]


@pytest.fixture(scope="session")
def _connex_certificates() -> Iterator[Certificates]:
    """A certificate of the run, which its clients trust by the environment."""
    from ..proxy.certificates import Certificates

    with _explained():
        made = Certificates()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in made.variables().items():
            patched.setenv(name, value)
        yield made
    made.remove()


@contextmanager
def _spared() -> Iterator[None]:
    """Have no client take the way through a forward proxy to what is on this machine."""
    from ..proxy.proxy import no_proxy

    with pytest.MonkeyPatch.context() as patched:
        for name, value in no_proxy().items():
            patched.setenv(name, value)
        yield


@pytest.fixture
def _connex_visit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hear a test out and end what it left open at the proxy, when its other fixtures are gone."""
    from .shared import users

    session = request.node.stash[TRIAL].session
    request.getfixturevalue("_connex_proxy_of_run").visit(session, users(request.node))
    yield
    if PROXY in request.config.stash:
        request.config.stash[PROXY].leave(session)


@pytest.fixture(scope="session")
def connex_dialect() -> Dialect:
    """How Connex is spoken to; override it to change a choice that is not confirmed."""
    from ..protocol import Dialect

    return Dialect()


@pytest.fixture(scope="session")
def _connex_shared_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The sandbox behind ``--connex-sandbox``: one for a whole run, or for each worker of it.

    It does not depend on ``connex_dialect``, because it has to stay where it is while dialects come and go.
    """
    yield from _sandbox(request)


@pytest.fixture
def _connex_spoken(request: pytest.FixtureRequest, connex_config: ConnexConfig, connex_dialect: Dialect) -> None:
    """Let the sandbox behind ``--connex-sandbox`` speak the dialect of this test, before anybody asks it anything."""
    sandbox: Sandbox = request.getfixturevalue("_connex_shared_sandbox")
    if sandbox.dialect is not connex_dialect:
        with _explained():
            sandbox.dialect = connex_dialect


@pytest.fixture
def connex_sandbox(request: pytest.FixtureRequest, connex_dialect: Dialect) -> Iterator[Sandbox]:
    """A sandbox exchange of the test's own, in every mode: its URLs, its keys, its faults, its limits and clock."""
    yield from _sandbox(request, connex_dialect)


@contextmanager
def _explained() -> Iterator[None]:
    """Fail with what is wrong with a dialect, without the way there."""
    try:
        yield
    except ConfigError as exc:
        pytest.fail(str(exc), pytrace=False)


def _sandbox(request: pytest.FixtureRequest, dialect: Dialect | None = None) -> Iterator[Sandbox]:
    from ..sandbox.server import Sandbox

    run = request.config.stash[RUN]
    with _explained():
        made = Sandbox(seed=run.options.seed, interval=run.options.interval, dialect=dialect)
    with made as sandbox, _spared():
        if run.masking is not None:
            run.masking.hide(sandbox.api_key, sandbox.api_secret)
        with _standing_in(request, sandbox.stand_ins()):
            yield sandbox


def _require_extra(module: str, fixture: str, extra: str = "httpx") -> None:
    """Fail with what to install where an optional library is not there."""
    if find_spec(module) is None:
        pytest.fail(f"{fixture} needs the extra {extra}: pip install 'pytest-connex[{extra}]'", pytrace=False)


def _settings(request: pytest.FixtureRequest) -> ConnexConfig:
    """The configuration of this test: its own sandbox's, or the run's."""
    if owns_sandbox(request.node):
        sandbox: Sandbox = request.getfixturevalue("connex_sandbox")
        return replace(sandbox.config, **request.config.stash[RUN].options.client)
    if request.config.stash[RUN].options.mode == "sandbox":
        request.getfixturevalue("_connex_spoken")
    config: ConnexConfig = request.getfixturevalue("connex_config")
    return config


@pytest.fixture
def connex_sleep() -> Callable[[float], object]:
    """What ``connex_rest`` does between two tries, with the seconds it has to wait; override it not to wait."""
    return time.sleep


@pytest.fixture
def connex_rest(
    request: pytest.FixtureRequest, connex_dialect: Dialect, connex_sleep: Callable[[float], object]
) -> Iterator[ConnexRest]:
    """A ``requests.Session`` on the REST API, authenticated; a thread that uses it after its test is ended."""
    from ..client.rest import ConnexRest

    with ConnexRest(_settings(request), connex_dialect, connex_sleep) as client:
        yield client
    client.get_adapter = _over  # type: ignore[method-assign]


def _over(url: str | bytes) -> NoReturn:
    """Ask nothing more with the client of a test that is over: the proxy would take it for the next test's."""
    raise ReplayAborted("the test of this client is over")


@pytest_asyncio.fixture
async def connex_rest_async(
    request: pytest.FixtureRequest, connex_dialect: Dialect
) -> AsyncIterator[ConnexRestAsync]:
    """The asynchronous twin of ``connex_rest``, on httpx."""
    _require_extra("httpx", "connex_rest_async")
    from ..client.rest_async import ConnexRestAsync

    async with ConnexRestAsync(_settings(request), connex_dialect) as client:
        yield client


@pytest.fixture
def connex_respx(request: pytest.FixtureRequest) -> Iterator[respx.MockRouter]:
    """A respx router on the configured base URL, for answers scripted by hand."""
    _require_extra("respx", "connex_respx")
    import respx

    with respx.mock(base_url=_settings(request).rest_url, assert_all_called=False) as router:
        yield router


@pytest.fixture
def connex_connect(request: pytest.FixtureRequest) -> type[connect]:
    """What a test hands to its client where ``websockets.connect`` stood, for clients whose URL is fixed."""
    trial = request.node.stash[TRIAL]
    if trial.session.plan.action == "pass":
        from websockets.asyncio.client import connect

        return connect
    from ..proxy.connect import connector

    return connector(request.getfixturevalue("_connex_proxy_of_run"), trial.dials)


@pytest.fixture
def connex_connect_sync(request: pytest.FixtureRequest) -> Callable[..., SyncConnection]:
    """The twin of ``connex_connect`` for clients that call ``websockets.sync.client.connect``."""
    trial = request.node.stash[TRIAL]
    if trial.session.plan.action == "pass":
        from websockets.sync.client import connect

        return connect
    from ..proxy.connect_sync import sync_connector

    return sync_connector(request.getfixturevalue("_connex_proxy_of_run"), trial.dials_sync)


@pytest.fixture
def connex_proxy(request: pytest.FixtureRequest, connex_dialect: Dialect) -> Iterator[Proxy]:
    """The proxy that stands where Connex would, for any client: its URLs are in the environment."""
    with ExitStack() as stack:
        if owns_sandbox(request.node):
            proxy = stack.enter_context(_proxy_of_test(request))
            stack.enter_context(_standing_in(request, proxy.stand_ins()))
        else:
            proxy = request.getfixturevalue("_connex_proxy_of_run")
            if request.node.stash[TRIAL].session.plan.action == "pass":  # nobody's visit has begun
                proxy.count_anew()
            proxy.faults.renew(request.config.stash[RUN].options.seed)
            stack.callback(proxy.faults.renew)
        secure = wishes(request.node, request.config.stash[RUN].options).tls
        stack.callback(setattr, proxy, "secure", proxy.secure)
        proxy.secure = secure
        if secure:
            proxy.use_tls(request.getfixturevalue("_connex_certificates"))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in proxy.variables().items():
            if value is None:
                patched.delenv(name, raising=False)
            else:
                patched.setenv(name, value)
        yield proxy


def _proxy_of_test(request: pytest.FixtureRequest) -> Proxy:
    """A proxy of its own for a test with a sandbox of its own."""
    from ..proxy.proxy import Proxy

    session = request.node.stash[TRIAL].session
    return Proxy(lambda: session, _settings(request), seed=request.config.stash[RUN].options.seed)


@pytest.fixture(scope="session")
def connex_schema(request: pytest.FixtureRequest) -> PinnedSchemas:
    """Hold messages against the pinned schemas: ``check(frame)``, ``check_all(frames)``.

    They are in ``schemas`` below the folder of the recordings. No run of tests writes them, not one that records
    either: ``connex schema infer`` pins them, so that a change of what messages look like is looked at by people.
    """
    _require_extra("jsonschema_rs", "connex_schema", "schema")
    from ..schema.pinned import FOLDER, PinnedSchemas

    return PinnedSchemas(request.config.stash[RUN].options.cassette_dir / FOLDER)


@pytest.fixture
def connex_ws_connect(
    request: pytest.FixtureRequest, connex_dialect: Dialect, connex_connect: type[connect]
) -> Callable[..., ConnexWebSocket]:
    """Make WebSocket clients: ``async with connex_ws_connect() as ws``; keyword arguments go to the client."""
    from ..client.websocket import ConnexWebSocket

    config = _settings(request)

    def make(**settings: Any) -> ConnexWebSocket:
        options: dict[str, Any] = {"config": config, "dialect": connex_dialect, "connect": connex_connect}
        return ConnexWebSocket(**(options | settings))

    return make


@pytest_asyncio.fixture
async def connex_ws(connex_ws_connect: Callable[..., ConnexWebSocket]) -> AsyncIterator[ConnexWebSocket]:
    """A WebSocket client: connected, authenticated when there are credentials, closed at teardown."""
    async with connex_ws_connect() as client:
        yield client


@pytest_asyncio.fixture
async def connex_orderbook(
    request: pytest.FixtureRequest, connex_ws: ConnexWebSocket
) -> AsyncIterator[Callable[..., Awaitable[FollowedBook]]]:
    """Subscribe to an order book and follow it: ``book = await connex_orderbook("ETH/USDT", depth=50)``.

    The first broken rule fails the test, whatever the test makes of it.
    """
    from ..client.book import BookFeed

    live = request.config.stash[RUN].options.mode == "live"
    feed = BookFeed(connex_ws, (lambda: time.time_ns() // 1_000_000) if live else None)
    yield feed.open
    if feed.broken is not None and "failed" not in request.node.stash[OUTCOMES]:
        raise feed.broken
