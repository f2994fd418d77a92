"""A cassette of pytest-recording's own, for a host that is not Connex."""

from __future__ import annotations

import pytest
import requests


@pytest.mark.vcr
def test_another_host():
    assert requests.get("https://other.invalid/rate", timeout=10).json() == {"rate": "1.25"}
