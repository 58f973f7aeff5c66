"""One reading after another of the OS's queue, with the engine and the database played by dictionaries."""

import json
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.ingest import IngestActivities, IngestResult
from adapters.queue import QueueFile
from domain.errors import InvalidInput
from domain.mirroring import Admission, MirrorOrderInput
from domain.orders import ManagerState

GOOD = {"id": "a", "vault_id": "V_a", "symbol": "AAPL", "side": "buy", "qty": "1"}


class Store:
    """`symbols` are what can be traded; every vault is tenant t's."""

    def __init__(self) -> None:
        self.symbols = {"AAPL"}
        self.known: dict[str, str] = {}

    async def tenant_of_vault(self, vault_id: str) -> str | None:
        return "t"

    async def is_known(self, tenant_id: str, key: str) -> bool:
        return key in self.known

    async def require_symbol(self, tenant_id: str, symbol: str) -> None:
        if symbol not in self.symbols:
            raise InvalidInput("symbol", f"{symbol} is not a known instrument")

    async def remember(self, tenant_id: str, key: str, mo_id: str, outcome: str) -> None:
        self.known[key] = outcome


class Starter:
    def __init__(self) -> None:
        self.taken: list[MirrorOrderInput] = []

    async def admit(self, order: MirrorOrderInput) -> Admission | None:
        self.taken.append(order)
        return Admission(order.mo_id, accepted=True, state=ManagerState.DISPATCHING, fingerprint=order.fingerprint)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "autotrade_queue.json"


def write(path: Path, *entries: object) -> None:
    path.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in entries))


async def read(path: Path, store: Store, starter: Starter) -> IngestResult:
    activities = IngestActivities(QueueFile(path, max_bytes=1_000_000), store, starter)  # type: ignore[arg-type]  # played
    result: IngestResult = await ActivityEnvironment().run(activities.ingest)
    return result


async def test_a_rejected_entry_never_becomes_an_order_later(path: Path):
    store, starter = Store(), Starter()
    write(path, {**GOOD, "symbol": "NEW"})
    assert (await read(path, store, starter)).rejected == 1
    store.symbols.add("NEW")
    assert (await read(path, store, starter)).known == 1
    assert starter.taken == []
    assert len(path.with_name("autotrade_queue.rejects.jsonl").read_text().splitlines()) == 1


async def test_a_corrected_entry_is_taken_under_its_old_id(path: Path):
    store, starter = Store(), Starter()
    write(path, {**GOOD, "qty": "-1"})
    await read(path, store, starter)
    write(path, GOOD)
    assert (await read(path, store, starter)).admitted == 1
    assert [order.intent.qty for order in starter.taken] == [1]


async def test_a_line_that_is_no_json_is_rejected_once_and_the_rest_goes_on(path: Path):
    store, starter = Store(), Starter()
    write(path, "{broken", GOOD)
    assert await read(path, store, starter) == IngestResult(admitted=1, rejected=1)
    assert await read(path, store, starter) == IngestResult(known=2)


async def test_no_file_is_nothing_to_do(path: Path):
    assert await read(path, Store(), Starter()) == IngestResult()
