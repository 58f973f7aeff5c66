"""What the routes work with: opened once per process by the lifespan, injected everywhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from api.metrics import Metrics
from api.readiness import Readiness
from api.watching import Pace
from domain.access import Principal
from domain.billing import Biller, CheckoutPage, Provider, Refund
from domain.credentials import CredentialTest, Which
from domain.flattening import FlattenInput
from domain.flip_mode import Begun, Extension, StartOverlay
from domain.kills import KillAcknowledgement
from domain.mirroring import Admission, Cancellation, MirrorOrderInput, RedriveVerdict
from domain.overlays import Overlay, OverlayKind
from domain.plans import Catalogue
from domain.rate_limits import Bucket, Rates, RouteClass, Standing
from domain.redrive import Redrivable
from domain.streams import OrderOwner
from domain.subscriptions import (
    CancelWish,
    CheckoutWish,
    PauseWish,
    PlanWish,
    RefundWish,
    SubscriptionView,
    Terms,
    Wish,
)
from domain.trial import TrialResult

if TYPE_CHECKING:
    from adapters.entitlement_cache import Entitling
    from adapters.idempotency import Answers
    from adapters.identity.accounts import Accounts
    from adapters.identity.followers import FollowerAccess
    from adapters.identity.invitations import Invitations
    from adapters.identity.login import Logins
    from adapters.identity.members import Members
    from adapters.live import LiveOrders
    from adapters.payments.hooks import PaymentHooks
    from adapters.store.billing_differences import DifferenceStore
    from adapters.store.credentials import CredentialStore
    from adapters.store.directory import VaultDirectory
    from adapters.store.halts import HaltStore
    from adapters.store.letters import DeadLetterStore
    from adapters.store.overlays import OverlayStore
    from adapters.store.preview import PreviewStore
    from adapters.store.reads import Reads
    from adapters.store.reconciliations import ReconciliationStore
    from adapters.store.registry import Registry
    from adapters.store.rotation import KeyRotation
    from adapters.store.settlement import SettlementStore
    from adapters.store.subscriptions import SubscriptionStore
    from adapters.webhooks.callbacks import Callbacks


class Gatekeeper(Protocol):
    """What `adapters.identity.gate.Gate` offers."""

    async def principal(self, token: str) -> Principal: ...


class Limiter(Protocol):
    """What `adapters.limits.Limiter` offers."""

    async def take(self, route_class: RouteClass, buckets: Sequence[Bucket]) -> list[Standing]: ...


class Tester(Protocol):
    """What `adapters.webhooks.trial.WebhookTester` offers."""

    async def test(self, tenant_id: str, follower_id: str, *, actor: str) -> TrialResult: ...


class CredentialTrial(Protocol):
    """What `adapters.brokers.trial.CredentialTester` offers."""

    async def test(self, tenant_id: str, follower_id: str, which: Which, *, actor: str) -> CredentialTest: ...


class OwnerWaker(Protocol):
    """What `temporal.streams.WakeUps` offers."""

    async def venue_reported(self, owner: OrderOwner) -> None: ...


class EventWaker(Protocol):
    """What `temporal.payment_events.Drain` offers."""

    async def wake(self, event_id: str) -> None: ...


class Redriver(Protocol):
    """What `temporal.redrives.Redrives` offers."""

    async def ready(self) -> None: ...

    async def redrive(self, letter: Redrivable, *, actor: str) -> RedriveVerdict: ...


class RunStarter(Protocol):
    """What `temporal.reconciliations.Reconciler` offers."""

    async def start(self, tenant_id: str, vault_id: str, run_id: str, *, actor: str) -> None: ...


class Barrier(Protocol):
    """What `adapters.kill.switch.KillSwitch` offers."""

    async def barrier(
        self, tenant_id: str, *, vault_id: str | None = None, follower_id: str | None = None
    ) -> KillAcknowledgement: ...


class FlipEngine(Protocol):
    """What `temporal.overlays.FlipModes` offers."""

    async def start(self, start: StartOverlay) -> Begun | None: ...

    async def extend(self, overlay_id: str, kind: OverlayKind, extension: Extension) -> Overlay | None: ...

    async def cancel(self, overlay_id: str, kind: OverlayKind, actor: str) -> Overlay | None: ...


class FlattenStarter(Protocol):
    """What `temporal.flattening.Flattener` offers."""

    async def start(self, scopes: Sequence[FlattenInput]) -> None: ...


class OrderEngine(Protocol):
    """What `temporal.orders.MirrorOrders` offers; tests put a recorder in its place."""

    async def admit(self, order: MirrorOrderInput) -> Admission | None: ...

    async def cancel(self, mo_id: str, *, actor: str) -> Cancellation | None: ...


class SubscriptionEngine(Protocol):
    """What `temporal.subscriptions.Subscriptions` offers."""

    async def checkout(self, wish: CheckoutWish) -> CheckoutPage: ...

    async def change(self, wish: PlanWish) -> SubscriptionView: ...

    async def cancel(self, wish: CancelWish) -> SubscriptionView: ...

    async def keep(self, wish: Wish) -> SubscriptionView: ...

    async def pause(self, wish: PauseWish) -> SubscriptionView: ...

    async def resume(self, wish: Wish) -> SubscriptionView: ...

    async def refund(self, wish: RefundWish) -> Refund: ...


@dataclass(frozen=True, slots=True)
class Billing:
    """`granted` is read past the cache: whoever has changed his plan sees what that grants in the answer.

    `loopback_urls`: whether payers may be sent back to this machine without TLS, as on the embedded stack.
    """

    engine: SubscriptionEngine
    store: "SubscriptionStore"
    granted: "Entitling"
    catalogue: Catalogue
    terms: Terms
    billers: Mapping[Provider, Biller]
    loopback_urls: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    registry: "Registry"
    reads: "Reads"
    settlement: "SettlementStore"
    letters: "DeadLetterStore"
    preview: "PreviewStore"
    engine: OrderEngine
    redrives: Redriver
    keys: "KeyRotation"
    tester: Tester
    credentials: "CredentialStore"
    credential_tester: CredentialTrial
    reconciliations: "ReconciliationStore"
    reconciler: RunStarter
    kills: Barrier
    halts: "HaltStore"
    flattener: FlattenStarter
    overlays: "OverlayStore"
    flips: FlipEngine
    readiness: Readiness
    gate: Gatekeeper
    members: "Members"
    invitations: "Invitations"
    accounts: "Accounts"
    follower_access: "FollowerAccess"
    limiter: Limiter
    rates: Mapping[RouteClass, Rates]
    logins: "Logins"
    callbacks: "Callbacks"
    hooks: "PaymentHooks"
    inbox: EventWaker
    differences: "DifferenceStore"
    owners: OwnerWaker
    live: "LiveOrders"
    pace: Pace
    answers: "Answers"
    entitlements: "Entitling"
    directory: "VaultDirectory"
    billing: Billing
    max_body_bytes: int
    metrics: Metrics = field(default_factory=Metrics)
