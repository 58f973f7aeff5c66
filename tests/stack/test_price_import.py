"""Prices from a file, by hand."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidInput
from settings import Settings
from stack.price_import import Imported, import_prices
from stack.seed import open_database, seed


def entry(price: str, age: timedelta = timedelta(0)) -> dict[str, str]:
    return {"price": price, "asof": (datetime.now(UTC) - age).isoformat()}


def written(folder: Path, entries: Any) -> Path:
    file = folder / "prices.json"
    file.write_text(json.dumps(entries))
    return file


async def prices(settings: Settings) -> list[tuple[Decimal, str]]:
    database = open_database(settings)
    try:
        async with database.cursor("00000000-0000-0000-0000-000000000000") as cursor:
            cursor.filtered = False
            await cursor.execute("SELECT price, source FROM prices WHERE symbol = 'IMPORTED'")
            return [(row["price"], row["source"]) for row in await cursor.fetchall()]
    finally:
        await database.close()


async def test_a_file_is_kept_whole_or_not_at_all(settings: Settings, tmp_path: Path):
    await seed(settings, "00000000-0000-4000-8000-000000000001", "Trial", {"IMPORTED": Decimal(10)})
    whole = written(tmp_path, {"IMPORTED": entry("11.000000000001"), "NOSUCHSYMBOL": entry("1")})
    assert await import_prices(settings, whole) == Imported(found=2, kept=1, unknown=("NOSUCHSYMBOL",))
    assert await prices(settings) == [(Decimal("11.000000000001"), "file")]
    assert (await import_prices(settings, written(tmp_path, {"IMPORTED": entry("9", timedelta(hours=1))}))).kept == 0
    for wrong in ({"IMPORTED": entry("12"), "B": {}}, {"IMPORTED": entry("12", -timedelta(hours=1))}):
        with pytest.raises(InvalidInput):
            await import_prices(settings, written(tmp_path, wrong))
    assert await prices(settings) == [(Decimal("11.000000000001"), "file")]
