"""Every workflow that a worker serves."""

from workflows.flatten import FlattenWorkflow
from workflows.flip_mode import FlipModeWorkflow
from workflows.follower_order import FollowerOrderWorkflow
from workflows.ingest_queue import IngestQueueWorkflow
from workflows.mark_prices import MarkPricesWorkflow
from workflows.mirror_order import MirrorOrderWorkflow
from workflows.mirror_shard import MirrorShardWorkflow
from workflows.order_stream import OrderStreamWorkflow
from workflows.reconcile_billing import ReconcileBillingWorkflow
from workflows.reconcile_vault import ReconcileVaultWorkflow
from workflows.refresh_credentials import RefreshCredentialsWorkflow
from workflows.refresh_reference import RefreshReferenceWorkflow
from workflows.subscription import SubscriptionWorkflow

ALL = [
    MirrorOrderWorkflow, MirrorShardWorkflow, FollowerOrderWorkflow, IngestQueueWorkflow, MarkPricesWorkflow,
    ReconcileVaultWorkflow, FlipModeWorkflow, FlattenWorkflow, OrderStreamWorkflow,
    RefreshCredentialsWorkflow, RefreshReferenceWorkflow, SubscriptionWorkflow, ReconcileBillingWorkflow,
]  # fmt: skip
