"""Kill paths: what a process that sends must remember, so that nothing leaves after a kill was acknowledged (SPEC 5).

Postgres says whether an order may be claimed. Between its claim and its first byte a kill may come; this book tells
the orders that were claimed before the kill was heard of from those that were claimed, under Postgres' guards, after.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from domain.admission import Halt

EVERYBODY = str(UUID(int=0))  # the tenant of a kill that concerns the whole platform
MOST_SCOPES = 10_000


@dataclass(frozen=True, slots=True)
class Kill:
    """One pull of a kill path. `level` halt_all stops everything in its scope, the others only what opens."""

    kill_id: int
    tenant_id: str
    level: Halt
    vault_id: str | None = None
    follower_id: str | None = None

    @property
    def scope(self) -> str:
        if self.follower_id is not None:
            return f"follower {self.follower_id}"
        if self.vault_id is not None:
            return f"vault {self.vault_id}"
        return EVERYTHING if self.tenant_id == EVERYBODY else f"tenant {self.tenant_id}"


EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Target:
    """What a kill may concern: an order that has been claimed. `mark` is the book's count when its claim began."""

    tenant_id: str
    vault_id: str
    follower_id: str
    opens: bool
    mark: int

    def scopes(self) -> tuple[str, str, str, str]:
        return (
            EVERYTHING,
            f"tenant {self.tenant_id}",
            f"vault {self.vault_id}",
            f"follower {self.follower_id}",
        )


@dataclass(slots=True)
class KillBook:
    """The kills that a process has heard of, by scope, with the count at which each was heard."""

    count: int = 0
    _known: dict[int, None] = field(default_factory=dict)
    _all: dict[str, int] = field(default_factory=dict)
    _opens: dict[str, int] = field(default_factory=dict)

    def hear(self, kills: Iterable[Kill]) -> list[Kill]:
        """Those that are news; hearing of one twice changes nothing."""
        news = [kill for kill in kills if kill.kill_id not in self._known]
        for kill in news:
            self._known[kill.kill_id] = None
            self.count += 1
            (self._all if kill.level is Halt.HALT_ALL else self._opens)[kill.scope] = self.count
        self._forget()
        return news

    def stops(self, target: Target) -> bool:
        """Whether a kill that concerns it was heard of after its claim had begun."""
        scopes = target.scopes()
        if any(self._all.get(scope, 0) > target.mark for scope in scopes):
            return True
        return target.opens and any(self._opens.get(scope, 0) > target.mark for scope in scopes)

    def _forget(self) -> None:
        """Bounded: rather stop what was claimed before now than let a forgotten kill's orders through."""
        if len(self._all) + len(self._opens) > MOST_SCOPES:
            self._all, self._opens = {EVERYTHING: self.count}, {}
        while len(self._known) > MOST_SCOPES:
            del self._known[next(iter(self._known))]


def concerns(kill: Kill, target: Target) -> bool:
    return kill.scope in target.scopes() and (target.opens or kill.level is Halt.HALT_ALL)


@dataclass(frozen=True, slots=True)
class KillAcknowledgement:
    """What is known once the barrier has been passed: no send in the kill's scope starts any more.

    `in_flight` sends had begun before. `via`: `redis` where every sender answered, `postgres` where its own look at the
    database, or its running out of one, was waited for; then `in_flight` is what Postgres has as sent.
    """

    kill_id: int | None
    in_flight: int
    senders: int
    via: str
    waited_ms: int
