"""Many checks in one test."""

from __future__ import annotations

from pytest_check import check


def test_checks(connex_rest):
    status = connex_rest.get("/v1/status").json()
    check.equal(status["status"], "healthy")
    check.is_in("exchanges", status)
