"""What reconciliation knows of a follower's position in a symbol: our books, its account, and what may be done."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from domain.expectation import FillFact, OrderFact
from domain.ports import AccountOrder


class Policy(StrEnum):
    """What a follower allows: nothing, bookkeeping and reductions, or corrective opens as well."""

    OBSERVE = "observe"
    CORRECT = "correct"
    CORRECT_AND_OPEN = "correct_and_open"


@dataclass(frozen=True, slots=True)
class Account:
    """What the broker says of one symbol; `orders` are all of the account's in it, whoever placed them."""

    qty: Decimal
    orders: tuple[AccountOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one follower and symbol at `now`.

    `account` is None for a webhook follower, and where the venue could not be read: `unreachable` then says why.
    `stopped` while a kill switch, a halt or a maintenance keeps every order from this follower, `opens_stopped` while a
    halt keeps those that open. `base_usd` is the vault's
    NAV times the follower's scale.
    """

    follower_id: str
    symbol: str
    booked: Decimal
    step: Decimal
    now: datetime
    orders: tuple[OrderFact, ...] = ()
    fills: tuple[FillFact, ...] = ()
    account: Account | None = None
    unreachable: str | None = None
    policy: Policy = Policy.OBSERVE
    stopped: bool = False
    is_webhook: bool = False
    mark: Decimal | None = None
    base_usd: Decimal | None = None
    opens_stopped: bool = False
