"""What the adapters can do and how they read their vendors' answers, as tables for people and for docs/brokers.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from domain.explain_words import reason_words
from domain.ports import Broker, OutcomeKind
from domain.venues import Capabilities

_LABELS = {
    "rail": "rail",
    "fractional": "fractions of a unit",
    "notional": "orders by amount of money",
    "client_id_dedupes": "refuses a second order under a client id",
    "looks_up_by_client_id": "finds an order by client id in one request",
    "absence_proven_after_s": "seconds after which finding nothing proves that there is nothing",
    "streams": "reports orders on a stream",
    "cancels": "cancels",
    "replaces": "replaces",
    "crosses_zero": "one order may turn a long position into a short one",
    "sessions": "trades",
    "increments": "steps of quantity and price",
    "converts": "changes USD into USDC and back",
    "requests_per_min": "requests a minute and account, until its headers say otherwise",
    "itemises_fills": "tells each execution, not only an order's sum",
}
_MEANINGS = {
    OutcomeKind.ACK: "the venue has it",
    OutcomeKind.RETRYABLE: "the venue provably does not have it: sent again",
    OutcomeKind.FINAL: "refused for good",
    OutcomeKind.AMBIGUOUS: "may or may not have it: looked up",
}


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@runtime_checkable
class Explained(Protocol):
    """An adapter that shows its verdicts: what an answer says (status, code, words) → what it proves, our code."""

    @property
    def verdicts(self) -> Mapping[Any, tuple[OutcomeKind, str]]: ...


def tables(brokers: Mapping[str, Broker]) -> list[Table]:
    """The capabilities of all, what followers read of a final refusal, then each venue's verdicts."""
    shown = {name: broker.verdicts for name, broker in brokers.items() if isinstance(broker, Explained)}
    return [_capabilities(brokers), _reasons(shown), *(_verdicts(name, given) for name, given in shown.items())]


def markdown(brokers: Mapping[str, Broker]) -> str:
    return "\n".join(f"### {t.title}\n\n{_lines(t)}\n" for t in tables(brokers))


def _capabilities(brokers: Mapping[str, Broker]) -> Table:
    names = [field.name for field in fields(Capabilities) if field.name != "venue"]
    rows = [[_LABELS[name], *(_word(getattr(b.capabilities, name)) for b in brokers.values())] for name in names]
    return Table("What each venue can do", ["", *brokers], rows)


def _reasons(verdicts: Mapping[str, Mapping[Any, tuple[OutcomeKind, str]]]) -> Table:
    final = {code for given in verdicts.values() for kind, code in given.values() if kind is OutcomeKind.FINAL}
    return Table(
        "What followers read", ["our code", "in words"], [[code, reason_words(code)] for code in sorted(final)]
    )


def _verdicts(venue: str, verdicts: Mapping[Any, tuple[OutcomeKind, str]]) -> Table:
    rows = [[_told(key), code, _MEANINGS[kind]] for key, (kind, code) in verdicts.items()]
    return Table(f"{venue}: answers to an order", ["the venue says", "our code", "the order"], rows)


def _told(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(
        f"HTTP {part}" if isinstance(part, int) and part < 1_000 else f"`{part}`" for part in parts if part is not None
    )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value.value) if isinstance(value, Enum) else str(value)


def _lines(table: Table) -> str:
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
