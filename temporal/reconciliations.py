"""Runs that somebody asks for, the schedules of all vaults, and the orders by which a run corrects a follower."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from domain import ids as business_ids
from domain.admission import Intent
from domain.intents import fingerprint
from domain.mirroring import CORRECTION, MirrorOrderInput
from domain.orders import Side
from domain.runs import Correction, ReconcileInput
from domain.sizing import plain
from temporal import ids, queues, schedules
from temporal import search_attributes as sa
from temporal.orders import EngineUnavailable, MirrorOrders, knock

WORKFLOW = "ReconcileVaultWorkflow"
_log = logging.getLogger("vanta.reconciliation")
Vaults = Mapping[str, str]  # vault → tenant


class Reconciler:
    """Starts a run at once, beside the vault's schedule."""

    def __init__(self, client: Client, *, timeout_s: int) -> None:
        self._client = client
        self._timeout = timedelta(seconds=timeout_s)

    async def start(self, tenant_id: str, vault_id: str, run_id: str, *, actor: str) -> None:
        """A repeat meets the first one, under way or over. Raises EngineUnavailable."""
        await knock(self._client)
        try:
            await self._client.start_workflow(
                WORKFLOW,
                ReconcileInput(tenant_id, vault_id, run_id),
                id=ids.reconcile_now(vault_id, run_id),
                task_queue=queues.RECONCILIATION,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"reconcile {vault_id}, asked for by {actor}",
                search_attributes=search_attributes(tenant_id, vault_id),
                rpc_timeout=self._timeout,
            )
        except WorkflowAlreadyStartedError:
            return
        except RPCError as error:
            raise EngineUnavailable("the workflow engine broke off", taken=True) from error


class Corrections:
    """A correction is a manager order of its own kind: it is admitted, sized, guarded and audited like any other."""

    def __init__(self, orders: MirrorOrders) -> None:
        self._orders = orders

    async def start(self, correction: Correction) -> str:
        """The order's id, which run, follower and symbol give. Raises EngineUnavailable."""
        order = correction_order(correction)
        verdict = await self._orders.admit(order)
        if verdict is not None and not verdict.accepted:
            _log.warning("%s was refused: %s", order.mo_id, verdict.reason)
        return order.mo_id


def correction_order(correction: Correction) -> MirrorOrderInput:
    side = Side.BUY if correction.qty > 0 else Side.SELL
    meta: dict[str, Any] = {"reason_vector": [f"reconciliation {correction.run_id}"]}
    return MirrorOrderInput(
        correction.tenant_id,
        business_ids.correction_id(correction.run_id, correction.follower_id, correction.symbol),
        Intent(correction.vault_id, correction.symbol, side, abs(correction.qty)),
        meta,
        fingerprint({"correction": correction.run_id, "qty": plain(correction.qty)}),
        "reconciliation",
        "system:reconciliation",
        kind=CORRECTION,
        only_follower_id=correction.follower_id,
    )


async def keep_schedules(
    client: Client, list_vaults: Callable[[], Any], *, every: timedelta, look_every: timedelta
) -> None:
    """See to it for ever that each open vault has its schedule and no other one has; what fails is tried again."""
    known: dict[str, str] | None = None
    while True:
        try:
            known = await settle_schedules(client, await list_vaults(), known, every=every)
        except Exception:  # noqa: BLE001  the database or the engine is away; the schedules that are there go on
            _log.warning("reconciliation schedules could not be looked after", exc_info=True)
        await asyncio.sleep(look_every.total_seconds())


async def settle_schedules(client: Client, vaults: Vaults, known: Vaults | None, *, every: timedelta) -> dict[str, str]:
    """Create what is missing, delete what is too much. Without `known`, all are brought up to date."""
    there = set(await _listed(client)) if known is None else set(known)
    for vault_id, tenant_id in vaults.items():
        if known is None or vault_id not in known:
            start = ReconcileInput(tenant_id, vault_id)
            attributes = search_attributes(tenant_id, vault_id)
            await schedules.ensure_reconciliation(client, start, attributes, every=every)
    for vault_id in sorted(there - vaults.keys()):
        await schedules.remove(client, ids.reconcile(vault_id))
    return dict(vaults)


async def _listed(client: Client) -> list[str]:
    found = await client.list_schedules()
    return [vault_id async for listed in found if (vault_id := ids.parse_reconcile(listed.id)) is not None]


def search_attributes(tenant_id: str, vault_id: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(sa.TENANT, tenant_id), SearchAttributePair(sa.VAULT, vault_id)])
