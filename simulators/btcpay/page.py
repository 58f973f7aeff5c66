"""What a person sees at `checkoutLink`: what is to be paid, and buttons in place of a wallet and the miners."""

from collections.abc import Callable
from decimal import Decimal
from html import escape

from aiohttp import web

from simulators.btcpay.ledger import Ledger
from simulators.btcpay.render import text
from simulators.btcpay.state import Invoice, PullPayment

_PARTS = {"exactly": Decimal(1), "half": Decimal("0.5"), "double": Decimal(2)}
_STYLE = "body{font:16px sans-serif;max-width:42em;margin:3em auto}td{padding:.2em 1em .2em 0}form{display:inline}"


class Pages:
    """`changed` is called after each button."""

    def __init__(self, ledger: Ledger, changed: Callable[[], None]) -> None:
        self._ledger = ledger
        self._changed = changed

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/i/{invoice_id}", self._checkout),
            web.post("/i/{invoice_id}/pay/{part}", self._pay),
            web.post("/i/{invoice_id}/mine", self._mine),
            web.get("/pull-payments/{pull_id}", self._pull),
        ]

    async def _checkout(self, request: web.Request) -> web.Response:
        invoice = self._invoice(request)
        self._ledger.look(invoice)
        return _html(f"Invoice {invoice.id}", checkout_html(invoice, self._ledger.book.height))

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        invoice, part = self._invoice(request), request.match_info["part"]
        if part not in _PARTS:
            raise web.HTTPNotFound
        try:
            self._ledger.pay(invoice.id, invoice.part(_PARTS[part]))
        except ValueError as error:
            raise web.HTTPConflict(text=str(error)) from error
        return self._back(invoice)

    async def _mine(self, request: web.Request) -> web.StreamResponse:
        invoice = self._invoice(request)
        self._ledger.mine()
        return self._back(invoice)

    async def _pull(self, request: web.Request) -> web.Response:
        pull = self._ledger.book.pulls.get(request.match_info["pull_id"])
        if pull is None:
            raise web.HTTPNotFound
        return _html(pull.name, pull_html(pull))

    def _invoice(self, request: web.Request) -> Invoice:
        try:
            return self._ledger.find(request.match_info["invoice_id"])
        except ValueError:
            raise web.HTTPNotFound from None

    def _back(self, invoice: Invoice) -> web.StreamResponse:
        self._changed()
        return web.Response(status=303, headers={"Location": f"/i/{invoice.id}"})


def checkout_html(invoice: Invoice, height: int) -> str:
    rows = {
        "Amount": f"{text(invoice.amount)} {invoice.currency}",
        "In bitcoin": f"{text(invoice.due)} BTC",
        "Rate": f"{text(invoice.rate)} {invoice.currency} for 1 BTC",
        "Held until": f"{invoice.expires_at:%Y-%m-%d %H:%M} UTC",
        "Address": invoice.destination,
        "Paid": f"{text(invoice.paid)} BTC, of which {text(invoice.settled(height))} settled",
        "Status": invoice.status + ("" if invoice.why == "None" else f" ({invoice.why})"),
    }
    cells = "".join(f"<tr><td>{name}</td><td>{escape(value)}</td></tr>" for name, value in rows.items())
    buttons = "".join(_button(invoice, f"pay/{part}", f"pay {part}") for part in _PARTS)
    return f"<table>{cells}</table><p>{buttons}{_button(invoice, 'mine', 'mine a block')}</p>{_return_link(invoice)}"


def pull_html(pull: PullPayment) -> str:
    state = "claimed and paid" if pull.claimed_at else "not claimed yet"
    return f"<p>{text(pull.amount)} {escape(pull.currency)}, {state}.</p><p>{escape(pull.description)}</p>"


def _button(invoice: Invoice, action: str, label: str) -> str:
    return f'<form method="post" action="/i/{invoice.id}/{action}"><button>{label}</button></form> '


def _return_link(invoice: Invoice) -> str:
    """Only where a browser goes somewhere by it: no script of somebody's."""
    target = str(invoice.checkout.get("redirectURL") or "")
    if not target.startswith(("http://", "https://")):
        return ""
    target = target.replace("{InvoiceId}", invoice.id).replace("{OrderId}", invoice.order_id or "")
    return f'<p><a href="{escape(target)}">Return to the store</a></p>'


def _html(title: str, body: str) -> web.Response:
    head = f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    note = "<p><small>A simulator: no bitcoin moves.</small></p>"
    return web.Response(text=f"{head}<h1>{escape(title)}</h1>{body}{note}", content_type="text/html")
