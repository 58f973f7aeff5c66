"""An account's orders at Tradier: by the vendor's id, by our tag, and all of a time."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from adapters.brokers.tradier_account import ReadOrder, read_orders
from adapters.brokers.tradier_http import TradierHttp, account_path
from adapters.brokers.tradier_verdicts import UNREADABLE
from adapters.brokers.tradier_wire import Answer, read_order, venue_error
from domain.errors import VenueUnavailable
from domain.ports import BrokerCredentials, VenueOrder, VenueStatus

# A page size is a wish: its maximum is not documented, and one list is said to take none. So the last page is one that
# is shorter than the documented default, or has nothing new.
ORDERS_PER_PAGE = 100
_SHORTEST_PAGE = 25
_MAX_PAGES = 50
_KNOWN = 20_000
# "`all` will return a maximum of 1 month"; the vendor's day need not be ours, hence a day less, and a day's margin.
_REACH = timedelta(days=29)
_MARGIN = timedelta(days=1)
_T = TypeVar("_T")


class TradierBook:
    """Remembers which of the vendor's ids has which tag, so that an order under way is asked for by its id: the vendor
    wants its lists used sparingly. Forgetting one costs a search."""

    def __init__(self, http: TradierHttp) -> None:
        self._http = http
        self._refs: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._tags: OrderedDict[tuple[str, str], str] = OrderedDict()

    def remember(self, credentials: BrokerCredentials, ref: str, client_order_id: str) -> None:
        _keep(self._refs, (credentials.key_id, client_order_id), ref)
        _keep(self._tags, (credentials.key_id, ref), client_order_id)

    def tag_of(self, credentials: BrokerCredentials, ref: str) -> str | None:
        return self._tags.get((credentials.key_id, ref))

    async def by_ref(self, credentials: BrokerCredentials, ref: str) -> VenueOrder | None:
        """None where the vendor has no such order. Raises VenueUnavailable or VenueRefused."""
        path = account_path(credentials, "orders", ref)
        answer = await self._http.request(credentials, "GET", path, params={"includeTags": "true"})
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise venue_error(answer, credentials)
        if answer.body.get("order") == "null":
            return None
        return readable(read_order(answer.body.get("order")), "order")

    async def find(self, credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        """None only after a month's orders have been gone through; see `by_ref` for what it raises."""
        ref = self._refs.get((credentials.key_id, client_order_id))
        known = None if ref is None else await self.by_ref(credentials, ref)
        if known is not None and known.client_order_id == client_order_id:
            return known
        # Today's and pending ones first; all are asked for only where those have nothing.
        return await self._search(credentials, client_order_id, {}) or await self._search(
            credentials, client_order_id, {"filter": "all"}
        )

    async def all_since(self, credentials: BrokerCredentials, since: datetime, now: datetime) -> list[ReadOrder]:
        """Those submitted since, and some before. Raises VenueUnavailable for a time that the vendor does not reach."""
        if now - since > _REACH:
            raise VenueUnavailable("too_many_orders", f"Tradier's list of orders goes back {_REACH.days} days only")
        return await self._pages(credentials, {"filter": "all", "start": (since - _MARGIN).date().isoformat()})

    async def _search(
        self, credentials: BrokerCredentials, client_order_id: str, query: Mapping[str, str]
    ) -> VenueOrder | None:
        read = await self._pages(credentials, query, until=client_order_id)
        found = [one.order.order for one in read if one.order.order.client_order_id == client_order_id]
        if not found:
            return None
        order = next((one for one in found if one.status is not VenueStatus.REJECTED), found[0])
        self.remember(credentials, order.ref, client_order_id)
        return order

    async def _pages(
        self, credentials: BrokerCredentials, query: Mapping[str, str], until: str | None = None
    ) -> list[ReadOrder]:
        """To the last, or one that has the tag `until`."""
        found: dict[str, ReadOrder] = {}
        for number in range(1, _MAX_PAGES + 1):
            page = await self._page(credentials, {**query, "page": str(number), "limit": str(ORDERS_PER_PAGE)})
            new = {one.order.order.ref: one for one in page if one.order.order.ref not in found}
            found |= new
            has_it = until is not None and any(one.order.order.client_order_id == until for one in new.values())
            if has_it or not new or len(page) < _SHORTEST_PAGE:
                return list(found.values())
        raise VenueUnavailable("too_many_orders", f"more than {len(found)} orders; look at a shorter time")

    async def _page(self, credentials: BrokerCredentials, query: Mapping[str, str]) -> Sequence[ReadOrder]:
        answer = await read(
            self._http, credentials, account_path(credentials, "orders"), {"includeTags": "true", **query}
        )
        return readable(read_orders(answer.body), "orders")


async def read(
    http: TradierHttp, credentials: BrokerCredentials, path: str, params: Mapping[str, str] | None = None
) -> Answer:
    """A GET that must be answered with 200. Raises VenueUnavailable or VenueRefused."""
    answer = await http.request(credentials, "GET", path, params=params)
    if answer.status != 200 or answer.errors:
        raise venue_error(answer, credentials)
    return answer


def readable(told: _T | None, what: str) -> _T:
    if told is None:
        raise VenueUnavailable(UNREADABLE.code, f"HTTP 200 without readable {what}")
    return told


def _keep(known: OrderedDict[tuple[str, str], str], key: tuple[str, str], value: str) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _KNOWN:
        known.popitem(last=False)
