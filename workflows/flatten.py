"""A flatten, after its halt has been acknowledged: call off, wait, sell what is held, look again."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.flattening import DoneInput, ExitInput, FlattenActivities
    from domain.flattening import ROUNDS, FlattenInput, FlattenResult, Held
    from domain.sizing import plain
    from temporal import policies
    from temporal import search_attributes as sa

_T = TypeVar("_T")
# What is under way ends within a webhook's retries or a broker's cancel; after this an exit goes out beside it, sized
# so that it never sells what another order is selling already.
_CALM = timedelta(minutes=5)
_LOOKS = tuple(timedelta(seconds=s) for s in (1, 1, 2, 5, 10, 30))


@workflow.defn
class FlattenWorkflow:
    @workflow.init
    def __init__(self, scope: FlattenInput) -> None:
        self._scope = scope
        self._called_off = 0
        self._orders: list[str] = []

    @workflow.run
    async def run(self, scope: FlattenInput) -> FlattenResult:
        self._called_off = await self._step(FlattenActivities.call_off, scope, "cancel what is under way")
        await self._wait_until_calm()
        held = await self._held()
        for number in range(ROUNDS):
            if not held:
                break
            self._show(f"round {number + 1}: selling " + _words(held))
            for one in held:
                summary = f"exit {one.symbol} of {one.followers} followers of {one.vault_id}"
                self._orders.append(
                    await self._step(FlattenActivities.exit_symbol, ExitInput(scope, one, number), summary)
                )
            await self._wait_until_calm()
            held = await self._held()
        result = FlattenResult(self._called_off, self._orders, held)
        await self._step(FlattenActivities.tell_flattened, DoneInput(scope, result), "tell what is left")
        self._show("left: " + _words(held) if held else "nothing is held any more")
        workflow.upsert_search_attributes([sa.STATE.value_set("left" if held else "flat")])
        return result

    async def _held(self) -> list[Held]:
        return await self._step(FlattenActivities.list_held, self._scope, "what followers still hold")

    async def _wait_until_calm(self) -> None:
        until, look = workflow.now() + _CALM, 0
        while workflow.now() < until:
            count = await self._step(FlattenActivities.count_under_way, self._scope, "what is still under way")
            if count == 0:
                return
            self._show(f"{count} orders are still under way")
            await workflow.sleep(_LOOKS[min(look, len(_LOOKS) - 1)], summary="until the next look")
            look += 1

    async def _step(self, step: Callable[..., Awaitable[_T]], value: Any, summary: str) -> _T:
        return await workflow.execute_activity_method(
            step,
            value,
            start_to_close_timeout=policies.FLATTEN_TIMEOUT,
            heartbeat_timeout=policies.FLATTEN_HEARTBEAT,
            retry_policy=policies.STORE_RETRY,
            summary=summary,
        )

    def _show(self, line: str) -> None:
        scope = self._scope
        whom = scope.follower_id or scope.vault_id or "the whole tenant"
        workflow.set_current_details(
            f"flatten **{whom}**, asked for by {scope.actor}\n\n{self._called_off} orders called off, "
            f"{len(self._orders)} exits placed\n\n{line}"
        )


def _words(held: list[Held]) -> str:
    return ", ".join(f"{h.symbol} of {h.followers} (up to {plain(h.qty)} each)" for h in held)
