"""Expected failures do not hide a verdict."""

from __future__ import annotations

import pytest
from market import REPLAYING


@pytest.mark.xfail
def test_expected_to_fail(connex_rest):
    assert connex_rest.get("/v1/symbols" if REPLAYING else "/v1/status").json() == {}


@pytest.mark.xfail(strict=True)
def test_strictly_expected_to_fail(connex_rest):
    assert connex_rest.get("/v1/symbols" if REPLAYING else "/v1/status").json() == {}
