"""Workflows that do one thing differently from ours: what replay must refuse."""

from temporalio import workflow

from workflows.flatten import FlattenWorkflow
from workflows.flip_mode import FlipModeWorkflow
from workflows.follower_order import FollowerOrderWorkflow
from workflows.ingest_queue import IngestQueueWorkflow
from workflows.mark_prices import Marked, MarkPricesWorkflow
from workflows.mirror_order import MirrorOrderWorkflow, MirrorResult
from workflows.mirror_shard import MirrorShardWorkflow
from workflows.order_stream import OrderStreamWorkflow
from workflows.reconcile_billing import ReconcileBillingWorkflow
from workflows.reconcile_vault import ReconcileVaultWorkflow
from workflows.refresh_credentials import RefreshCredentialsWorkflow
from workflows.refresh_reference import ReferenceRefreshed, RefreshReferenceWorkflow
from workflows.subscription import SubscriptionWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.ingest import IngestResult
    from activities.refreshing import RefreshRound
    from domain.billing_comparison import ComparisonInput, ComparisonTotals
    from domain.flattening import FlattenInput, FlattenResult
    from domain.flip_mode import FlipModeInput
    from domain.mirroring import FollowerOrderInput, MirrorOrderInput, ShardInput
    from domain.overlays import Overlay
    from domain.runs import ReconcileInput, RunTotals
    from domain.streams import StreamInput
    from domain.subscriptions import SubscriptionInput, SubscriptionView
    from temporal import search_attributes


@workflow.defn(name="FollowerOrderWorkflow")
class Hesitating(FollowerOrderWorkflow):
    @workflow.init
    def __init__(self, start: FollowerOrderInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: FollowerOrderInput) -> str:
        await workflow.sleep(1)
        return await super().run(start)


@workflow.defn(name="MirrorShardWorkflow")
class LeavingOut(MirrorShardWorkflow):
    @workflow.init
    def __init__(self, page: ShardInput) -> None:
        super().__init__(page)

    @workflow.run
    async def run(self, page: ShardInput) -> None:
        await super().run(page)

    async def _expand(self) -> dict[str, int]:
        """A page whose waves are the manager order's takes them to have sized everybody."""
        return await super()._expand() if self._page.wave else {}

    async def _send_waves(self, routes: dict[str, int]) -> None:
        """A page that has waves of its own leaves it all to the owners."""


@workflow.defn(name="MirrorOrderWorkflow")
class AdmittingTwice(MirrorOrderWorkflow):
    @workflow.init
    def __init__(self, order: MirrorOrderInput) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: MirrorOrderInput) -> MirrorResult:
        await self._admit()
        return await super().run(order)


@workflow.defn(name="IngestQueueWorkflow")
class ReadingTwice(IngestQueueWorkflow):
    @workflow.run
    async def run(self) -> IngestResult:
        await super().run()
        return await super().run()


@workflow.defn(name="MarkPricesWorkflow")
class MarkingTwice(MarkPricesWorkflow):
    @workflow.run
    async def run(self) -> Marked:
        await super().run()
        return await super().run()


@workflow.defn(name="RefreshCredentialsWorkflow")
class RefreshingTwice(RefreshCredentialsWorkflow):
    @workflow.run
    async def run(self) -> RefreshRound:
        await super().run()
        return await super().run()


@workflow.defn(name="RefreshReferenceWorkflow")
class RereadingTwice(RefreshReferenceWorkflow):
    @workflow.run
    async def run(self) -> ReferenceRefreshed:
        await super().run()
        return await super().run()


@workflow.defn(name="ReconcileVaultWorkflow")
class OpeningTwice(ReconcileVaultWorkflow):
    @workflow.init
    def __init__(self, start: ReconcileInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: ReconcileInput) -> RunTotals | None:
        await self._open()
        return await super().run(start)


@workflow.defn(name="FlipModeWorkflow")
class HastyFlip(FlipModeWorkflow):
    @workflow.init
    def __init__(self, given: FlipModeInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: FlipModeInput) -> Overlay:
        workflow.upsert_search_attributes([search_attributes.STATE.value_set("hasty")])
        return await super().run(given)


@workflow.defn(name="FlattenWorkflow")
class CallingOffTwice(FlattenWorkflow):
    @workflow.init
    def __init__(self, scope: FlattenInput) -> None:
        super().__init__(scope)

    @workflow.run
    async def run(self, scope: FlattenInput) -> FlattenResult:
        await self._held()
        return await super().run(scope)


@workflow.defn(name="OrderStreamWorkflow")
class WatchingTwice(OrderStreamWorkflow):
    @workflow.init
    def __init__(self, start: StreamInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: StreamInput) -> None:
        await self._watch()
        await super().run(start)


@workflow.defn(name="SubscriptionWorkflow")
class HastySubscription(SubscriptionWorkflow):
    @workflow.init
    def __init__(self, given: SubscriptionInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: SubscriptionInput) -> SubscriptionView | None:
        workflow.upsert_search_attributes([search_attributes.STATE.value_set("hasty")])
        return await super().run(given)


@workflow.defn(name="ReconcileBillingWorkflow")
class GivingUp(ReconcileBillingWorkflow):
    @workflow.init
    def __init__(self, given: ComparisonInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: ComparisonInput) -> ComparisonTotals:
        return await super().run(given)

    async def _again(self) -> None:
        """Whatever is left stays unread."""
        self._left.clear()


ALL = [
    Hesitating,
    LeavingOut,
    AdmittingTwice,
    ReadingTwice,
    MarkingTwice,
    RefreshingTwice,
    OpeningTwice,
    HastyFlip,
    CallingOffTwice,
    WatchingTwice,
    RereadingTwice,
    HastySubscription,
    GivingUp,
]
