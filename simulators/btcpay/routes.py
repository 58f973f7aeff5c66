"""The vendor's Greenfield paths: parse, one call, render."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from aiohttp import web

from simulators.btcpay.ledger import Ledger
from simulators.btcpay.render import invoice_json, method_json, payouts_json, pull_json
from simulators.btcpay.requests import Mark, NewInvoice, NewRefund, Refused, UpdatedInvoice, read, whole
from simulators.btcpay.state import METHOD, Clock, Invoice, PullPayment, Speed, new_id

PREFIX = "/api/v1/"
_STORE, _INVOICE = f"{PREFIX}stores/{{store_id}}", f"{PREFIX}invoices/{{invoice_id}}"
_PULL = f"{PREFIX}pull-payments/{{pull_id}}"
_TAKE, _MAX_TAKE = 50, 1_000


class Greenfield:
    """`rate()` is what one bitcoin costs now; `url()` is where people reach the server."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        store_id: str,
        speed: Speed,
        rate: Callable[[], Decimal],
        url: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._store_id = store_id
        self._speed = speed
        self._rate = rate
        self._url = url

    def table(self) -> list[web.RouteDef]:
        return [
            web.get(f"{PREFIX}health", self._health),
            web.get(f"{PREFIX}server/info", self._info),
            web.get(f"{_STORE}/invoices", self._list),
            web.post(f"{_STORE}/invoices", self._create),
            web.get(f"{_STORE}/pull-payments", self._pulls),
            web.get(_INVOICE, self._get),
            web.put(_INVOICE, self._update),
            web.delete(_INVOICE, self._archive),
            web.post(f"{_INVOICE}/unarchive", self._unarchive),
            web.get(f"{_INVOICE}/payment-methods", self._methods),
            web.post(f"{_INVOICE}/status", self._mark),
            web.post(f"{_INVOICE}/refund", self._refund),
            web.get(_PULL, self._pull),
            web.get(f"{_PULL}/payouts", self._payouts),
        ]

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"synchronized": True})

    async def _info(self, _request: web.Request) -> web.Response:
        body = {"version": "2.0.0", "onion": None, "supportedPaymentMethods": [METHOD], "fullySynched": True}
        return web.json_response({**body, "syncStatus": []})

    async def _create(self, request: web.Request) -> web.Response:
        self._own(request)
        wanted = await read(request, NewInvoice)
        invoice = wanted.invoice(self._store_id, self._rate(), self._speed, self._clock.now())
        self._ledger.add(invoice)
        return self._show(invoice)

    async def _list(self, request: web.Request) -> web.Response:
        self._own(request)
        self._ledger.look_at_all()
        wanted = [i for i in reversed(self._ledger.book.invoices.values()) if _is_wanted(i, request)]
        skip, take = whole(request.query, "skip", 0), min(whole(request.query, "take", _TAKE), _MAX_TAKE)
        rows = [invoice_json(invoice, self._url()) for invoice in wanted[skip:][:take]]
        if request.query.get("includePaymentMethods", "").lower() == "true":
            for row in rows:
                invoice = self._ledger.book.invoices[row["id"]]
                row["paymentMethods"] = [method_json(invoice, self._ledger.book.height)]
        return web.json_response(rows)

    async def _get(self, request: web.Request) -> web.Response:
        return self._show(self._invoice(request))

    async def _update(self, request: web.Request) -> web.Response:
        invoice = self._invoice(request)
        invoice.metadata = (await read(request, UpdatedInvoice)).metadata
        return self._show(invoice)

    async def _archive(self, request: web.Request) -> web.Response:
        self._invoice(request).archived = True
        return web.Response()

    async def _unarchive(self, request: web.Request) -> web.Response:
        invoice = self._invoice(request)
        invoice.archived = False
        return self._show(invoice)

    async def _methods(self, request: web.Request) -> web.Response:
        accounted = request.query.get("onlyAccountedPayments", "true").lower() != "false"
        found = method_json(self._invoice(request), self._ledger.book.height, accounted_only=accounted)
        return web.json_response([found])

    async def _mark(self, request: web.Request) -> web.Response:
        invoice = self._invoice(request)
        wanted = await read(request, Mark)
        try:
            self._ledger.mark(invoice, wanted.status)
        except ValueError as error:
            raise Refused(400, "", "", faults=[{"path": "status", "message": str(error)}]) from error
        return self._show(invoice)

    async def _refund(self, request: web.Request) -> web.Response:
        """Twice is two: the vendor has no key that would make it one."""
        invoice = self._invoice(request)
        wanted = await read(request, NewRefund)
        amount, currency = wanted.money(invoice, self._rate())
        if not invoice.payments or amount <= 0:
            raise Refused(400, "non-refundable", "Cannot refund this invoice")
        name = wanted.name or f"Refund {invoice.id}"
        pull = PullPayment(new_id(), name, wanted.description, amount, currency, invoice.id, self._clock.now())
        self._ledger.book.pulls[pull.id] = pull
        return web.json_response(pull_json(pull, self._url()))

    async def _pulls(self, request: web.Request) -> web.Response:
        self._own(request)
        archived = request.query.get("includeArchived", "").lower() == "true"
        found = [pull for pull in self._ledger.book.pulls.values() if archived or not pull.archived]
        return web.json_response([pull_json(pull, self._url()) for pull in found])

    async def _pull(self, request: web.Request) -> web.Response:
        return web.json_response(pull_json(self._pull_of(request), self._url()))

    async def _payouts(self, request: web.Request) -> web.Response:
        return web.json_response(payouts_json(self._pull_of(request)))

    def _own(self, request: web.Request) -> None:
        if request.match_info["store_id"] != self._store_id:
            raise Refused(403, "missing-permission", "no such store for this key")

    def _invoice(self, request: web.Request) -> Invoice:
        try:
            invoice = self._ledger.find(request.match_info["invoice_id"])
        except ValueError:
            raise Refused(404, "invoice-not-found", "The invoice was not found") from None
        self._ledger.look(invoice)
        return invoice

    def _pull_of(self, request: web.Request) -> PullPayment:
        found = self._ledger.book.pulls.get(request.match_info["pull_id"])
        if found is None:
            raise Refused(404, "pullpayment-not-found", "The pull payment was not found")
        return found

    def _show(self, invoice: Invoice) -> web.Response:
        return web.json_response(invoice_json(invoice, self._url()))


def _is_wanted(invoice: Invoice, request: web.Request) -> bool:
    orders, states = request.query.getall("orderId", []), request.query.getall("status", [])
    begin, end = _time(request, "startDate"), _time(request, "endDate")
    return (
        not invoice.archived
        and (not orders or invoice.order_id in orders)
        and (not states or invoice.status in states)
        and (begin is None or invoice.created_at >= begin)
        and (end is None or invoice.created_at <= end)
    )


def _time(request: web.Request, name: str) -> datetime | None:
    return datetime.fromtimestamp(whole(request.query, name, 0), UTC) if request.query.get(name) else None
