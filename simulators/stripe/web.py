"""The pages that a person opens: paying, changing the card, an invoice and its PDF. Test cards only."""

from html import escape
from typing import Any

from aiohttp import web
from localstripe import resources
from localstripe.errors import UserError

from simulators.stripe.sessions import DECLINED, FAILS, PAYS, CheckoutSession, PortalSession

_CARDS = ((PAYS, "pays"), (FAILS, "can be stored, payments fail"), (DECLINED, "declined"))
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px system-ui;max-width:26rem;margin:3rem auto;padding:0 1rem}}
button{{font:inherit;margin:.5rem .5rem 0 0}}
p.note{{color:#666}}</style><h1>{title}</h1>{body}
<p class="note">A simulator of Stripe: no card is charged, and no card number can be typed.</p></html>"""


def _page(title: str, body: str, status: int = 200) -> web.Response:
    return web.Response(text=_PAGE.format(title=escape(title), body=body), content_type="text/html", status=status)


def _money(minor: int, currency: str) -> str:
    return f"{minor // 100}.{minor % 100:02d} {currency.upper()}"


def _cards() -> str:
    options = "".join(f'<option value="{number}">…{number[-4:]}: {what}</option>' for number, what in _CARDS)
    return f'<label>Card <select name="card">{options}</select></label><br>'


async def checkout_page(request: web.Request, said: str = "", status: int = 200) -> web.Response:
    session = CheckoutSession._api_retrieve(request.match_info["id"])
    session._expire_if_due()
    if session.status != "open":
        return _page("Checkout", f"<p>This page is {escape(session.status)}.</p>", 410)
    plan = resources.Plan._api_retrieve(session._plan)
    trial = (session._given.get("subscription_data") or {}).get("trial_period_days")
    free = f"<p>{int(trial)} days free, then:</p>" if trial else ""
    body = (
        f"<p>{escape(said)}</p>{free}<p><b>{escape(plan.name)}</b>, {_money(plan.amount, plan.currency)} "
        f'per {escape(plan.interval)}</p><form method="post">{_cards()}'
        '<button name="do" value="pay">Pay</button><button name="do" value="decline">Decline</button></form>'
    )
    return _page("Checkout", body, status)


async def checkout_answer(request: web.Request) -> web.Response:
    form = await request.post()
    session = CheckoutSession._api_retrieve(request.match_info["id"])
    if form.get("do") == "decline":
        raise web.HTTPSeeOther(session.cancel_url or session.returns_to)
    try:
        session._pay(str(form.get("card") or PAYS))
    except UserError as error:
        return await checkout_page(request, error.body["error"].get("message", ""), 402)
    raise web.HTTPSeeOther(session.returns_to)


async def portal_page(request: web.Request, said: str = "", status: int = 200) -> web.Response:
    session = PortalSession._api_retrieve(request.match_info["id"])
    listed = resources.Invoice._api_list_all(None, customer=session.customer, limit=99)._list
    rows = "".join(
        f'<li><a href="/i/{escape(i.id)}">{_money(i.total, i.currency)}</a> {escape(i.status)}</li>' for i in listed
    )
    back = f'<p><a href="{escape(session.return_url)}">Back</a></p>' if session.return_url else ""
    body = f'<p>{escape(said)}</p><form method="post">{_cards()}<button>Use this card</button></form><ul>{rows}</ul>'
    return _page("Billing", body + back, status)


async def portal_answer(request: web.Request) -> web.Response:
    form = await request.post()
    try:
        PortalSession._api_retrieve(request.match_info["id"])._use(str(form.get("card") or PAYS))
    except UserError as error:
        return await portal_page(request, error.body["error"].get("message", ""), 402)
    return await portal_page(request, "The card is changed.")


def _invoice_lines(invoice: Any) -> list[str]:
    lines = [f"{line.description}: {_money(abs(line.amount), line.currency)}" for line in invoice.lines._list]
    return [f"Invoice {invoice.number}", *lines, f"Total: {_money(invoice.total, invoice.currency)}", invoice.status]


async def invoice_page(request: web.Request) -> web.Response:
    invoice = resources.Invoice._api_retrieve(request.match_info["id"])
    body = "".join(f"<p>{escape(line)}</p>" for line in _invoice_lines(invoice))
    return _page("Invoice", f'{body}<p><a href="/i/{escape(invoice.id)}/pdf">PDF</a></p>')


async def invoice_pdf(request: web.Request) -> web.Response:
    invoice = resources.Invoice._api_retrieve(request.match_info["id"])
    return web.Response(body=_pdf(_invoice_lines(invoice)), content_type="application/pdf")


def _pdf(lines: list[str]) -> bytes:
    """One page of plain text."""
    shown = [line.encode("ascii", "replace").decode() for line in lines]
    shown = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in shown]
    drawn = "BT /F1 12 Tf 72 770 Td 16 TL " + " ".join(f"({line}) Tj T*" for line in shown) + " ET"
    fonts = "<< /Font << /F1 4 0 R >> >>"
    parts = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R /Resources {fonts} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
    )
    out, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}"
    return f"{out}{end}trailer << /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n".encode()


def routes() -> list[web.RouteDef]:
    return [
        web.get("/c/pay/{id}", checkout_page),
        web.post("/c/pay/{id}", checkout_answer),
        web.get("/p/session/{id}", portal_page),
        web.post("/p/session/{id}", portal_answer),
        web.get("/i/{id}", invoice_page),
        web.get("/i/{id}/pdf", invoice_pdf),
    ]
