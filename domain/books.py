"""Our books of one follower, as reconciliation reads them in one go, and the evidence they make with an account's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from domain.dispatch import SealedKey
from domain.execution import Execution
from domain.expectation import ZERO, FillFact, OrderFact
from domain.ports import AccountOrder, VenueAccount, VenuePosition
from domain.reconciliation import Account, Evidence, Policy
from domain.venues import dollar_coin

# What opening orders may be refused with that nobody would make up for: the follower was never meant to get it.
NOT_MEANT = frozenset({"short_not_allowed", "nothing_held", "close_only", "not_entitled", "below_minimum"})


@dataclass(frozen=True, slots=True)
class SymbolBooks:
    """`booked` is signed; `mark` is the last known price; `venue` is where the orders went (`webhook`, or a broker)."""

    symbol: str
    booked: Decimal
    step: Decimal
    mark: Decimal | None
    venue: str | None
    orders: tuple[OrderFact, ...]
    fills: tuple[FillFact, ...]


@dataclass(frozen=True, slots=True)
class BrokerKey:
    """The account at one venue; the secret is sealed."""

    venue: str
    key: SealedKey
    environment: str


@dataclass(frozen=True, slots=True)
class FollowerBooks:
    """`bound_at` is when the follower joined: earlier orders of the account explain nothing of ours."""

    follower_id: str
    policy: Policy
    stopped: bool
    is_webhook: bool
    base_usd: Decimal | None
    bound_at: datetime
    accounts: tuple[BrokerKey, ...]
    symbols: tuple[SymbolBooks, ...]
    executions: tuple[Execution, ...] = ()
    opens_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """What a run looks back to: orders that filled after `filled_since` are measured, symbols that were ordered after

    `ordered_since` are compared even if nothing is held, and an open order that nobody has moved since `stale_before`
    has lost its owner.
    """

    filled_since: datetime
    ordered_since: datetime
    stale_before: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    """What a venue says of an account; `unreachable` is why it says nothing.

    `balances`, by currency, are asked for where money may be changed.
    """

    positions: Sequence[VenuePosition] = ()
    orders: Sequence[AccountOrder] = ()
    money: VenueAccount | None = None
    unreachable: str | None = None
    balances: Mapping[str, Decimal] | None = None


def evidence(books: FollowerBooks, symbol: SymbolBooks, said: Mapping[str, Statement], now: datetime) -> Evidence:
    """`said` is by venue; a bridged follower's symbol whose venue is not among them counts as unreachable."""
    account, unreachable = None, None
    held = _held(books, symbol, said)
    if not books.is_webhook:
        statement = said.get(symbol.venue or "") or next(iter(said.values()), None)
        unreachable = "no active broker credential" if statement is None else statement.unreachable
        if statement is not None and unreachable is None:
            orders = tuple(o for o in statement.orders if o.symbol == symbol.symbol)
            account = Account(ZERO if held is None else held.qty, orders)
    return Evidence(
        books.follower_id,
        symbol.symbol,
        symbol.booked,
        symbol.step,
        now,
        symbol.orders,
        symbol.fills,
        account,
        unreachable,
        books.policy,
        books.stopped,
        books.is_webhook,
        symbol.mark if symbol.mark is not None else (None if held is None else held.price),
        books.base_usd,
        books.opens_stopped,
    )


def _held(books: FollowerBooks, symbol: SymbolBooks, said: Mapping[str, Statement]) -> VenuePosition | None:
    """What an account holds of a symbol.

    A coin is one holding, whatever it was paid with: where the follower trades it against one kind of dollars alone,
    the venue's name for it may have the other (`BTC-USD` for `BTC-USDC`).
    """
    positions = [p for s in said.values() for p in s.positions]
    exact = next((p for p in positions if p.symbol == symbol.symbol), None)
    coin = dollar_coin(symbol.symbol)
    if exact is not None or coin is None or sum(dollar_coin(s.symbol) == coin for s in books.symbols) > 1:
        return exact
    return next((p for p in positions if dollar_coin(p.symbol) == coin), None)
