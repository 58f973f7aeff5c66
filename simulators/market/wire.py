"""What a vendor's package adds to the market: its paths, credentials, budgets and words."""

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from simulators.market.ledger import Account, Usage
from simulators.market.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests that the vendor grants an account within a window; some vendors keep several, by `name`."""

    name: str
    limit: int
    window_s: int = 60


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget after a request was counted. `resets_in_s` is the rest of its window."""

    budget: Budget
    usage: Usage
    resets_in_s: float

    @property
    def remaining(self) -> int:
        return max(0, self.budget.limit - self.usage.requests)


class Wire(Protocol):
    def owns(self, request: web.Request) -> bool:
        """Whether the gate guards it: a vendor's path that wants credentials in its HTTP headers."""
        ...

    def authenticate(self, request: web.Request) -> Account:
        """Raises Refusal."""
        ...

    def is_submission(self, request: web.Request) -> bool:
        """Of an order: those break by the order's behaviour, all others by the scripted faults of reads."""
        ...

    def budget(self, request: web.Request) -> Budget: ...

    def budget_headers(self, spent: Spent) -> dict[str, str]: ...

    def refuse(self, refusal: Refusal) -> web.Response:
        """The vendor's error answer; the gate adds Retry-After where it is asked for."""
        ...

    def no_such_path(self) -> web.Response: ...

    def table(self) -> list[web.RouteDef]: ...
