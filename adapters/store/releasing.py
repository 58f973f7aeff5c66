"""Orders that wait for their session: judged anew when it begins, and only then sized and sent."""

from dataclasses import replace
from datetime import datetime

from adapters.store.admission import WAITS, AdmissionStore, waiting
from adapters.store.database import Cursor
from domain import admission
from domain.admission import Decision
from domain.errors import OrderRefused
from domain.mirroring import Admission, MirrorOrderInput
from domain.orders import ManagerState, check_manager
from domain.sizing import Effect

# Before the vault, in the order in which a cancel locks the two.
_LOCK = "SELECT 1 FROM manager_orders WHERE mo_id = %s AND is_mine(tenant_id) FOR UPDATE"
_WAIT_ON = """
UPDATE manager_orders SET waits_until = %(until)s, effect = %(effect)s WHERE mo_id = %(mo_id)s AND is_mine(tenant_id)
"""
_BEGIN = """
UPDATE manager_orders SET state = %(state)s, effect = %(effect)s WHERE mo_id = %(mo_id)s AND is_mine(tenant_id)
"""
_REFUSE = """
UPDATE manager_orders SET state = %(state)s, reason = %(reason)s, effect = NULL, live = false, settled_at = now()
WHERE mo_id = %(mo_id)s AND is_mine(tenant_id)
"""


class ReleaseStore(AdmissionStore):
    """The door with its waiting room."""

    async def release(self, order: MirrorOrderInput, now: datetime) -> Admission:
        """Let an order begin whose session has, refuse it, or have it wait on; a repeat finds the first decision.

        One that was called off meanwhile stays so.
        """
        async with self._database.cursor(order.tenant_id) as cursor:
            await cursor.execute(_LOCK, [order.mo_id])
            known = await self._stored(cursor, order.mo_id)
            assert known is not None, f"{order.mo_id} does not exist for this tenant"
            if known.waits_until is None:
                return known
            # Clocks differ: it is not to be found a moment early and made to wait for the same moment again.
            return await self._judge(cursor, order, max(now, known.waits_until))

    async def _judge(self, cursor: Cursor, order: MirrorOrderInput, now: datetime) -> Admission:
        profile = await self._lock(cursor, order.intent.vault_id)
        released = replace(order, intent=admission.as_released(order.intent))
        facts = await self._door.facts(cursor, released.intent, profile, now)
        worth = self._door.worth(facts, released.intent, now)
        vault, market = self._door.vault(facts, worth), self._door.market(facts)
        try:
            decision = admission.admit_released(order.intent, vault, market, now)
        except OrderRefused as refusal:
            again = admission.waits_for_prices(refusal, market.market, now)
            if again is None:
                return await self._turn_away(cursor, order, refusal)
            return await self._wait_on(cursor, order, Decision(Effect.OPEN, again), refusal.reason)
        if decision.waits_until is not None:
            return await self._wait_on(cursor, order, decision)
        state = ManagerState.DISPATCHING
        check_manager(ManagerState.RECEIVED, state)
        await cursor.execute(_BEGIN, {"mo_id": order.mo_id, "state": state.value, "effect": decision.effect.value})
        begun, told = await self._begin(cursor, released, facts, worth, decision.effect, now)
        await self._emit(cursor, order, [(state, told)], again=True)
        return begun

    async def _wait_on(
        self, cursor: Cursor, order: MirrorOrderInput, decision: Decision, why: str | None = None
    ) -> Admission:
        until = decision.waits_until
        await cursor.execute(_WAIT_ON, {"mo_id": order.mo_id, "until": until, "effect": decision.effect.value})
        await self._emit(cursor, order, [(ManagerState.RECEIVED, waiting(decision, why))], action=WAITS, again=True)
        return Admission(
            order.mo_id, accepted=True, state=ManagerState.RECEIVED, fingerprint=order.fingerprint, waits_until=until,
            reason=why, expires_at=order.intent.expires_at if decision.effect is Effect.OPEN else None,
        )  # fmt: skip

    async def _turn_away(self, cursor: Cursor, order: MirrorOrderInput, refusal: OrderRefused) -> Admission:
        state = ManagerState.EXPIRED if refusal.code == "expired" else ManagerState.REJECTED
        check_manager(ManagerState.RECEIVED, state)
        await cursor.execute(_REFUSE, {"mo_id": order.mo_id, "state": state.value, "reason": str(refusal)})
        told = {"code": refusal.code, "reason": refusal.reason}
        await self._emit(cursor, order, [(state, told)], again=True)
        return Admission(
            order.mo_id, accepted=False, state=state, fingerprint=order.fingerprint,
            code=refusal.code, reason=refusal.reason, field=refusal.field,
        )  # fmt: skip
