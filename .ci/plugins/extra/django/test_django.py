"""A view that asks Connex, and a database."""

from __future__ import annotations

import pytest
from market import headers


def test_a_view(client, settings, connex_config):
    settings.CONNEX_URL = connex_config.rest_url
    settings.CONNEX_HEADERS = headers(connex_config)

    assert client.get("/status/").json() == {"connex": "healthy"}


@pytest.mark.django_db
def test_a_database(connex_rest):
    from django.contrib.auth.models import User

    User.objects.create(username=connex_rest.get("/v1/status").json()["status"])

    assert User.objects.get().username == "healthy"
