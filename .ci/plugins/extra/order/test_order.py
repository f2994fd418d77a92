"""Tests in an order of their own."""

from __future__ import annotations

import pytest

_DONE: list[str] = []


@pytest.mark.order(2)
def test_second(connex_rest):
    assert connex_rest.get("/v1/status").ok
    assert _DONE == ["first"]


@pytest.mark.order(1)
def test_first(connex_rest):
    assert connex_rest.get("/v1/symbols").ok
    _DONE.append("first")
