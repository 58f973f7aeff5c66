import json
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.prices.file import FilePrices
from domain.errors import InvalidInput, VenueUnavailable

ASOF = "2026-01-31T20:59:58Z"


async def test_those_that_are_asked_for_and_known_are_given(tmp_path: Path):
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({s: {"price": "1.10", "asof": ASOF} for s in ("A", "B")}))
    found = await FilePrices(file).latest(["A", "NOSUCH"])
    assert {symbol: (q.price, q.source) for symbol, q in found.items()} == {"A": (Decimal("1.10"), "file")}


@pytest.mark.parametrize("raw", [b'{"A": {"price": "1", "as', b"\xff\xfe", b"x" * 200])
async def test_a_file_that_is_not_whole_gives_nothing(tmp_path: Path, raw: bytes):
    file = tmp_path / "prices.json"
    file.write_bytes(raw)
    with pytest.raises(InvalidInput):
        await FilePrices(file, max_bytes=100).latest(["A"])


async def test_no_file_is_said(tmp_path: Path):
    with pytest.raises(VenueUnavailable, match=r"prices\.json: No such file"):
        await FilePrices(tmp_path / "prices.json").latest(["A"])
