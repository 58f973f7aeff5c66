"""From the rows of a page of followers to their books."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from domain.admission import Halt
from domain.books import NOT_MEANT, BrokerKey, FollowerBooks, SymbolBooks, Times
from domain.dispatch import SealedKey
from domain.execution import Execution, slippage_bps
from domain.expectation import ADOPTED, CORRECTION, ZERO, FillFact, OrderFact
from domain.orders import FollowerState, Side
from domain.reconciliation import Policy
from domain.sizing import floor_to

_Row = dict[str, Any]
_Key = tuple[str, str]  # follower, symbol


class PageRows:
    """The page's rows by follower and symbol."""

    def __init__(
        self,
        keys: set[_Key],
        orders: list[_Row],
        turned_away: list[_Row],
        fills: list[_Row],
        positions: list[_Row],
        instruments: dict[str, _Row],
        times: Times,
    ) -> None:
        self._keys = sorted(key for key in keys if key[1] in instruments)
        self._orders, self._turned_away, self._fills = _by_key(orders), _by_key(turned_away), _by_key(fills)
        self._booked = {(row["follower_id"], row["symbol"]): row["qty"] for row in positions}
        self._instruments = instruments
        self._times = times

    def follower(self, row: _Row) -> FollowerBooks:
        mine = row["follower_id"]
        keys = [key for key in self._keys if key[0] == mine]
        return FollowerBooks(
            follower_id=mine,
            policy=Policy(row["reconcile_policy"]),
            stopped=row["killed"] or any(halt != Halt.HALT_OPENS for halt in row["halts"]),
            opens_stopped=bool(row["halts"]),
            is_webhook=row["is_webhook"],
            base_usd=row["base_usd"],
            bound_at=row["created_at"],
            accounts=tuple(_account(given) for given in row["accounts"]),
            symbols=tuple(self._symbol(key, row) for key in keys),
            executions=tuple(e for key in keys for e in self._executions(key)),
        )

    def _symbol(self, key: _Key, follower: _Row) -> SymbolBooks:
        instrument = self._instruments[key[1]]
        step = instrument["fine_step"] if follower["fractional"] else instrument["qty_step"]
        orders = [self._fact(row, follower["scale"], step) for row in self._orders[key]]
        orders += [_refused(row) for row in self._turned_away[key]]
        routes = [row["route"] for row in sorted(self._orders[key], key=lambda row: row["created_at"])]
        # A receiver that confirms without a price is taken to have got the order's own.
        prices = {row["fo_id"]: row["price"] for row in self._orders[key]}
        fills = tuple(
            FillFact(
                r["fill_id"],
                r["ts"],
                Side(r["side"]).sign * r["qty"],
                _or(r["price"], prices.get(r["fo_id"])),
                r["source"],
            )
            for r in self._fills[key]
        )
        return SymbolBooks(
            key[1],
            self._booked.get(key, ZERO),
            step,
            instrument["price"],
            routes[-1] if routes else None,
            tuple(orders),
            fills,
        )

    def _fact(self, row: _Row, scale: Decimal, step: Decimal) -> OrderFact:
        state = FollowerState(row["state"])
        return OrderFact(
            row["fo_id"],
            row["created_at"],
            Side(row["side"]),
            _wanted(row, scale, step),
            row["qty"],
            row["filled_qty"],
            state,
            kind=row["kind"],
            reason=row["reason"],
            capped=row["cap_applied"],
            fraction=_fraction(row),
            price=row["price"],
            expires_at=row["expires_at"],
            given_back=row["given_back"],
            is_stale=row["updated_at"] < self._times.stale_before,
        )

    def _executions(self, key: _Key) -> Iterable[Execution]:
        fills = sorted((row for row in self._fills[key] if row["source"] != ADOPTED), key=lambda row: row["ts"])
        last = {row["fo_id"]: row["ts"] for row in fills}
        for row in self._orders[key]:
            filled_at = last.get(row["fo_id"])
            if filled_at is None or filled_at <= self._times.filled_since:
                continue
            took = None if row["sent_at"] is None else filled_at - row["sent_at"]
            yield Execution(
                row["fo_id"],
                row["follower_id"],
                slippage_bps(Side(row["side"]), row["price"], row["avg_price"]),
                None if took is None else max(0, round(took.total_seconds() * 1000)),
            )


def _or(price: Decimal | None, other: Decimal | None) -> Decimal | None:
    return other if price is None else price


def _wanted(row: _Row, scale: Decimal, step: Decimal) -> Decimal:
    """The quantity that the follower was meant to get before a cap, a kill or a fault took it away."""
    qty: Decimal = row["qty"]
    if row["kind"] == CORRECTION:
        return Decimal(row["manager_qty"])
    if row["effect"] == "reduce" or row["leg"] or row["closes"] or row["reason"] in NOT_MEANT:
        return qty
    if row["stepped"] is not None:
        return max(qty, Decimal(row["stepped"]))
    # Killed before it was sized: by the follower's present scale, the nearest to what it would have got.
    return floor_to(Decimal(row["manager_qty"]) * scale, step) if qty == 0 else qty


def _fraction(row: _Row) -> Decimal | None:
    if row["effect"] != "reduce":
        return None
    vault_qty = abs(Decimal(row["vault_qty"] or 0))
    if row["kind"] == "flatten" or vault_qty == 0:
        return Decimal(1)
    return min(Decimal(1), Decimal(row["manager_qty"]) / vault_qty)


def _refused(row: _Row) -> OrderFact:
    return OrderFact(
        row["mo_id"], row["created_at"], Side(row["side"]), row["qty"], ZERO, ZERO, FollowerState.REJECTED,
        kind=CORRECTION, turned_away=True,
    )  # fmt: skip


def _account(given: _Row) -> BrokerKey:
    key = SealedKey(given["ref"], given["key_id"], bytes.fromhex(given["sealed"]))
    return BrokerKey(given["venue"], key, given["environment"])


def _by_key(rows: list[_Row]) -> defaultdict[_Key, list[_Row]]:
    found: defaultdict[_Key, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row["follower_id"], row["symbol"]].append(row)
    return found
