"""SQLModel tables, nothing else. Every tenant-owned one carries `tenant_id`; migrations add row security."""

from models.audit import AuditEvent, OutboxEvent
from models.billing import (
    BillingDifference,
    BillingEntry,
    BillingInvoice,
    BillingRefund,
    EntitlementOverride,
    PaymentEvent,
)
from models.columns import Owned
from models.delivery import Attempt, DeadLetter, Fill, ReceivedConfirmation
from models.history import Drift, NavMark, PriceHistory, Reconciliation, RowHistory
from models.identity import ApiKey, Identity, Invitation, LoginAttempt, RefreshToken, ServiceAccount, Session
from models.markets import MarketCalendar, MarketSession
from models.orders import FollowerOrder, ManagerOrder, Snapshot, SnapshotPage
from models.registry import Follower, Instrument, Position, Price, Vault
from models.rules import Allotment, Hedge, Kill, Overlay, PlatformHalt, Residue, Sender
from models.safety import Credential, IdempotencyAnswer, IdempotencyKey, IngestedEntry, WebhookKey
from models.tenancy import Subscription, Tenant, User
from models.venues import FollowerBalance, OrderLeg, StreamRefusal

__all__ = [
    "Allotment",
    "ApiKey",
    "Attempt",
    "AuditEvent",
    "BillingDifference",
    "BillingEntry",
    "BillingInvoice",
    "BillingRefund",
    "Credential",
    "DeadLetter",
    "Drift",
    "EntitlementOverride",
    "Fill",
    "Follower",
    "FollowerBalance",
    "FollowerOrder",
    "Hedge",
    "IdempotencyAnswer",
    "IdempotencyKey",
    "Identity",
    "IngestedEntry",
    "Instrument",
    "Invitation",
    "Kill",
    "LoginAttempt",
    "ManagerOrder",
    "MarketCalendar",
    "MarketSession",
    "NavMark",
    "OrderLeg",
    "OutboxEvent",
    "Overlay",
    "Owned",
    "PaymentEvent",
    "PlatformHalt",
    "Position",
    "Price",
    "PriceHistory",
    "ReceivedConfirmation",
    "Reconciliation",
    "RefreshToken",
    "Residue",
    "RowHistory",
    "Sender",
    "ServiceAccount",
    "Session",
    "Snapshot",
    "SnapshotPage",
    "StreamRefusal",
    "Subscription",
    "Tenant",
    "User",
    "Vault",
    "WebhookKey",
]
