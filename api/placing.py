"""From the body of a manager order to its workflow's verdict, in the words of the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from api.errors import Problem
from api.services import Services
from domain import ids
from domain.access import Principal
from domain.errors import IdempotencyKeyReused
from domain.intents import fingerprint, parse_intent
from domain.mirroring import Admission, Cancellation, MirrorOrderInput
from domain.orders import ManagerState
from models import ManagerOrder
from temporal.orders import EngineUnavailable


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that was taken. `replayed`: by an earlier request under the same key.

    `waits_until`: when its session opens, while it waits for it.
    """

    mo_id: str
    state: ManagerState
    followers: int
    replayed: bool = False
    waits_until: datetime | None = None


async def place(services: Services, caller: Principal, key: str, raw: Mapping[str, Any]) -> Placed:
    """Place the order once, whatever number of times it is asked for.

    The stored order answers a repeat, also while the engine is away. Raises InvalidInput, NotFound,
    IdempotencyKeyReused, Problem `order-refused`, and EngineUnavailable, after which nothing has changed.
    """
    intent, meta = parse_intent(raw)
    mo_id, digest = ids.manager_order_id(caller.tenant_id, key), fingerprint(raw)
    stored = await services.reads.before_placing(caller.tenant_id, mo_id, intent.vault_id, intent.symbol)
    if stored is not None:
        return _from_row(stored, digest)
    order = MirrorOrderInput(caller.tenant_id, mo_id, intent, meta, digest, "api", caller.actor)
    try:
        verdict = await services.engine.admit(order)
    except WorkflowUpdateFailedError as error:
        raise _failed(error, mo_id) from error
    except EngineUnavailable as error:
        if error.taken:
            return Placed(mo_id, ManagerState.RECEIVED, 0)
        raise
    return await _outcome(services, order, verdict)


async def cancel(services: Services, caller: Principal, mo_id: str) -> Cancellation:
    """Cancel what can be; an order that is cancelled already is no error, one that has expired is.

    Raises NotFound, Problem `order-ended`, EngineUnavailable.
    """
    await services.reads.manager_order(caller.tenant_id, mo_id)
    try:
        done = await services.engine.cancel(mo_id, actor=caller.actor)
    except WorkflowUpdateFailedError as error:
        raise Problem(409, "order-ended", str(error.cause or error)[:500], field="mo_id") from error
    if done is None:
        done = await _cancel_ended(services, caller, mo_id)
    if done.state is not ManagerState.CANCELLED:
        raise Problem(409, "order-ended", f"The order is {done.state}; there is nothing to cancel.", field="mo_id")
    return done


async def _cancel_ended(services: Services, caller: Principal, mo_id: str) -> Cancellation:
    """Its workflow is over; what an operator has sent again since has an owner that looks at the manager order."""
    order = (await services.reads.manager_order(caller.tenant_id, mo_id)).order
    if order.state == ManagerState.SETTLED_WITH_ERRORS:
        return await services.settlement.cancel(caller.tenant_id, mo_id, caller.actor)
    return Cancellation(mo_id, 0, 0, ManagerState(order.state))


async def _outcome(services: Services, order: MirrorOrderInput, verdict: Admission | None) -> Placed:
    if verdict is None:
        stored = await services.reads.find_manager_order(order.tenant_id, order.mo_id)
        if stored is None:
            detail = "An earlier request under this Idempotency-Key ended without a record; use a new key."
            raise Problem(409, "order-lost", detail, field="Idempotency-Key", mo_id=order.mo_id)
        return _from_row(stored, order.fingerprint)
    _check_fingerprint(verdict.fingerprint, order.fingerprint)
    if not verdict.accepted:
        raise _refusal(order.mo_id, verdict.code, verdict.reason, verdict.field)
    return Placed(order.mo_id, verdict.state, verdict.followers, waits_until=verdict.waits_until)


def _from_row(row: ManagerOrder, digest: str) -> Placed:
    _check_fingerprint(row.fingerprint, digest)
    state = ManagerState(row.state)
    if row.effect is None and state is not ManagerState.RECEIVED:
        code, _, reason = (row.reason or "").partition(": ")
        raise _refusal(row.mo_id, code, reason, None)
    waits_until = row.waits_until if state is ManagerState.RECEIVED else None
    return Placed(row.mo_id, state, row.followers, replayed=True, waits_until=waits_until)


def _check_fingerprint(known: str, digest: str) -> None:
    if known != digest:
        raise IdempotencyKeyReused("Idempotency-Key was already used for an order with another body")


def _refusal(mo_id: str, code: str | None, reason: str | None, field: str | None) -> Problem:
    return Problem(422, "order-refused", reason or "The order was refused.", field=field, code=code, mo_id=mo_id)


def _failed(error: WorkflowUpdateFailedError, mo_id: str) -> Problem:
    """The order could not even be recorded, for instance because its vault went away in between."""
    cause = error.cause
    code = cause.type if isinstance(cause, ApplicationError) else "admission-failed"
    return _refusal(mo_id, code, str(cause or error)[:500], None)
