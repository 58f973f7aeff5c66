"""The API on a real Postgres, with a recorder in place of the workflow engine."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.trial import CredentialTester
from adapters.idempotency import PREFIX, Answers
from adapters.identity.accounts import Accounts
from adapters.identity.followers import FollowerAccess
from adapters.identity.gate import Gate
from adapters.identity.invitations import Invitations
from adapters.identity.login import Logins
from adapters.identity.members import Members
from adapters.identity.sessions import Lifetimes, Sessions
from adapters.kill.channel import open_redis
from adapters.kill.switch import KillSwitch
from adapters.limits import Limiter
from adapters.live import LiveOrders
from adapters.payments.catalogue import load_catalogue
from adapters.payments.hooks import PaymentHooks
from adapters.secretbox import SecretBox
from adapters.store.allowances import Allowance
from adapters.store.answers import AnswerStore
from adapters.store.billing_differences import DifferenceStore
from adapters.store.confirmations import ConfirmationStore
from adapters.store.credentials import CredentialStore
from adapters.store.database import Database
from adapters.store.directory import VaultDirectory
from adapters.store.door import Door, limits_of
from adapters.store.endpoints import TrialStore
from adapters.store.entitlements import EntitlementStore
from adapters.store.halts import HaltStore
from adapters.store.inbox import Inbox
from adapters.store.kills import KillStore
from adapters.store.letters import DeadLetterStore
from adapters.store.overlays import OverlayStore
from adapters.store.preview import PreviewStore
from adapters.store.progress import ProgressStore
from adapters.store.reads import Reads
from adapters.store.reconciliations import ReconciliationStore
from adapters.store.registry import Registry
from adapters.store.rotation import KeyRotation
from adapters.store.settlement import SettlementStore
from adapters.webhooks import AiohttpWebhookSender
from adapters.webhooks.callbacks import Callbacks
from adapters.webhooks.trial import WebhookTester
from api.app import create_app, hook_readers, pace, token_verifier
from api.readiness import Readiness
from api.services import Services
from domain.access import Role
from domain.entitlements import EVERYTHING
from domain.errors import VenueRefused
from domain.flattening import FlattenInput
from domain.flip_mode import Begun, EndOverlay, ExtendOverlay, Extension, StartOverlay
from domain.mirroring import Admission, Cancellation, MirrorOrderInput, RedriveVerdict
from domain.orders import FollowerState, ManagerState
from domain.overlays import EndReason, Overlay, OverlayKind
from domain.ports import BrokerCredentials, VenueAccount
from domain.redrive import Redrivable
from domain.streams import OrderOwner
from models import Instrument
from settings import LimitSettings, Settings
from stack.dev_token import dev_token
from temporal.orders import EngineUnavailable
from tests.adapters.store.orders import UNLIMITED
from tests.api.billing import Till
from tests.api.logins import Login, log_in

STRIPE_SECRET, BTCPAY_SECRET = "whsec_of-the-tests", "btcpay-secret-of-the-tests"
CATALOGUE = load_catalogue()
# As in the embedded profile: who never subscribed may use everything.
ALLOWANCE = Allowance(EVERYTHING, CATALOGUE)
SCOPES = ("vault:read", "mirror:manage", "follower:manage", "orders:read", "orders:write", "audit:read")
COUNTED = (
    "vaults", "followers", "manager_orders", "follower_orders", "audit_events", "idempotency_keys", "webhook_keys",
    "credentials", "snapshots", "overlays", "kills",
)  # fmt: skip


@dataclass
class FakeEngine:
    """Answers as told and remembers what it was asked. `busy` holds it back until it is set."""

    admitted: list[MirrorOrderInput] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    ended: bool = False
    cancel_finds: ManagerState = ManagerState.CANCELLED
    busy: asyncio.Event | None = None

    async def admit(self, order: MirrorOrderInput) -> Admission | None:
        self.admitted.append(order)
        if self.busy is not None:
            await self.busy.wait()
        if self.error is not None:
            raise self.error
        if self.ended:
            return None
        given: dict[str, Any] = {"accepted": True, "state": ManagerState.DISPATCHING, "followers": 2}
        return Admission(**{**given, "mo_id": order.mo_id, "fingerprint": order.fingerprint, **self.verdict})

    async def cancel(self, mo_id: str, *, actor: str) -> Cancellation | None:
        self.cancelled.append((mo_id, actor))
        if self.error is not None:
            raise self.error
        return None if self.ended else Cancellation(mo_id, 3, 1, self.cancel_finds)


@dataclass
class FakeRedriver:
    """Redrives what it is not told to refuse, and remembers what it was asked."""

    asked: list[tuple[int, str]] = field(default_factory=list)
    refusals: dict[int, tuple[str, str]] = field(default_factory=dict)
    away: EngineUnavailable | None = None
    silent: set[int] = field(default_factory=set)

    async def ready(self) -> None:
        if self.away is not None:
            raise self.away

    async def redrive(self, letter: Redrivable, *, actor: str) -> RedriveVerdict:
        self.asked.append((letter.dead_letter_id, actor))
        if letter.dead_letter_id in self.silent:
            raise EngineUnavailable("nobody has decided yet", taken=True)
        code, reason = self.refusals.get(letter.dead_letter_id, (None, None))
        state = FollowerState.RETRY if code is None else FollowerState.DEAD_LETTER
        return RedriveVerdict(letter.dead_letter_id, letter.fo_id, code is None, state, 5, code, reason)


@dataclass
class FakeFlips:
    """Does at once what the workflows' activities do. `gone`: somebody has terminated them; `away`: no engine."""

    store: OverlayStore
    asked: list[str] = field(default_factory=list)
    scopes: dict[str, str] = field(default_factory=dict)
    gone: bool = False
    away: EngineUnavailable | None = None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.away is not None:
            raise self.away

    async def start(self, start: StartOverlay) -> Begun | None:
        self._ask("start")
        await self.store.start(start)
        self.scopes[start.overlay_id] = start.tenant_id
        return Begun(await self.store.find(start.tenant_id, start.overlay_id), start.once.fingerprint)

    async def extend(self, overlay_id: str, kind: OverlayKind, extension: Extension) -> Overlay | None:
        self._ask("extend")
        change = ExtendOverlay(self.scopes[overlay_id], overlay_id, extension.ttl, extension.actor)
        return None if self.gone else await self.store.extend(change)

    async def cancel(self, overlay_id: str, kind: OverlayKind, actor: str) -> Overlay | None:
        self._ask("cancel")
        change = EndOverlay(self.scopes[overlay_id], overlay_id, EndReason.CANCELLED, actor)
        return None if self.gone else await self.store.end(change)


