"""Another end for the stand-ins of ``websockets.connect``: it notes how it is dialled."""

from __future__ import annotations

from websockets.http11 import Request

from pytest_connex.proxy.endpoint import Endpoint, Manners


class Desk(Manners):
    """Notes every dial; answers with a redirect where one is laid down for the URL, and accepts otherwise."""

    def __init__(self, redirects: dict[str, str] | None = None) -> None:
        self.refusal: BaseException | None = None
        self.on_read = None
        self.dials: list[str] = []
        self.options: list[dict[str, object]] = []
        self.requests: list[Request] = []
        self._redirects = redirects or {}

    def behaviour(self, url: str, dial: dict[str, object]) -> Desk:
        self.dials.append(url)
        self.options.append(dial)
        return self

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        self.requests.append(request)
        self.endpoint = endpoint
        location = self._redirects.get(self.dials[-1])
        if location:
            endpoint.reject(302, {"Location": location}, "")
        else:
            endpoint.accept(None, {})
            endpoint.send([f"you are at {request.path}"])

    def received(self, message: str | bytes) -> None:
        self.endpoint.send([message])

    def came_late(self, message: str | bytes) -> None: ...

    def writable(self) -> None: ...

    def ended(self, code: int, reason: str) -> None: ...
