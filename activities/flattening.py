"""The steps of a flatten. Each may be repeated: what is called off stays so, and an exit's id is derived."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from temporalio import activity

from activities.heartbeat import beating
from domain import ids
from domain.admission import Intent
from domain.flattening import FlattenInput, FlattenResult, Held
from domain.intents import fingerprint
from domain.mirroring import FLATTEN, Admission, MirrorOrderInput
from domain.sizing import plain

if TYPE_CHECKING:
    from adapters.store.flattening import FlattenStore


class Owners(Protocol):
    """What `temporal.flattening.Owners` offers: the workflows that own orders, asked to call them off or to begin."""

    async def admit(self, order: MirrorOrderInput) -> Admission | None: ...

    async def cancel(self, mo_id: str, *, actor: str) -> None: ...

    async def cancel_follower_order(self, mo_id: str, follower_id: str, leg: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ExitInput:
    """One round's exit of a vault's symbol."""

    scope: FlattenInput
    held: Held
    round: int


@dataclass(frozen=True, slots=True)
class DoneInput:
    scope: FlattenInput
    result: FlattenResult


class FlattenActivities:
    def __init__(self, store: "FlattenStore", owners: Owners) -> None:
        self._store = store
        self._owners = owners

    @activity.defn
    async def call_off(self, scope: FlattenInput) -> int:
        """Have everything under way cancelled, through to the brokers; how many orders were."""
        async with beating():
            for mo_id in await self._store.live(scope):
                await self._owners.cancel(mo_id, actor=scope.actor)
            orders = await self._store.under_way(scope)
            if scope.follower_id is not None:
                # The manager's order goes on for the others.
                for order in orders:
                    await self._owners.cancel_follower_order(order["mo_id"], order["follower_id"], order["leg"])
            return len(orders)

    @activity.defn
    async def count_under_way(self, scope: FlattenInput) -> int:
        async with beating():
            return len(await self._store.under_way(scope))

    @activity.defn
    async def list_held(self, scope: FlattenInput) -> list[Held]:
        async with beating():
            return await self._store.held(scope)

    @activity.defn
    async def exit_symbol(self, wanted: ExitInput) -> str:
        """Place the manager order by which every follower sells all that it holds of the symbol; its id."""
        scope, held = wanted.scope, wanted.held
        mo_id = ids.flatten_id(scope.halt_id, held.vault_id, held.symbol, wanted.round)
        intent = Intent(held.vault_id, held.symbol, held.side, held.qty)
        meta = {"reason_vector": [f"flatten {scope.halt_id}"]}
        digest = fingerprint({"flatten": scope.halt_id, "symbol": held.symbol, "qty": plain(held.qty)})
        order = MirrorOrderInput(
            scope.tenant_id, mo_id, intent, meta, digest, "flatten", scope.actor, FLATTEN, scope.follower_id
        )
        async with beating():
            await self._owners.admit(order)
        return mo_id

    @activity.defn
    async def tell_flattened(self, done: DoneInput) -> None:
        async with beating():
            await self._store.done(done.scope, done.result)
