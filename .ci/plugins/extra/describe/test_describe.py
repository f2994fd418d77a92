"""Tests in blocks."""

from __future__ import annotations


def describe_status():
    def is_healthy(connex_rest):
        assert connex_rest.get("/v1/status").json()["status"] == "healthy"
