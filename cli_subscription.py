"""`vanta subscription` and `vanta invoices`: what the tenant pays for, through the API.

The token needs billing:read, and billing:manage for all that changes something.
"""

import json
import uuid
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli_http import LOCAL, Api, ApiError, Key, Token, ask, console, table

subscription = typer.Typer(no_args_is_help=True, help="The subscription: how it stands, and changing it.")
invoices = typer.Typer(no_args_is_help=True, help="Invoices: list, show, refund.")
_PATH = "/v1/subscription"
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")]
Plan = Annotated[str, typer.Argument(help="As GET /v1/plans names it: core, pro, institutional.")]
InvoiceId = Annotated[str, typer.Argument(help="IN-…, as vanta invoices list shows it.")]


class Provider(StrEnum):
    STRIPE = "stripe"
    BTCPAY = "btcpay"


@subscription.command()
def show(token: Token, api: Api = LOCAL, as_json: AsJson = False) -> None:
    """How it stands, what comes next, and what is to pay."""
    _show(ask(api, token, "GET", _PATH), as_json)


@subscription.command()
def checkout(
    plan: Plan,
    token: Token,
    provider: Annotated[Provider, typer.Option(help="stripe: cards; btcpay: bitcoin.")] = Provider.STRIPE,
    coupon: Annotated[str | None, typer.Option(help="Its id at Stripe.")] = None,
    success_url: Annotated[
        str | None,
        typer.Option(help="Where the payer comes back to; https in production.", show_default="the API's /docs"),
    ] = None,
    cancel_url: Annotated[
        str | None, typer.Option(help="Where he comes back to if he leaves.", show_default="the API's /docs")
    ] = None,
    api: Api = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Begin a subscription: prints the address of the page to pay at. It may be asked for again until it is paid."""
    back = _back(api)
    urls = {"success_url": success_url or back, "cancel_url": cancel_url or back}
    body = {"plan_id": plan, "provider": provider.value, **urls}
    made = _change(api, token, f"{_PATH}/checkout", body | ({} if coupon is None else {"coupon": coupon}), key)
    if _printed(made, as_json):
        return
    until = f" (until {made['expires_at'][:16].replace('T', ' ')} UTC)" if made["expires_at"] else ""
    console().print(f"{made['subscription_id']} is to be paid here{until}:", markup=False)
    console().print(made["checkout_url"], markup=False, soft_wrap=True)


@subscription.command()
def change(
    plan: Plan,
    token: Token,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what it costs, or from when on it is.")] = False,
    api: Api = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Change the plan: an upgrade now, for the difference; a downgrade at the renewal."""
    if not preview:
        _show(_change(api, token, f"{_PATH}/change", {"plan_id": plan}, key), as_json)
        return
    found = ask(api, token, "GET", f"{_PATH}/change", params={"plan_id": plan})
    if _printed(found, as_json):
        return
    money = ("credit", "charge", "due", "renewal")
    facts = {"plan": found["plan"]["title"], "in force": f"{found['when']} ({found['at'][:19]} UTC)"}
    facts |= {name: f"{found[name]} {found['currency'].upper()}" for name in money}
    table(("preview", ""), [*facts.items(), ("renewal at", _time(found["renewal_at"]))])


@subscription.command()
def cancel(
    token: Token,
    now: Annotated[bool, typer.Option("--now", help="At once; nothing is given back by itself.")] = False,
    api: Api = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """End it at the end of what is paid for. Until then `vanta subscription keep` takes it back."""
    _show(_change(api, token, f"{_PATH}/cancel", {"at_period_end": not now}, key), as_json)


@subscription.command()
def keep(token: Token, api: Api = LOCAL, key: Key = None, as_json: AsJson = False) -> None:
    """Take back an end, or a downgrade, that has not come about yet."""
    _show(_change(api, token, f"{_PATH}/keep", None, key), as_json)


@subscription.command()
def pause(
    token: Token,
    until: Annotated[str | None, typer.Option(help="RFC 3339; none: until it is resumed.")] = None,
    api: Api = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Pay nothing for a while, in which followers may reduce and not open."""
    _show(_change(api, token, f"{_PATH}/pause", {} if until is None else {"until": until}, key), as_json)


@subscription.command()
def resume(token: Token, api: Api = LOCAL, key: Key = None, as_json: AsJson = False) -> None:
    """Go on with one that is paused."""
    _show(_change(api, token, f"{_PATH}/resume", None, key), as_json)


@subscription.command()
def portal(
    token: Token,
    return_url: Annotated[
        str | None,
        typer.Option(help="Where the payer comes back to; https in production.", show_default="the API's /docs"),
    ] = None,
    api: Api = LOCAL,
) -> None:
    """Print the address where the payer changes his card. Whoever has it can do so: it is for the payer only."""
    made = ask(api, token, "POST", f"{_PATH}/portal", json={"return_url": return_url or _back(api)})
    console().print(made["url"], markup=False, soft_wrap=True)


@invoices.command("list")
def list_invoices(
    token: Token,
    since: Annotated[str | None, typer.Option(help="Not older than this RFC 3339 time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    api: Api = LOCAL,
    as_json: AsJson = False,
) -> None:
    """The newest invoices."""
    query: dict[str, Any] = {"limit": limit} | ({} if since is None else {"since": since})
    found = ask(api, token, "GET", "/v1/invoices", params=query)
    if _printed(found, as_json):
        return
    table(_HEADINGS, [_row(each) for each in found["items"]])
    if found["next_cursor"]:
        console().print(f"more than {limit}; narrow it down with --since, or raise --limit", style="dim")


@invoices.command("show")
def show_invoice(invoice_id: InvoiceId, token: Token, api: Api = LOCAL, as_json: AsJson = False) -> None:
    """One invoice, where it is paid, its PDF, and its refunds."""
    found = ask(api, token, "GET", _invoice(invoice_id))
    if _printed(found, as_json):
        return
    table(_HEADINGS, [_row(found)])
    facts = {"page": found["url"], "PDF": found["pdf_url"], "can be given back": found["refundable"]}
    table(("", ""), [(name, value) for name, value in facts.items() if value])
    refunds = [(r["refund_id"], r["amount"], r["status"], r["reason"], r["claim_url"]) for r in found["refunds"]]
    if refunds:
        table(("refund", "amount", "state", "reason", "claimed at"), refunds)


@invoices.command()
def refund(
    invoice_id: InvoiceId,
    token: Token,
    reason: Annotated[str, typer.Option(help="Why; audited.")],
    amount: Annotated[str | None, typer.Option(help="In dollars, as 25.00.", show_default="all that is left")] = None,
    api: Api = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give back what was paid, all of it or a part."""
    body = {"reason": reason} | ({} if amount is None else {"amount": amount})
    made = _change(api, token, f"{_invoice(invoice_id)}/refund", body, key)
    if _printed(made, as_json):
        return
    what = f"{made['refund_id']}: {made['amount']} {made['currency'].upper()} is {made['status']}"
    console().print(what, markup=False)
    if made["claim_url"]:
        console().print(f"the payer says where to at {made['claim_url']}", markup=False, soft_wrap=True)


def _change(api: str, token: str, path: str, body: dict[str, Any] | None, key: str | None) -> dict[str, Any]:
    """Under one key: where nobody knows whether it was done, a repeat under another one might do it twice."""
    used = key or uuid.uuid4().hex
    request: dict[str, Any] = {} if body is None else {"json": body}
    try:
        return ask(api, token, "POST", path, headers={"Idempotency-Key": used}, **request)
    except ApiError as error:
        if not error.in_doubt:
            raise
        said = f"{error}; it may have been done: repeat with --key {used}"
        raise ApiError(said, in_doubt=True, status=error.status) from error


def _back(api: str) -> str:
    """A page that is there on the embedded stack: the API's own."""
    return f"{api.rstrip('/')}/docs"


def _invoice(invoice_id: str) -> str:
    from urllib.parse import quote

    return f"/v1/invoices/{quote(invoice_id, safe='')}"


def _printed(found: dict[str, Any], as_json: bool) -> bool:
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    return as_json


def _show(found: dict[str, Any], as_json: bool) -> None:
    if _printed(found, as_json):
        return
    if found["status"] == "none":
        console().print("no subscription; begin with: vanta subscription checkout PLAN")
        return
    plan, later, step = found["plan"], found["scheduled_plan"], found["next_event"]
    facts = {
        "state": found["status"] + (", close-only" if found["close_only"] else ""),
        "plan": f"{plan['title']}, {plan['price']} {plan['currency'].upper()} a {plan['interval']}",
        "paid by": found["provider"],
        "trial ends": _time(found["trial_end"]) if found["status"] == "trialing" else None,
        "renewal": _time(found["renewal_at"]),
        "grace until": _time(found["grace_until"]),
        "then": later and later["title"],
        "ends": _time(found["cancel_at"]),
        "ended": _time(found["ended_at"]),
        "paused since": _time(found["paused_at"]),
        "goes on": _time(found["resume_at"]),
        "balance": found["balance"] if found["balance_minor"] else None,
        "next": step and f"{step['kind']} at {_time(step['at'])}",
    }
    table(("subscription", found["subscription_id"]), [(name, value) for name, value in facts.items() if value])
    if found["to_pay"]:
        rows = [(each["invoice_id"], each["amount"], _time(each["due_at"]), each["url"]) for each in found["to_pay"]]
        table(("to pay", "amount", "until", "at"), rows)


_HEADINGS = ("invoice", "made", "for", "state", "amount", "paid", "refunded", "by")


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    what = f"{found['kind']} {found['plan_id'] or ''}".strip()
    state = found["status"] + (f" ({found['detail']})" if found["detail"] else "")
    money = (found["amount"], found["paid"], found["refunded"])
    return (found["invoice_id"], _time(found["created_at"]), what, state, *money, found["provider"])


def _time(told: str | None) -> str | None:
    return told and told[:16].replace("T", " ")
