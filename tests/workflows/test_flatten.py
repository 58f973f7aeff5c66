"""A flatten's story on the time-skipping server: call off, wait, sell, look again, tell what is left."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from temporalio import activity
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.flattening import DoneInput, ExitInput
from domain.flattening import ROUNDS, FlattenInput, FlattenResult, Held
from domain.orders import Side
from workflows.flatten import FlattenWorkflow

SCOPE = FlattenInput("11111111-1111-4111-8111-111111111111", "OV-1", "user:test", "V_1")
AAPL, SPY = (Held("V_1", s, side, Decimal(10), 2) for s, side in (("AAPL", Side.SELL), ("SPY", Side.BUY)))


class FakeFlatten:
    """`under_way` and `held` are what each look finds; the last ones repeat."""

    def __init__(self, under_way: list[int], held: list[list[Held]]) -> None:
        self._under_way, self._held = under_way, held
        self.calls: list[str] = []
        self.told: list[FlattenResult] = []

    @activity.defn
    async def call_off(self, scope: FlattenInput) -> int:
        self.calls.append("call off")
        return 3

    @activity.defn
    async def count_under_way(self, scope: FlattenInput) -> int:
        return self._under_way.pop(0) if len(self._under_way) > 1 else self._under_way[0]

    @activity.defn
    async def list_held(self, scope: FlattenInput) -> list[Held]:
        return self._held.pop(0) if len(self._held) > 1 else self._held[0]

    @activity.defn
    async def exit_symbol(self, wanted: ExitInput) -> str:
        self.calls.append(f"{wanted.held.side} {wanted.held.symbol} {wanted.round}")
        return f"M-{wanted.held.symbol}-{wanted.round}"

    @activity.defn
    async def tell_flattened(self, done: DoneInput) -> None:
        self.told.append(done.result)


async def flatten(skipping: WorkflowEnvironment, fake: FakeFlatten) -> FlattenResult:
    steps: list[Callable[..., Any]] = [
        fake.call_off,
        fake.count_under_way,
        fake.list_held,
        fake.exit_symbol,
        fake.tell_flattened,
    ]
    async with Worker(skipping.client, task_queue="q", workflows=[FlattenWorkflow], activities=steps):
        result: FlattenResult = await skipping.client.execute_workflow(
            FlattenWorkflow.run, SCOPE, id="flatten/OV-1", task_queue="q"
        )
    assert fake.told == [result]
    return result


async def test_everything_held_is_sold_once_what_was_under_way_is_over(skipping: WorkflowEnvironment) -> None:
    fake = FakeFlatten([2, 1, 0], [[AAPL, SPY], []])
    result = await flatten(skipping, fake)
    assert fake.calls == ["call off", "sell AAPL 0", "buy SPY 0"]
    assert result == FlattenResult(3, ["M-AAPL-0", "M-SPY-0"], [])


async def test_nothing_held_places_no_order(skipping: WorkflowEnvironment) -> None:
    assert await flatten(skipping, FakeFlatten([0], [[]])) == FlattenResult(3, [], [])


async def test_what_cannot_be_sold_is_tried_a_few_times_and_told(skipping: WorkflowEnvironment) -> None:
    fake = FakeFlatten([0], [[AAPL]])
    result = await flatten(skipping, fake)
    assert fake.calls[1:] == [f"sell AAPL {n}" for n in range(ROUNDS)]
    assert result.left == [AAPL]


async def test_what_never_ends_does_not_hold_up_the_exit(skipping: WorkflowEnvironment) -> None:
    fake = FakeFlatten([1], [[AAPL], []])
    result = await flatten(skipping, fake)
    assert (result.orders, result.left) == (["M-AAPL-0"], [])
