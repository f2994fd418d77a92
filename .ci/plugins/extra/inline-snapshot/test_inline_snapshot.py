"""What Connex answers, compared with a snapshot in the test."""

from __future__ import annotations

from inline_snapshot import snapshot


def test_status_is_as_before(connex_rest):
    assert connex_rest.get("/v1/status").json()["status"] == snapshot("healthy")
