"""Tests that do not use Connex: the plugin leaves them alone."""

from __future__ import annotations

import asyncio

import pytest


def test_of_something_else(tmp_path):
    (tmp_path / "note").write_text("kept")

    assert (tmp_path / "note").read_text() == "kept"


@pytest.mark.asyncio
async def test_of_something_else_that_waits():
    assert await asyncio.sleep(0, "awake") == "awake"
