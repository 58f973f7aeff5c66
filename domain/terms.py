"""What sizing is told: the manager's order, a follower as frozen in the snapshot, and the instrument.

Quantities are in units of the instrument; signed ones (position, residue) are long > 0 > short; money is in USD.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from domain.orders import Side
from domain.personas import Character

ZERO = Decimal(0)
WHOLE = Decimal(1)


class Mode(StrEnum):
    PROPORTIONAL = "proportional"
    CAPPED = "capped"
    SHADOW = "shadow"


class Effect(StrEnum):
    """What a manager order does to the vault's position; an order that would do both is refused at admission."""

    OPEN = "open"
    REDUCE = "reduce"


class SkipReason(StrEnum):
    MISSING_PRICE = "missing_price"
    MISSING_CAP = "missing_cap"
    BELOW_MINIMUM = "below_minimum"
    AT_CAP = "at_cap"
    NO_FUNDS = "no_funds"
    NOTHING_HELD = "nothing_held"
    SHORT_NOT_ALLOWED = "short_not_allowed"
    CLOSE_ONLY = "close_only"
    NOT_ENTITLED = "not_entitled"
    KILL_SWITCH = "kill_switch"
    NO_ROUTE = "no_route"
    ENDPOINT_DISABLED = "endpoint_disabled"
    CREDENTIAL_BROKEN = "credential_broken"


@dataclass(frozen=True, slots=True)
class Instrument:
    """`qty_step` is the quantity step for whole-unit accounts, `fine_step` for accounts that take fractions."""

    symbol: str
    qty_step: Decimal
    fine_step: Decimal
    min_qty: Decimal
    min_notional: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Hedge:
    """The vault's hedge: `ratio` of an opening order's value in `instrument`, on the other side, at `price`."""

    instrument: Instrument
    ratio: Decimal
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """The manager's order as sizing sees it; `vault_qty` is the vault's signed position before it.

    `score` and `overrides` (trait, delta) are its conviction. `exact`: this very quantity, for a correction. `exit`:
    all that is held, whatever the vault holds.
    """

    side: Side
    qty: Decimal
    effect: Effect
    vault_qty: Decimal
    price: Decimal | None
    score: Decimal | None = None
    overrides: tuple[tuple[str, Decimal], ...] = ()
    exact: bool = False
    exit: bool = False
    hedge: Hedge | None = None


@dataclass(frozen=True, slots=True)
class FollowerTerms:
    """A follower as frozen in the snapshot; `holding` is the signed mirrored position.

    `buying` and `selling` are units of the symbol in orders under way, which are neither held yet nor free any more.
    `funds_usd` is what the account can still spend on top of them; None where nobody knows. `hedge_qty` of
    `hedge_holding` (both signed, in the hedge's units) is held against this symbol. `close_only` and `lacks` keep it
    from opening: its subscriber's rights, and the one among them that it lacks, in words.
    """

    mode: Mode
    scale: Decimal
    holding: Decimal
    max_pos_usd: Decimal | None = None
    fractional: bool = False
    kill_switch: bool = False
    character: Character = Character()  # noqa: RUF009  frozen
    residue: Decimal = ZERO
    buying: Decimal = ZERO
    selling: Decimal = ZERO
    allow_short: bool = True
    close_only: bool = False
    lacks: str = ""
    funds_usd: Decimal | None = None
    hedge_qty: Decimal = ZERO
    hedge_holding: Decimal = ZERO

    def ahead(self, side: Side) -> Decimal:
        """Units that orders under way will already trade on this side."""
        return self.buying if side is Side.BUY else self.selling
