"""The demonstration's words: vaults, followers, queued orders, and what must become of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from domain import ids
from domain.orders import FollowerState, ManagerState
from domain.requests import owned_key
from domain.sizing import Mode

TENANT = "6f1d0c52-4c1e-4f7b-9a57-d3a0de300001"
MANAGER = "demo-manager"  # whose token it is; ids of what he makes derive from him and his keys
SAMPLE = Path(__file__).with_name("samples") / "autotrade_queue.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must become of one follower order. A confirmed one is filled in full, any other not at all."""

    state: FollowerState
    qty: Decimal
    attempts: int
    reason: str | None = None

    @property
    def filled(self) -> Decimal:
        return self.qty if self.state is FollowerState.CONFIRMED else Decimal(0)


@dataclass(frozen=True, slots=True)
class Member:
    """A follower; `label` says how its side behaves. `outcomes` are for its vault's orders, in their order.

    `receiver` is the behaviour of its endpoint at the reference receiver, `account` what its account at the Alpaca
    simulator is told.
    """

    label: str
    route: Literal["webhook", "alpaca", "none"]
    outcomes: tuple[Outcome, Outcome]
    scale: Decimal = Decimal(1)
    mode: Mode = Mode.PROPORTIONAL
    max_pos_usd: Decimal | None = None
    kill_switch: bool = False
    fractional: bool = False
    receiver: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cast:
    """A vault, what it trades, and its followers. Prices in USD; the venue's differs, as it does in life."""

    label: str
    symbol: str
    price: Decimal
    venue_price: Decimal
    nav_usd: Decimal
    ends: tuple[ManagerState, ManagerState]
    members: tuple[Member, ...]

    @property
    def key(self) -> str:
        """The idempotency key of its creation, from which its id derives."""
        return f"demo-vault-{self.label}"

    @property
    def vault_id(self) -> str:
        return ids.vault_id(TENANT, self.label, owned_key(f"user:{MANAGER}", self.key))


@dataclass(frozen=True, slots=True)
class QueuedOrder:
    """One good line of the sample queue. `nth` says which of its vault's orders it is."""

    entry: Mapping[str, Any]
    cast: Cast
    nth: int

    @property
    def mo_id(self) -> str:
        return ids.manager_order_id(TENANT, f"queue:{self.entry['id']}")

    @property
    def title(self) -> str:
        return f"{self.entry['side']} {self.entry['qty']} {self.entry['symbol']} on {self.cast.label}"

    @property
    def ends(self) -> ManagerState:
        return self.cast.ends[self.nth]

    def expected(self, member: Member) -> Outcome:
        return member.outcomes[self.nth]


@dataclass(frozen=True, slots=True)
class Script:
    """The sample queue, taken apart: `opening` lines stand in the file at first, `later` are appended one by one.

    `orders` are those that must be admitted, `bad` the lines that must be rejected.
    """

    opening: tuple[str, ...]
    later: Mapping[str, str]  # label of the vault whose first order must be over → the line
    orders: tuple[QueuedOrder, ...]
    bad: tuple[str, ...]


def load_script(casts: Sequence[Cast], sample: Path = SAMPLE) -> Script:
    """The first order of each vault is in the file from the start, with whatever cannot be read."""
    opening: list[str] = []
    later: dict[str, str] = {}
    orders: list[QueuedOrder] = []
    bad: list[str] = []
    for line in sample.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            bad.append(line)
            opening.append(line)
            continue
        cast = next(c for c in casts if c.vault_id == entry["vault_id"])
        nth = sum(1 for o in orders if o.cast is cast)
        orders.append(QueuedOrder(entry, cast, nth))
        if nth == 0:
            opening.append(line)
        else:
            later[cast.label] = line
    return Script(tuple(opening), later, tuple(orders), tuple(bad))
