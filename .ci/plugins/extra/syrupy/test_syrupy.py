"""What Connex answers, compared with a snapshot."""

from __future__ import annotations


def test_symbols(snapshot, connex_rest):
    assert sorted({entry["symbol"] for entry in connex_rest.get("/v1/symbols").json()["symbols"]}) == snapshot