@dataclass
class FakeReconciler:
    """Remembers which runs it was asked to start: vault, run, actor."""

    started: list[tuple[str, str, str]] = field(default_factory=list)

    async def start(self, tenant_id: str, vault_id: str, run_id: str, *, actor: str) -> None:
        self.started.append((vault_id, run_id, actor))


@dataclass
class FakeOwners:
    """Remembers which orders' owners were woken."""

    woken: list[OrderOwner] = field(default_factory=list)

    async def venue_reported(self, owner: OrderOwner) -> None:
        self.woken.append(owner)


@dataclass
class FakeInbox:
    """Remembers which events it was asked to act on at once."""

    woken: list[str] = field(default_factory=list)

    async def wake(self, event_id: str) -> None:
        self.woken.append(event_id)


class FakeBank(AlpacaBroker):
    """A venue that knows one key; `down` is what it raises instead of answering."""

    def __init__(self) -> None:
        super().__init__(live_url="http://bank.test", paper_url="http://bank.test")
        self.secret = ""
        self.down: Exception | None = None

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        if self.down is not None:
            raise self.down
        if credentials.secret != self.secret:
            raise VenueRefused("bad_credentials", "HTTP 401: request is not authorized")
        return VenueAccount(Decimal(1), Decimal(1), Decimal(1))


@dataclass
class FakeFlattener:
    """Remembers what it was asked to flatten."""

    started: list[FlattenInput] = field(default_factory=list)

    async def start(self, scopes: Sequence[FlattenInput]) -> None:
        self.started += scopes


