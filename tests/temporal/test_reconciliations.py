"""Schedules of vaults on a real server, and the order that a correction is."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import ScheduleOverlapPolicy
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from domain.orders import Side
from domain.runs import Correction
from temporal import ids
from temporal.reconciliations import correction_order, settle_schedules
from tests.workflows.conftest import local, server  # noqa: F401  the same server as the workflows' tests have

TENANT = "00000000-0000-4000-8000-000000000001"
HOUR = timedelta(hours=1)


async def described(env: WorkflowEnvironment, vault_id: str) -> Any:
    return (await env.client.get_schedule_handle(ids.reconcile(vault_id)).describe()).schedule


async def test_each_vault_has_its_schedule_and_a_closed_one_loses_it(local: WorkflowEnvironment):  # noqa: F811
    vaults = {"V_a": TENANT, "V_b": TENANT}
    known = await settle_schedules(local.client, vaults, None, every=HOUR)
    schedule = await described(local, "V_a")
    assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert schedule.policy.catchup_window <= timedelta(minutes=10)
    assert [interval.every for interval in schedule.spec.intervals] == [HOUR]
    # A worker that starts anew knows of none and finds V_b's among those that are there.
    known = await settle_schedules(local.client, {"V_a": TENANT, "V_c": TENANT}, known, every=HOUR)
    with pytest.raises(RPCError):
        await described(local, "V_b")
    assert await described(local, "V_c") is not None


async def test_repeating_changes_nothing_but_what_is_set_anew(local: WorkflowEnvironment):  # noqa: F811
    await settle_schedules(local.client, {"V_d": TENANT}, None, every=HOUR)
    await local.client.get_schedule_handle(ids.reconcile("V_d")).pause(note="an operator")
    first = await described(local, "V_d")
    await settle_schedules(local.client, {"V_d": TENANT}, None, every=2 * HOUR)
    again = await described(local, "V_d")
    assert [interval.every for interval in again.spec.intervals] == [2 * HOUR]
    assert (again.state.paused, again.state.note) == (True, "an operator")
    assert again.spec.start_at == first.spec.start_at


@pytest.mark.parametrize(("qty", "side"), [("3", Side.BUY), ("-3", Side.SELL)])
def test_a_correction_is_an_order_for_one_follower_named_after_its_run(qty: str, side: Side):
    correction = Correction(TENANT, "V_1", "R-1", "F_1", "AAPL", Decimal(qty))
    order = correction_order(correction)
    assert (order.kind, order.only_follower_id) == ("correction", "F_1")
    assert (order.intent.side, order.intent.qty) == (side, Decimal(3))
    assert order == correction_order(correction)


def test_a_schedule_s_id_tells_its_vault():
    assert ids.parse_reconcile(ids.reconcile("V_1")) == "V_1"
    assert ids.parse_reconcile(ids.INGEST) is None
