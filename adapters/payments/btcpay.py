"""A store of a BTCPay Server by its Greenfield API: invoices to pay in bitcoin, and refunds that are claimed.

No retries and no redirects. The key is the store's, for invoices and pull payments; it can spend nothing, and no key
to any money is anywhere here. It needs `btcpay.store.canviewinvoices`, `.cancreateinvoice`, `.canmodifyinvoices`,
`.cancreatepullpayments` and `.canmanagepullpayments` (the last one to find a refund that was made already).

There are no idempotency keys: what may have been made already is looked up by our own name for it first.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from adapters.payments.btcpay_wire import (
    Asked,
    Checkout,
    PullPayment,
    invoice_body,
    is_usd,
    read_invoice,
    read_paid_out,
    read_pull_payment,
    refund_body,
    refusal,
    tags_of,
    unreadable,
)
from domain.billing import BillingRefused, BillingUnavailable
from domain.bitcoin import Reading

_MAX_ANSWER_BYTES = 4_000_000
_PAGE = 100
_MAX_PAGES = 100
_TRY_AGAIN = frozenset({408, 425, 429})

_Params = Mapping[str, Any]


class Btcpay:
    """Holds a pool of connections, opened by the first request; `close()` it.

    `timeout_ms` bounds a whole request. Every method raises BillingUnavailable (try again) or BillingRefused (`code` is
    the server's, `invalid`, `forbidden` or `not-found`).
    """

    def __init__(
        self, url: str, api_key: str, store_id: str, checkout: Checkout, *, timeout_ms: int, max_connections: int
    ) -> None:
        self._url = url.rstrip("/")
        self._key = api_key
        self._store = f"/api/v1/stores/{quote(store_id, safe='')}"
        self._checkout = checkout
        self._timeout_s = timeout_ms / 1_000
        self._limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client: httpx.AsyncClient | None = None

    async def ping(self) -> None:
        """Whether the server answers, and the key may read the store's invoices."""
        await self._list({"take": 1})

    async def find(self, order_id: str) -> Reading | None:
        """The invoice in USD that was made for `order_id`; the newest, should there be several."""
        listed = await self._list({"orderId": [order_id]})
        found = [read_invoice(said) for said in listed if tags_of(said).get("orderId") == order_id and is_usd(said)]
        newest = max(found, key=lambda reading: reading.created_at, default=None)
        return None if newest is None else await self.read(newest.ref)

    async def create(self, asked: Asked) -> Reading:
        """Makes it anew each time: look it up before."""
        return read_invoice(
            await self._ask("POST", f"{self._store}/invoices", body=invoice_body(asked, self._checkout))
        )

    async def read(self, ref: str) -> Reading:
        """With all of its payments, those that came to nothing as well."""
        path = _invoice(ref)
        said = await self._ask("GET", path)
        methods = await self._ask("GET", f"{path}/payment-methods", params={"onlyAccountedPayments": "false"})
        return read_invoice(said, methods)

    async def since(self, moment: datetime, tag: tuple[str, str]) -> list[Reading]:
        """The invoices in USD made since then that carry this tag."""
        name, value = tag
        found: list[str] = []
        for page in range(_MAX_PAGES):
            asked = {"startDate": int(moment.timestamp()), "textSearch": value, "skip": page * _PAGE, "take": _PAGE}
            listed = await self._list(asked)
            found.extend(read_invoice(said).ref for said in listed if tags_of(said).get(name) == value and is_usd(said))
            if len(listed) < _PAGE:
                break
        return [await self.read(ref) for ref in found]

    async def mark_invalid(self, ref: str) -> Reading:
        """Nobody shall pay it any more."""
        await self._ask("POST", f"{_invoice(ref)}/status", body={"status": "Invalid"})
        return await self.read(ref)

    async def refund(self, ref: str, name: str, amount_minor: int, description: str) -> PullPayment:
        """A page where the payer says where to: up to that many US cents of the invoice, under a name given once."""
        listed = await self._ask("GET", f"{self._store}/pull-payments", params={"includeArchived": "true"})
        for said in listed if isinstance(listed, list) else ():
            if (made := read_pull_payment(said)).name == name:
                return made
        body = refund_body(name, amount_minor, description)
        return read_pull_payment(await self._ask("POST", f"{_invoice(ref)}/refund", body=body))

    async def paid_out_minor(self, ref: str) -> int:
        """What has been claimed of a refund and paid, in US cents."""
        return read_paid_out(await self._ask("GET", f"/api/v1/pull-payments/{quote(ref, safe='')}/payouts"))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _list(self, params: _Params) -> list[dict[str, Any]]:
        listed = await self._ask("GET", f"{self._store}/invoices", params=params)
        if not isinstance(listed, list) or not all(isinstance(said, dict) for said in listed):
            raise unreadable("a list of invoices")
        return listed

    async def _ask(
        self, method: str, path: str, *, params: _Params | None = None, body: dict[str, Any] | None = None
    ) -> Any:
        """A success's JSON. What a failure says is told on, its code and message only, and never with the key."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, raw = await self._send(method, path, params, body)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise BillingUnavailable(f"BTCPay Server gives no answer ({type(error).__name__})") from None
        if status in _TRY_AGAIN or status >= 500:
            raise BillingUnavailable(f"BTCPay Server: HTTP {status}")
        try:
            said = json.loads(raw, parse_float=str) if raw else None
        except ValueError as error:
            said, fault = None, error
            if 200 <= status < 300:
                raise unreadable("an answer", fault) from None
        if 200 <= status < 300:
            return said
        raise self._refused(status, said)

    async def _send(
        self, method: str, path: str, params: _Params | None, body: dict[str, Any] | None
    ) -> tuple[int, bytes]:
        if self._client is None:
            headers = {"Authorization": f"token {self._key}", "Accept": "application/json"}
            self._client = httpx.AsyncClient(
                base_url=self._url,
                headers=headers,
                limits=self._limits,
                timeout=self._timeout_s,
                verify=not self._url.startswith("http://"),  # plain http is for simulators: no authorities to read
            )
        async with self._client.stream(method, path, params=params, json=body) as response:
            raw = b""
            async for part in response.aiter_bytes():
                raw += part
                if len(raw) > _MAX_ANSWER_BYTES:
                    raise unreadable("an answer of that size")
        return response.status_code, raw

    def _refused(self, status: int, said: Any) -> BillingRefused | BillingUnavailable:
        if status < 400:
            return BillingUnavailable(f"BTCPay Server: HTTP {status} is no answer")
        if status in {401, 403}:
            return BillingRefused("forbidden", f"BTCPay Server: HTTP {status}: the key may not do this, or is no key")
        code, message = refusal(said)
        if status == 404:
            code = "not-found"
        return BillingRefused(code, f"BTCPay Server: HTTP {status}: {message}".replace(self._key, "***"))


def _invoice(ref: str) -> str:
    return f"/api/v1/invoices/{quote(ref, safe='')}"
