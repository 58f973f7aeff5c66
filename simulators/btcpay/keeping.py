"""The book in a file, so that it outlives the process, killed or not."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from simulators.btcpay.delivery import Deliveries, Delivery
from simulators.btcpay.state import Book


@dataclass(slots=True)
class _Waiting:
    event: dict[str, Any]
    due: datetime
    attempt: int


@dataclass(slots=True)
class _Kept:
    book: Book = field(default_factory=Book)
    waiting: list[_Waiting] = field(default_factory=list)


_FORMAT = TypeAdapter(_Kept)


class Keeper:
    """`file` none: nothing is kept. The file holds no secret: a delivery finds its webhook again by its id."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._last = b""

    def read(self, deliveries: Deliveries) -> Book:
        """And give back to `deliveries` what waited."""
        if self._file is None or not self._file.exists():
            return Book()
        kept = _FORMAT.validate_json(self._file.read_bytes())
        webhooks = {webhook.id: webhook for webhook in deliveries.webhooks}
        for waiting in kept.waiting:
            if webhook := webhooks.get(waiting.event["webhookId"]):
                deliveries.waiting.append(Delivery(webhook, waiting.event, waiting.due, waiting.attempt))
        return kept.book

    def write(self, book: Book, deliveries: Deliveries) -> None:
        if self._file is None:
            return
        waiting = [_Waiting(d.event, d.due, d.attempt) for d in deliveries.waiting]
        found = _FORMAT.dump_json(_Kept(book, waiting))
        if found != self._last:
            beside = self._file.with_suffix(".new")
            beside.write_bytes(found)
            beside.replace(self._file)
            self._last = found
