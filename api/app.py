"""The API's composition root: settings → services → routes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from redis.asyncio import Redis
from starlette.types import Lifespan
from temporalio.client import Client

from adapters import health, tokens
from adapters.brokers.registry import build_brokers, close_brokers
from adapters.brokers.trial import CredentialTester
from adapters.entitlement_cache import EntitlementCache
from adapters.idempotency import Answers
from adapters.identity.accounts import Accounts
from adapters.identity.followers import FollowerAccess
from adapters.identity.gate import Gate
from adapters.identity.invitations import Invitations
from adapters.identity.login import Logins
from adapters.identity.members import Members
from adapters.identity.oidc import OidcProvider
from adapters.identity.sessions import Lifetimes, Sessions
from adapters.kill.channel import open_redis
from adapters.kill.switch import KillSwitch
from adapters.limits import Limiter
from adapters.live import LiveOrders
from adapters.objects import ObjectStore
from adapters.payments.btcpay_hooks import BtcpayHooks
from adapters.payments.catalogue import load_catalogue
from adapters.payments.hooks import HookReader, PaymentHooks
from adapters.payments.registry import build_billers, close_billers
from adapters.payments.stripe_hooks import StripeHooks, live_mode
from adapters.secretbox import SecretBox
from adapters.store.allowances import Allowance
from adapters.store.answers import AnswerStore, swept
from adapters.store.billing_differences import DifferenceStore
from adapters.store.calendars import CalendarStore
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
from adapters.store.money import Peg, RoutePreviews
from adapters.store.overlays import OverlayStore
from adapters.store.preview import PreviewStore
from adapters.store.progress import ProgressStore
from adapters.store.reads import Reads
from adapters.store.reconciliations import ReconciliationStore
from adapters.store.registry import Registry
from adapters.store.rotation import KeyRotation
from adapters.store.settlement import SettlementStore
from adapters.store.subscriptions import SubscriptionStore
from adapters.webhooks import AiohttpWebhookSender
from adapters.webhooks.callbacks import Callbacks
from adapters.webhooks.trial import WebhookTester
from api import contract, errors, idempotency
from api.bounds import Bounds
from api.cors import ANSWER_HEADERS, REQUEST_HEADERS, Cors
from api.limits import limit_address
from api.methods import Methods
from api.middleware import Edge
from api.readiness import PROBE_TIMEOUT_S, Probe, Readiness
from api.routes import (
    accounts,
    auth,
    billing,
    confirmations,
    dead_letters,
    entitlements,
    follower_orders,
    halts,
    hooks,
    invoices,
    manager_orders,
    members,
    overlays,
    plans,
    preview,
    reconciliations,
    subscription,
    vaults,
    webhooks,
)
from api.routes import credentials as credential_routes
from api.routes import health as health_routes
from api.routes import live as live_routes
from api.services import Billing, Services
from api.watching import Pace
from domain.billing import Provider
from domain.rights import Offer
from settings import LiveSettings, RoutingSettings, S3Settings, Settings
from temporal.client import connect
from temporal.flattening import Flattener
from temporal.orders import MirrorOrders
from temporal.overlays import FlipModes
from temporal.payment_events import Drain
from temporal.reconciliations import Reconciler
from temporal.redrives import Redrives
from temporal.streams import WakeUps
from temporal.subscriptions import Subscriptions

_WAKE_TIMEOUT_S = 5  # nobody waits for it, and the worker tries again what fails
OpenServices = Callable[[Settings], AbstractAsyncContextManager[Services]]
_DESCRIPTION = """
One manager order becomes one durable, explained, audited child order per follower.

