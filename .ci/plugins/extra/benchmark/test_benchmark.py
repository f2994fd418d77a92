"""Something that is measured, beside a request that is not."""

from __future__ import annotations


def test_parsing(benchmark, connex_rest):
    text = connex_rest.get("/v1/status").text

    assert benchmark.pedantic(len, args=(text,), rounds=2) == len(text)
