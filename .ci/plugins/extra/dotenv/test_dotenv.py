"""Variables that a file sets."""

from __future__ import annotations

import os


def test_a_variable(connex_rest):
    assert os.environ["WANTED_STATUS"] == connex_rest.get("/v1/status").json()["status"]