Every request that changes something carries an `Idempotency-Key`; repeating it under the same key is always safe.
Errors are RFC 9457 problem documents with a stable `type`. Quantities and money are decimal strings, times RFC 3339.
This contract as JSON: `/openapi.json`.
"""


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connects nothing yet: the API starts, and answers what it can, while its dependencies are away."""
    async with AsyncExitStack() as closing:
        database = Database(settings.postgres)
        closing.push_async_callback(database.close)
        temporal = await connect(settings.temporal, lazy=True)
        redis = open_redis(settings.redis)
        closing.push_async_callback(redis.aclose)
        box = SecretBox(settings.secrets.master_keys.get_secret_value())
        brokers = build_brokers(alpaca=settings.alpaca, coinbase=settings.coinbase, tradier=settings.tradier)
        closing.push_async_callback(close_brokers, brokers)
        credentials = CredentialStore(database, box)
        live = LiveOrders(ProgressStore(database), settings.live)
        closing.push_async_callback(live.close)
        kept = AnswerStore(database)
        catalogue = load_catalogue(settings.billing.catalogue_path)
        granted = EntitlementStore(database, settings.unsubscribed, catalogue)
        allowance = Allowance(settings.unsubscribed, catalogue)
        await closing.enter_async_context(swept(kept))
        billers = build_billers(settings, catalogue)
        closing.push_async_callback(close_billers, billers)
        yield Services(
            registry=Registry(database, box, allowance),
            reads=Reads(database),
            settlement=SettlementStore(database),
            letters=DeadLetterStore(database),
            preview=PreviewStore(
                database,
                Door(**limits_of(settings.guards, max_price_age_s=settings.prices.max_age_s)),
                Offer(settings.unsubscribed, catalogue.sold()),
                _routes(settings.routing),
            ),
            engine=MirrorOrders(temporal, admit_timeout_s=settings.api.admit_timeout_s),
            redrives=Redrives(temporal, timeout_s=settings.api.admit_timeout_s),
            keys=KeyRotation(database, box),
            tester=WebhookTester(TrialStore(database), await closing.enter_async_context(_sender(settings)), box),
            credentials=credentials,
            credential_tester=CredentialTester(credentials, brokers, box),
            reconciliations=ReconciliationStore(database),
            reconciler=Reconciler(temporal, timeout_s=settings.api.admit_timeout_s),
            kills=KillSwitch(KillStore(database), redis),
            halts=HaltStore(database),
            flattener=Flattener(temporal, timeout_s=settings.api.admit_timeout_s),
            overlays=OverlayStore(database, allowance),
            flips=FlipModes(temporal, timeout_s=settings.api.admit_timeout_s),
            readiness=_readiness(settings, database, temporal),
            gate=Gate(database, token_verifier(settings), sessionless=settings.is_embedded),
            members=Members(database),
            invitations=Invitations(database, valid_for=timedelta(days=settings.auth.invitation_days)),
            accounts=Accounts(database),
            follower_access=FollowerAccess(database),
            limiter=_limiter(settings, redis),
            rates=settings.limits.rates(),
            logins=await closing.enter_async_context(open_logins(settings, database)),
            callbacks=Callbacks(ConfirmationStore(database), box),
            hooks=PaymentHooks(hook_readers(settings), Inbox(database)),
            differences=DifferenceStore(database),
            inbox=Drain(Inbox(database), Subscriptions(temporal, timeout_s=_WAKE_TIMEOUT_S).tell),
            owners=WakeUps(temporal),
            live=live,
            pace=pace(settings.live),
            answers=Answers(redis, kept, lease=timedelta(seconds=settings.api.idempotency_lease_s)),
            entitlements=EntitlementCache(redis, granted),
            directory=VaultDirectory(database, granted),
            billing=Billing(
                Subscriptions(temporal, timeout_s=settings.api.admit_timeout_s),
                SubscriptionStore(database, catalogue),
                granted,
                catalogue,
                settings.billing.terms(),
                billers,
                loopback_urls=settings.is_embedded,
            ),
            max_body_bytes=settings.api.max_body_bytes,
        )


def hook_readers(settings: Settings) -> dict[Provider, HookReader]:
    tolerance = timedelta(seconds=settings.billing.hook_tolerance_s)
    stripe, btcpay = settings.stripe, settings.btcpay
    live = live_mode(stripe.api_key.get_secret_value())
    return {
        Provider.STRIPE: StripeHooks(stripe.webhook_secret.get_secret_value(), tolerance=tolerance, live=live),
        Provider.BTCPAY: BtcpayHooks(btcpay.webhook_secret.get_secret_value(), btcpay.store_id, tolerance=tolerance),
    }


def pace(config: LiveSettings) -> Pace:
    return Pace(config.keep_alive_s, config.recheck_s, config.write_timeout_s)


def _routes(routing: RoutingSettings) -> RoutePreviews:
    return RoutePreviews(routing.terms(), Peg(routing.peg_symbol, timedelta(seconds=routing.peg_max_age_s)))


def _limiter(settings: Settings, redis: Redis) -> Limiter:
    limits = settings.limits
    return Limiter(
        redis,
        timeout_s=limits.redis_timeout_ms / 1_000,
        patience_s=settings.redis.timeout_s,
        pause_s=limits.pause_ms / 1_000,
    )


def _sender(settings: Settings) -> AiohttpWebhookSender:
    """For tests of endpoints: they are few, and are held to the addresses that orders are."""
    hooks = settings.webhooks
    return AiohttpWebhookSender(
        timeout_ms=hooks.timeout_ms,
        max_response_bytes=hooks.max_response_bytes,
        allowed_networks=hooks.allowed_networks,
        max_connections=20,
        max_connections_per_host=4,
    )


