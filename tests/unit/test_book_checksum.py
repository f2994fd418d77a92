"""Checksums: the examples that the exchanges publish, and what the digits depend on."""

from __future__ import annotations

import zlib
from decimal import Decimal

import pytest

from pytest_connex.book.checksum import CHECKSUMS, KRAKEN, OKX
from pytest_connex.errors import DataFormatError
from pytest_connex.model import Level


def levels(*texts: str) -> list[Level]:
    return [Level(*map(Decimal, text.split(":"))) for text in texts]


KRAKEN_ASKS = levels(*(f"0.0{tick}:0.00000500" for tick in range(5005, 5055, 5)))
KRAKEN_BIDS = levels(
    *(f"0.0{tick:04}:0.00000500" for tick in (5000, 4995, 4990, 4980, 4975, 4970, 4965, 4960, 4955, 4950))
)


def test_the_example_of_kraken():
    assert KRAKEN.of(KRAKEN_BIDS, KRAKEN_ASKS) == 974947235


def test_the_example_of_okx_with_as_many_bids_as_asks():
    assert OKX.of(levels("3366.1:7", "3366:6"), levels("3366.8:9", "3368:8")) == -1881014294


def test_the_example_of_okx_with_more_asks_than_bids():
    assert OKX.of(levels("3366.1:7"), levels("3366.8:9", "3368:8", "3372:8")) == 831078360


def test_bids_that_are_left_over_go_on_alone():
    bids, asks = levels("3:1", "2:1", "1:1"), levels("4:1")
    assert OKX.of(bids, asks) in (crc := zlib.crc32(b"3:1:4:1:2:1:1:1"), crc - 2**32)


@pytest.mark.parametrize(("checksum", "covered"), [(KRAKEN, 10), (OKX, 25)])
def test_levels_below_those_it_covers_do_not_count(checksum, covered):
    bids = levels(*(f"{100 - place}:1" for place in range(40)))
    asks = levels(*(f"{101 + place}:1" for place in range(40)))
    assert checksum.of(bids, asks) == checksum.of(bids[:covered], asks[:covered])
    assert checksum.of(bids, asks) != checksum.of(bids[: covered - 1], asks[: covered - 1])


@pytest.mark.parametrize("checksum", CHECKSUMS.values(), ids=CHECKSUMS)
def test_a_trailing_zero_counts(checksum):
    asks = levels("2:1")
    assert checksum.of(levels("1.10:1"), asks) != checksum.of(levels("1.1:1"), asks)


@pytest.mark.parametrize("checksum", CHECKSUMS.values(), ids=CHECKSUMS)
def test_small_numbers_are_written_without_an_exponent(checksum):
    small = levels("0.00000010:0.00000001")
    assert str(small[0].price) == "1.0E-7"
    text = {KRAKEN: "101", OKX: "0.00000010:0.00000001"}[checksum]
    assert checksum.of(small, []) in (crc := zlib.crc32(text.encode()), crc - 2**32)


def test_an_empty_book_has_the_checksum_of_no_digits():
    assert (KRAKEN.of([], []), OKX.of([], [])) == (0, 0)


def test_krakens_is_unsigned_and_that_of_okx_is_signed():
    many = [levels(f"{price}:1") for price in range(1, 200)]
    krakens, okxs = ([checksum.of(bids, []) for bids in many] for checksum in (KRAKEN, OKX))
    assert (min(krakens) >= 0, max(krakens) >= 2**31) == (True, True)
    assert (min(okxs) < 0, min(okxs) >= -(2**31), max(okxs) < 2**31) == (True, True, True)


def test_a_number_of_a_million_digits_is_refused():
    with pytest.raises(DataFormatError, match="more than 10000 digits: it has no checksum"):
        KRAKEN.of(levels("1e999999:1"), [])
