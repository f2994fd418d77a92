"""Tests that need others to have passed."""

from __future__ import annotations

import pytest


@pytest.mark.dependency
def test_first(connex_rest):
    assert connex_rest.get("/v1/status").ok


@pytest.mark.dependency(depends=["test_first"])
def test_second(connex_rest):
    assert connex_rest.get("/v1/symbols").ok
