"""A fixture named in a parameter."""

from __future__ import annotations

import pytest
from pytest_lazy_fixtures import lf


@pytest.mark.parametrize("client", [lf("connex_rest")])
def test_a_client(client, connex_config):
    assert client.get("/v1/status").json()["status"] == "healthy"