@dataclass
class Caller:
    """A user of one tenant, with a client that carries the token."""

    tenant_id: str
    http: httpx.AsyncClient
    database: Database
    settings: Settings

    async def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> httpx.Response:
        return await self._change("POST", path, body, key, headers)

    async def patch(self, path: str, body: Any, *, key: str | None = None, **headers: str) -> httpx.Response:
        return await self._change("PATCH", path, body, key, headers)

    async def _change(self, method: str, path: str, body: Any, key: str | None, more: dict[str, str]) -> httpx.Response:
        """Under a key of its own unless it is given one. `body` None: without any."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex, "Content-Type": "application/json", **more}
        content = None if body is None else json.dumps(body)
        return await self.http.request(method, path, content=content, headers=headers)

    async def forget(self) -> None:
        """As a day later: no answer is kept at the gateway any more, and a repeat meets what is below it."""
        redis = open_redis(self.settings.redis)
        async for name in redis.scan_iter(f"{PREFIX}*"):
            await redis.delete(name)
        await redis.aclose()

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.http.get(path, params=query)

    async def vault(self) -> str:
        made = await self.post("/v1/vaults", {"label": "Alpha", "nav_usd": "1000000"})
        assert made.status_code == 201, made.text
        return str(made.json()["vault_id"])

    async def counts(self) -> dict[str, int]:
        """Rows of the tenant, by table."""
        parts = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in COUNTED)
        async with self.database.cursor(self.tenant_id) as cursor:
            cursor.filtered = False
            await cursor.execute(f"SELECT {parts}")
            row = await cursor.fetchone()
        assert row is not None
        return row

    def token(self, scopes: Iterable[str], **more: Any) -> str:
        tenant_id = uuid.UUID(self.tenant_id)
        return dev_token(self.settings, tenant_id=tenant_id, role="owner", scopes=" ".join(scopes), **more)

    async def login(self, role: Role = Role.OWNER, **more: Any) -> Login:
        """Of a new user of the role, or of `user_id=` or `follower_id=`; see `log_in`."""
        return await log_in(self.database, self.settings, self.tenant_id, role, **more)

    async def session_token(self, role: Role = Role.OWNER, **more: Any) -> str:
        """The token of such a login: other than `token`, it counts only as long as its session and its user do."""
        return (await self.login(role, **more)).token

    async def follower(self, vault_id: str | None = None, label: str = "Bob") -> str:
        """A new one, in a new vault unless it is named."""
        vault_id = vault_id or await self.vault()
        hook = {"label": label, "webhook": {"url": "https://follower.example/"}}
        made = await self.post(f"/v1/vaults/{vault_id}/followers", hook)
        assert made.status_code == 201, made.text
        return str(made.json()["follower_id"])

    def only(self, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(scopes)}"}


class WithState:
    """Gives requests the lifespan's state, which httpx's transport does not."""

    def __init__(self, app: ASGIApp, state: dict[str, Any]) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": dict(self._state)}, receive, send)


def with_hooks(settings: Settings) -> Settings:
    """With secrets by which payment systems sign."""
    stripe = settings.stripe.model_copy(update={"webhook_secret": SecretStr(STRIPE_SECRET)})
    btcpay = settings.btcpay.model_copy(update={"webhook_secret": SecretStr(BTCPAY_SECRET), "store_id": "STORE"})
    return settings.model_copy(update={"stripe": stripe, "btcpay": btcpay})


def roomy(settings: Settings) -> LimitSettings:
    """Limits that no test meets by chance."""
    names = [name for name in LimitSettings.model_fields if name.endswith(("_tenant", "_user", "_address"))]
    return settings.limits.model_copy(update=dict.fromkeys(names, 1_000_000))


@asynccontextmanager
async def serve(settings: Settings, **parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application that `create_app(settings, **parts)` makes."""
    app = create_app(settings, **parts)
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        transport = httpx.ASGITransport(WithState(app, dict(state)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            yield client


@pytest.fixture(scope="session")
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.postgres)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def registry(database: Database, settings: Settings) -> Registry:
    made = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()), ALLOWANCE)
    await made.upsert_instrument(
        Instrument(
            symbol="AAPL", venue="XNAS", rail="fiat", qty_step=Decimal(1), fine_step=Decimal("0.000001"),
            min_qty=Decimal(0), min_notional=Decimal(0), tradable=True,
        )
    )  # fmt: skip
    return made


@pytest.fixture(scope="session")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="session")
def redriver() -> FakeRedriver:
    return FakeRedriver()


@pytest.fixture(scope="session")
def flattener() -> FakeFlattener:
    return FakeFlattener()


@pytest.fixture(scope="session")
def owners() -> FakeOwners:
    return FakeOwners()


@pytest.fixture(scope="session")
def inbox() -> FakeInbox:
    return FakeInbox()


@pytest.fixture(scope="session")
def bank() -> FakeBank:
    return FakeBank()


@pytest.fixture(scope="session")
def reconciler() -> FakeReconciler:
    return FakeReconciler()


@pytest.fixture(scope="session")
def flips(database: Database) -> FakeFlips:
    return FakeFlips(OverlayStore(database))


@pytest.fixture(scope="session")
def till(database: Database) -> Till:
    return Till.of(database)


@pytest.fixture(autouse=True)
def _fresh_engine(
    engine: FakeEngine, redriver: FakeRedriver, reconciler: FakeReconciler, flips: FakeFlips, till: Till
) -> None:
    till.fresh()
    vars(flips).update(vars(FakeFlips(flips.store)))
    vars(engine).update(vars(FakeEngine()))
    vars(reconciler).update(vars(FakeReconciler()))
    vars(redriver).update(vars(FakeRedriver()))


