"""Recorded traffic of real exchanges, where it lies beside this repository, as typed frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_connex.model import Level, Snapshot, Update
from pytest_connex.protocol import decimal_from, decode_json

DATA = Path(__file__).parents[2].parent / "shared" / "data"

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the recorded traffic of real exchanges is not beside this repository"
)


def binance_snapshots() -> dict[str, Snapshot]:
    """The REST snapshots by symbol."""
    snapshots = {}
    for line in (DATA / "binance_spot.http.txt").read_text("utf-8").splitlines():
        if found := re.match(r"\S+symbol=(\w+)\S* -> [\d.]+: (.*lastUpdateId.*)", line):
            book = decode_json(found[2])
            snapshots[found[1]] = Snapshot(
                symbol=found[1], sequence=book["lastUpdateId"], bids=_levels(book["bids"]), asks=_levels(book["asks"])
            )
    return snapshots


def binance_updates() -> list[Update]:
    """The updates of all symbols, as they came."""
    return [
        Update(
            symbol=data["s"],
            timestamp=data["E"],
            first_sequence=data["U"],
            sequence=data["u"],
            bids=_levels(data["b"]),
            asks=_levels(data["a"]),
        )
        for payload in _received("binance_spot.ws.txt")
        if (data := payload.get("data", {})).get("e") == "depthUpdate"
    ]


def okx_frames() -> list[Snapshot | Update]:
    """The snapshots and updates of all instruments, as they came."""
    frames: list[Snapshot | Update] = []
    for payload in _received("okx_swap.ws.txt"):
        about = payload.get("arg", {})
        if about.get("channel") != "books" or "data" not in payload:
            continue
        kind = Snapshot if payload["action"] == "snapshot" else Update
        [book] = payload["data"]
        frames.append(
            kind(
                symbol=about["instId"],
                timestamp=int(book["ts"]),
                checksum=book["checksum"],
                bids=_levels(book["bids"]),
                asks=_levels(book["asks"]),
            )
        )
    return frames


def _received(name: str) -> Iterator[Any]:
    for line in (DATA / name).read_text("utf-8").splitlines():
        if found := re.match(r"[\d.]+: (\{.*)", line):
            yield decode_json(found[1])


def _levels(levels: Sequence[Sequence[Any]]) -> tuple[Level, ...]:
    return tuple(Level(decimal_from(level[0]), decimal_from(level[1])) for level in levels)
