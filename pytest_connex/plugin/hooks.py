"""The hooks that other plugins and ``conftest.py`` files may implement."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


@pytest.hookspec
def pytest_connex_secrets(config: pytest.Config) -> Iterable[str]:
    """Return further secret values, each of at least 8 characters.

    They are replaced in recordings and masked in reports like the configured credentials.
    """
    raise NotImplementedError
