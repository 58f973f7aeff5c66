"""SQLModel tables, nothing else. Every tenant-owned one carries `tenant_id`; migrations add row security."""

from models.audit import AuditEvent, OutboxEvent
from models.delivery import Attempt, DeadLetter, Fill
from models.orders import FollowerOrder, ManagerOrder, Snapshot, SnapshotPage
from models.registry import Follower, Instrument, Position, Price, Vault
from models.safety import Credential, IdempotencyKey, IngestedEntry, WebhookKey
from models.tenancy import Subscription, Tenant, User

__all__ = [
    "Attempt",
    "AuditEvent",
    "Credential",
    "DeadLetter",
    "Fill",
    "Follower",
    "FollowerOrder",
    "IdempotencyKey",
    "IngestedEntry",
    "Instrument",
    "ManagerOrder",
    "OutboxEvent",
    "Position",
    "Price",
    "Snapshot",
    "SnapshotPage",
    "Subscription",
    "Tenant",
    "User",
    "Vault",
    "WebhookKey",
]
