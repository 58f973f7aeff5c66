"""What people see of the demonstration when it is over: a table per manager order, what went wrong and where it is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.retry import WAITS_S
from settings import Settings
from stack.demo_check import Check
from stack.demo_facts import DLX, EVENTS
from stack.demo_live import STYLES
from stack.demo_play import Part, Play
from stack.demo_scenario import QueuedOrder
from stack.demo_why import why

_WIDE = 100
_ORDERS = "WorkflowType='MirrorOrderWorkflow'"


def show_links(console: Console, settings: Settings) -> None:
    """The UI at the manager orders alone: the queue is read every second, and each reading is a workflow too."""
    api = f"http://{settings.api.host}:{settings.api.port}"
    orders = f"{settings.temporal.ui_url}/namespaces/{settings.temporal.namespace}/workflows?query=" + quote(_ORDERS)
    for title, link in (("Temporal UI", orders), ("API docs", f"{api}/docs")):
        console.print(f"{title:<12} {link}", soft_wrap=True, highlight=False, markup=False)


def show_end(console: Console, play: Play, checks: Sequence[Check], settings: Settings) -> None:
    for order in play.script.orders:
        console.print()
        console.print(_table(console, play, order))
    _dead_letters(console, play)
    _rejects(console, play)
    _audit(console, play, settings)
    console.rule("Checks", align="left")
    for done in checks:
        console.print(Text("✓ ", "green") + Text(done.name) if done.ok else Text(f"✗ {done.name}", "red"))
        for fault in done.faults:
            console.print(f"    {fault}", style="red", markup=False, highlight=False)


def _table(console: Console, play: Play, order: QueuedOrder) -> Table:
    state = str(play.facts.dags[order.mo_id].get("manager_order", {}).get("state"))
    title = Text(order.title, "bold") + Text(" · ") + Text(state, STYLES.get(state, "red"))
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, collapse_padding=True)
    wide = console.width >= _WIDE
    for name in ("", "follower", *(["route"] if wide else []), "size", "why", "state", "tries", "filled"):
        right = name in {"size", "tries"}
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "why")
    for part in play.parts(order):
        table.add_row(*_row(part, wide=wide))
    return table


def _row(part: Part, *, wide: bool) -> list[Text | str]:
    member, found = part.follower.member, part.found
    mark = Text("✗", "red") if part.fault() else Text("✓", "green")
    who: list[Text | str] = [mark, member.label, *([f"{member.route} {member.mode}"] if wide else [])]
    if found is None:
        return [*who, "-", "no order was made", "-", "-", "-"]
    reason = Text(why(found))
    if found["state"] in {"rejected", "dead_letter"} and found["reason"] not in {None, found["state"]}:
        reason += Text(f" · {found['reason'].replace('_', ' ')}", "red")
    state = Text(found["state"], STYLES.get(found["state"], ""))
    return [*who, found["qty"], reason, state, str(found["dispatch_attempts"]), _filled(found)]


def _filled(found: Mapping[str, Any]) -> str:
    if found["filled_qty"] == "0":
        return "-"
    return f"{found['filled_qty']} @ {found['avg_price']}"


def _dead_letters(console: Console, play: Play) -> None:
    labels = {e.follower_id: e.member.label for e in play.enrolled}
    for letter in play.facts.buried:
        console.print()
        console.rule(f"Dead letter, as read from the JetStream stream {DLX}", align="left")
        what = letter["context"]
        console.print(
            f"{labels.get(letter['follower_id'])}: {what['side']} {what['qty']} {what['symbol']} by {what['route']}, "
            f"{letter['reason']} after {what['dispatch_attempts']} attempts ({letter['fo_id']})",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
        part = next((p for p in play.parts() if p.fo_id == letter["fo_id"]), None)
        waits = [0.0, *(part.waits_s() if part else [])]
        for attempt, wait, planned in zip(what["attempts"], waits, (0, *WAITS_S), strict=False):
            at = datetime.fromisoformat(attempt["started_at"]).time().isoformat("milliseconds")
            after = f"{wait:5.1f} s later (planned: {planned} s ±10 %)" if planned else "at once"
            console.print(f"  attempt {attempt['attempt_no']}  {at}  {attempt['code']:<10} {after}", highlight=False)


def _rejects(console: Console, play: Play) -> None:
    console.print()
    console.rule("Rejected line of the queue", align="left")
    for reject in play.facts.rejects:
        console.print(reject["entry"], style="dim", markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
        console.print(f"  {reject['reason']}", markup=False, highlight=False, soft_wrap=True)


def _audit(console: Console, play: Play, settings: Settings) -> None:
    facts = play.facts
    console.print()
    console.rule("Audit", align="left")
    console.print(
        f"{facts.audit_events} events in audit_events; {facts.stream_events} in the JetStream stream {EVENTS}; "
        f"{facts.outbox} waiting in the outbox", highlight=False,
    )  # fmt: skip
    for key, lines in facts.trade_logs.items():
        console.print(f"s3://{settings.s3.audit_bucket}/{key} ({lines} lines, locked)", soft_wrap=True, highlight=False)
