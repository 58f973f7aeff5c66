"""The comparison of all invoices with payment systems', a page of subscriptions at a time.

What differs is recorded and told, and the subscription's owner is woken: it reads what is true and writes it, so that
the next comparison finds the difference gone. One payment system that is away keeps no other from being compared.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from temporalio import activity

from activities.errors import translated
from activities.heartbeat import beating
from domain.billing import OVER, Biller, BillingError, BillingUnavailable, Invoice, Provider
from domain.billing_comparison import ComparisonTotals, Settled, compare
from domain.errors import NotFound
from domain.subscriptions import ListedSubscription

if TYPE_CHECKING:
    from adapters.store.billing_differences import DifferenceStore
    from adapters.store.subscriptions import SubscriptionStore

_log = logging.getLogger("vanta.billing")
_AT_ONCE = 4
_GIVES_UP_AFTER = 3  # of a payment system that does not answer, in one page


class Owners(Protocol):
    async def wake(self, tenant_id: str, subscription_id: str) -> None: ...

    async def ensure(self, tenant_id: str, subscription_id: str) -> bool:
        """Start the owner where none runs; whether that was so."""
        ...


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """The subscriptions beyond `after`, at `now`, with their invoices from `since` on."""

    after: str
    now: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class ComparedPage:
    """`next_after` begins the next page; None after the last."""

    totals: ComparisonTotals
    next_after: str | None = None


@dataclass(slots=True)
class _Page:
    given: ComparisonPage
    totals: ComparisonTotals = field(default_factory=ComparisonTotals)
    failures: dict[Provider, int] = field(default_factory=dict)

    def unread(self, provider: Provider) -> None:
        self.totals.unread[provider] = self.totals.unread.get(provider, 0) + 1


class BillingComparison:
    def __init__(
        self,
        subscriptions: "SubscriptionStore",
        differences: "DifferenceStore",
        billers: Mapping[Provider, Biller],
        owners: Owners,
        *,
        page_size: int = 50,
    ) -> None:
        self._subscriptions, self._differences = subscriptions, differences
        self._billers, self._owners = billers, owners
        self._page_size = page_size

    @activity.defn
    async def compare_billing_page(self, given: ComparisonPage) -> ComparedPage:
        """A repeat finds the same; what was recorded is not told twice."""
        page, room = _Page(given), asyncio.Semaphore(_AT_ONCE)
        async with translated():
            listed = await self._differences.listed(given.after, self._page_size)

            async def one(subscription: ListedSubscription) -> None:
                async with room:
                    await self._one(page, subscription)

            async with beating(lambda: (page.totals.compared, len(listed))):
                # Not a group: what fails of one must not end the others'.
                done = await asyncio.gather(*(one(each) for each in listed), return_exceptions=True)
        for failed in done:
            if isinstance(failed, BaseException):
                raise failed
        last = listed[-1].subscription_id if len(listed) == self._page_size else None
        return ComparedPage(page.totals, last)

    async def _one(self, page: _Page, listed: ListedSubscription) -> None:
        over = listed.status in OVER
        if over and listed.ended_at is not None and listed.ended_at < page.given.since:
            return
        if not over and await self._owners.ensure(listed.tenant_id, listed.subscription_id):
            page.totals.started += 1
        theirs = await self._theirs(page, listed)
        if theirs is not None:
            await self._compare(page, listed, theirs)

    async def _theirs(self, page: _Page, listed: ListedSubscription) -> Sequence[Invoice] | None:
        """None where they could not be read, which is counted."""
        biller = self._billers.get(listed.provider)
        if biller is None or page.failures.get(listed.provider, 0) >= _GIVES_UP_AFTER:
            page.unread(listed.provider)
            return None
        try:
            account = await self._subscriptions.account(listed.tenant_id, listed.subscription_id)
            return await biller.invoices(account, page.given.since)
        except (BillingError, NotFound) as error:
            _log.warning("the invoices of %s could not be compared: %s", listed.subscription_id, error.code)
            if isinstance(error, BillingUnavailable):
                page.failures[listed.provider] = page.failures.get(listed.provider, 0) + 1
            page.unread(listed.provider)
            return None

    async def _compare(self, page: _Page, listed: ListedSubscription, theirs: Sequence[Invoice]) -> None:
        # Ours are read after theirs: what was written meanwhile is no difference.
        ours = (await self._subscriptions.account(listed.tenant_id, listed.subscription_id)).invoices
        found = compare(ours, theirs, page.given.since + timedelta(hours=1))
        settled: Settled = await self._differences.settle(
            listed.tenant_id, listed.subscription_id, listed.provider, found, page.given.now
        )
        if found:
            await self._owners.wake(listed.tenant_id, listed.subscription_id)
        totals = page.totals
        totals.compared += 1
        totals.open += settled.open
        totals.new += settled.new
        totals.gone += settled.gone
