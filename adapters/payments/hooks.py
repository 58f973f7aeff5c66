"""The door for payment systems' events: believed when signed and of now, stored once, and acted on afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from adapters.store.inbox import Inbox
from domain.billing import Provider
from domain.payment_events import EventState, PaymentEvent


class HookReader(Protocol):
    """One payment system's way of signing, and the shape of its events."""

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> PaymentEvent:
        """`headers` without regard to case. Raises HookRefused, HookNotSetUp."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """`new`: it was not known. A repeat is answered like the first, as its sender must stop sending it."""

    event: PaymentEvent
    state: EventState
    new: bool


class PaymentHooks:
    def __init__(self, readers: Mapping[Provider, HookReader], inbox: Inbox) -> None:
        self._readers, self._inbox = readers, inbox

    async def receive(self, provider: Provider, headers: Mapping[str, str], body: bytes, now: datetime) -> Received:
        """Raises HookRefused and HookNotSetUp, with nothing stored, and StoreUnavailable: it will be sent again."""
        event = self._readers[provider].read(headers, body, now)
        state = EventState.PENDING if event.concerns_us else EventState.IGNORED
        return Received(event, state, await self._inbox.store(event, state, now))

    async def left(self) -> Mapping[tuple[str, str], int]:
        """Of the inbox, how many events wait and how many are nobody's, by payment system and state."""
        return await self._inbox.left()
