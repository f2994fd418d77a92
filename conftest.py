"""Configuration of this repository's own tests: the plugin itself is installed as everybody's is."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["pytester"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one more than there are processors with ``-n auto``: many tests wait for a client, or for its process."""
    return (os.cpu_count() or 1) + 1