def token_verifier(settings: Settings) -> Callable[[str], tokens.Claims]:
    """Raises ValueError where the configured JWK Set is none."""
    auth = settings.auth
    jwks = tokens.import_jwks(auth.jwks.get_secret_value())

    def verify(token: str) -> tokens.Claims:
        return tokens.verify(
            jwks, token, issuer=auth.issuer, audience=auth.audience, leeway_s=auth.leeway_s, now=datetime.now(UTC)
        )

    return verify


@asynccontextmanager
async def open_logins(settings: Settings, database: Database) -> AsyncIterator[Logins]:
    """Raises ValueError where the signing key's public half is not among the keys that are accepted."""
    access, oidc = settings.auth, settings.oidc
    jwks, signer, provider = tokens.import_jwks(access.jwks.get_secret_value()), None, None
    key = "" if access.signing_key is None else access.signing_key.get_secret_value()
    if key:
        signer = tokens.Signer(key, jwks, issuer=access.issuer, audience=access.audience)
    if oidc.issuer:
        provider = OidcProvider(oidc, leeway_s=access.leeway_s, plain_http=settings.is_embedded)
    lifetimes = Lifetimes(oidc.access_ttl_s, oidc.refresh_ttl_s, oidc.session_ttl_s)
    yield Logins(
        database,
        provider,
        Sessions(database, signer, lifetimes),
        redirect_uris=oidc.redirect_uris,
        attempt_ttl_s=oidc.attempt_ttl_s,
        keys=tokens.public_keys(jwks),
    )
    if provider is not None:
        await provider.close()


def create_app(settings: Settings, *, open_services: OpenServices = open_services) -> FastAPI:
    """`open_services` may be replaced by one with other parts, as tests do."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Services]]:
        async with open_services(settings) as services:
            yield {"services": services}

    app = _with_routes(lifespan)
    errors.install(app)
    app.add_exception_handler(idempotency.Replayed, idempotency.on_replayed)
    # From the inside to the outside.
    app.add_middleware(idempotency.Idempotency)
    app.add_middleware(Methods)
    if settings.api.cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=settings.api.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
        )
    app.add_middleware(Bounds, timeout_s=settings.api.request_timeout_s)
    app.add_middleware(Edge, over_tls=not settings.is_embedded)
    return app


def openapi() -> str:
    """The contract as text; no settings and no servers are needed for it."""
    return contract.rendered(_with_routes(None).openapi())


def _with_routes(lifespan: Lifespan[FastAPI] | None) -> FastAPI:
    # The documentation page with its scripts from here: a page that faces money loads none from elsewhere.
    app = FastAPIOffline(
        title="VANTA Platform",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        # A second address for the same thing; and a redirect would drop an order's body.
        redirect_slashes=False,
        dependencies=[Depends(limit_address)],
    )
    for routes in (
        vaults,
        webhooks,
        credential_routes,
        preview,
        manager_orders,
        live_routes,
        follower_orders,
        confirmations,
        hooks,
        billing,
        dead_letters,
        reconciliations,
        overlays,
        halts,
        members,
        accounts,
        entitlements,
        plans,
        subscription,
        invoices,
        auth,
        health_routes,
    ):
        app.include_router(routes.router)
    app.openapi = partial(contract.document_of, app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _readiness(settings: Settings, database: Database, temporal: Client) -> Readiness:
    timeout = PROBE_TIMEOUT_S
    probes: dict[str, Probe] = {
        "postgres": database.ping,
        "temporal": partial(_ping_temporal, temporal, timeout),
        "redis": partial(health.ping_redis, settings.redis.url.get_secret_value(), timeout_s=timeout),
        "nats": partial(health.ping_nats, settings.nats.url.get_secret_value(), timeout_s=timeout),
        "s3": _object_store(settings.s3).ping,
        "calendars": partial(CalendarStore(database).require_ahead, settings.reference.ahead_days),
    }
    return Readiness(probes, vital=frozenset({"postgres", "temporal"}))


async def _ping_temporal(client: Client, timeout_s: float) -> None:
    if not await client.service_client.check_health(timeout=timedelta(seconds=timeout_s)):
        raise ConnectionError("temporal reports that it is not serving")


def _object_store(s3: S3Settings) -> ObjectStore:
    """For the probe, which waits no longer than its own time-out."""
    return ObjectStore(s3.model_copy(update={"timeout_s": round(PROBE_TIMEOUT_S)}))