@pytest.fixture(scope="session")
async def client(
    settings: Settings,
    database: Database,
    registry: Registry,
    engine: FakeEngine,
    redriver: FakeRedriver,
    reconciler: FakeReconciler,
    flips: FakeFlips,
    flattener: FakeFlattener,
    bank: FakeBank,
    owners: FakeOwners,
    inbox: FakeInbox,
    till: Till,
) -> AsyncIterator[httpx.AsyncClient]:
    @asynccontextmanager
    async def opened(_settings: Settings) -> AsyncIterator[Services]:
        redis = open_redis(settings.redis)
        box = SecretBox(settings.secrets.master_keys.get_secret_value())
        sender = AiohttpWebhookSender(timeout_ms=2_000, allowed_networks=[ip_network("127.0.0.0/8")])
        await sender.start()
        logins = Logins(database, None, Sessions(database, None, Lifetimes(600, 600, 600)), keys=[])
        live = LiveOrders(ProgressStore(database), settings.live)
        entitlements = EntitlementStore(database, EVERYTHING, CATALOGUE)
        yield Services(
            entitlements=entitlements,
            directory=VaultDirectory(database, entitlements),
            billing=till.desk,
            registry=registry,
            reads=Reads(database),
            settlement=SettlementStore(database),
            letters=DeadLetterStore(database),
            preview=PreviewStore(
                database, Door(**limits_of(settings.guards, max_price_age_s=settings.prices.max_age_s)), UNLIMITED
            ),
            engine=engine,
            redrives=redriver,
            keys=KeyRotation(database, box),
            tester=WebhookTester(TrialStore(database), sender, box),
            credentials=CredentialStore(database, box),
            credential_tester=CredentialTester(CredentialStore(database, box), {"alpaca": bank}, box),
            reconciliations=ReconciliationStore(database),
            reconciler=reconciler,
            kills=KillSwitch(KillStore(database), redis),
            halts=HaltStore(database),
            flattener=flattener,
            overlays=OverlayStore(database, ALLOWANCE),
            flips=flips,
            readiness=Readiness({}, frozenset()),
            gate=Gate(database, token_verifier(settings), sessionless=True),
            members=Members(database),
            invitations=Invitations(database, valid_for=timedelta(days=settings.auth.invitation_days)),
            accounts=Accounts(database),
            follower_access=FollowerAccess(database),
            limiter=Limiter(redis, timeout_s=2, patience_s=2, pause_s=0.1),
            rates=roomy(settings).rates(),
            logins=logins,
            callbacks=Callbacks(ConfirmationStore(database), box),
            inbox=inbox,
            differences=DifferenceStore(database),
            hooks=PaymentHooks(hook_readers(with_hooks(settings)), Inbox(database)),
            owners=owners,
            live=live,
            pace=pace(settings.live),
            answers=Answers(redis, AnswerStore(database), lease=timedelta(seconds=60)),
            max_body_bytes=settings.api.max_body_bytes,
        )
        await live.close()
        await redis.aclose()
        await sender.close()

    async with serve(settings, open_services=opened) as http:
        yield http


@pytest.fixture(scope="session")
def owner_execute(settings: Settings) -> Callable[..., Awaitable[None]]:
    """Run a statement as the owner of the tables, to make time pass."""
    assert settings.postgres.owner_dsn is not None
    dsn = settings.postgres.owner_dsn.get_secret_value()

    async def execute(statement: str, *values: Any) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute(statement, values)

    return execute


async def _caller(
    client: httpx.AsyncClient, database: Database, registry: Registry, settings: Settings
) -> AsyncIterator[Caller]:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Test tenant", actor="user:test")
    http = httpx.AsyncClient(transport=client._transport, base_url=client.base_url)
    made = Caller(tenant_id, http, database, settings)
    http.headers["Authorization"] = f"Bearer {made.token(SCOPES)}"
    yield made


@pytest.fixture
async def caller(
    client: httpx.AsyncClient, database: Database, registry: Registry, settings: Settings
) -> AsyncIterator[Caller]:
    async for made in _caller(client, database, registry, settings):
        yield made


@pytest.fixture
async def stranger(
    client: httpx.AsyncClient, database: Database, registry: Registry, settings: Settings
) -> AsyncIterator[Caller]:
    """A user of another tenant, with every scope."""
    async for made in _caller(client, database, registry, settings):
        yield made


def problem(response: httpx.Response, status: int, kind: str, field: str | None = None) -> dict[str, Any]:
    """The document, once it is shown to be a whole one of that kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:vanta:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert body.get("field") == field
    assert "Traceback" not in response.text
    return body


def utc(second: int = 0) -> datetime:
    return datetime(2026, 1, 31, 12, 0, second, tzinfo=UTC)
