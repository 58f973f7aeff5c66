"""Every setting of the product, in groups; read from the environment as `VANTA_<GROUP>__<NAME>`.

`Settings()` raises `pydantic.ValidationError` naming the variable that is missing or wrong. Outside the embedded
profile, secrets that are known defaults are refused. `.env.example` is generated from this file.
"""

from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.entitlements import EVERYTHING, Entitlements, from_stored
from domain.rate_limits import Quota, Rates, RouteClass
from domain.routing import RoutingTerms
from domain.subscriptions import Terms
from domain.terms import Mode

EMBEDDED_ONLY = "embedded-only"


class PostgresSettings(BaseModel):
    dsn: SecretStr = Field(description="Application role (owns no tables, subject to row-level security).")
    owner_dsn: SecretStr | None = Field(default=None, description="Owner role; only `vanta db` needs it.")
    relay_dsn: SecretStr | None = Field(
        default=None, description="Role that may read events and empty the outbox only."
    )
    pool_size: int = Field(default=10, ge=1, le=200, description="Connections per process.")
    pool_timeout_s: int = Field(default=10, ge=1, description="Longest wait for a connection.")
    statement_timeout_ms: int = Field(default=15_000, ge=100, description="Postgres ends longer statements.")


class TemporalSettings(BaseModel):
    address: str = Field(default="127.0.0.1:7233", description="host:port of the frontend.")
    namespace: str = Field(default="default", description="Must exist.")
    ui_url: str = Field(default="http://127.0.0.1:8233", description="The web UI; for links only.")
    tls: bool = Field(default=False, description="Whether to speak TLS, with the system's certificates.")
    api_key: SecretStr | None = Field(default=None, description="Where the server asks for one.")
    max_cached_workflows: int = Field(default=1_000, ge=10, description="Per worker; more need memory.")
    max_workflow_tasks: int = Field(default=40, ge=2, description="At once, per worker.")
    max_activities: int = Field(default=100, ge=1, description="At once, per worker and task queue.")
    graceful_shutdown_s: int = Field(default=10, ge=0, description="What runs may finish for this long.")


class RedisSettings(BaseModel):
    url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6379/0"), description="May hold a password.")
    timeout_s: int = Field(default=2, ge=1, description="Of connecting and of each command.")
    pool_size: int = Field(default=10, ge=2, le=200, description="Connections per process.")


class NatsSettings(BaseModel):
    url: SecretStr = Field(default=SecretStr("nats://127.0.0.1:4222"), description="May hold user and password.")
    timeout_s: int = Field(default=5, ge=1, description="Of connecting and of each acknowledgement.")
    max_age_days: int = Field(default=30, ge=1, description="How long the streams keep an event.")
    max_bytes: int = Field(default=1_000_000_000, ge=1_000_000, description="Largest size of each stream.")


class S3Settings(BaseModel):
    endpoint: str | None = Field(default=None, description="URL; none: AWS.")
    region: str = Field(default="us-east-1", description="Of the buckets.")
    access_key: SecretStr = Field(default=SecretStr(""), description="Of a user that may write to both buckets.")
    secret_key: SecretStr = Field(default=SecretStr(""), description="Of the same user.")
    audit_bucket: str = Field(default="vanta-audit", description="Trade logs, under Object Lock.")
    artifacts_bucket: str = Field(default="vanta-artifacts", description="Everything else.")
    audit_retention_days: int = Field(default=365, ge=1, description="Nobody can delete earlier, not even the owner.")
    timeout_s: int = Field(default=10, ge=1, description="Of connecting and of each read.")


class AuthSettings(BaseModel):
    issuer: str = Field(default="vanta", description="`iss` of the tokens that are accepted.")
    audience: str = Field(default="vanta-api", description="`aud` of the tokens that are accepted.")
    jwks: SecretStr = Field(description="JSON Web Key Set with the public keys that verify access tokens.")
    signing_key: SecretStr | None = Field(
        default=None, description="Private ES256 JWK that signs them; its public half must be in jwks. None: no login."
    )
    leeway_s: int = Field(default=5, ge=0, le=60, description="How far clocks may differ.")
    invitation_days: int = Field(default=7, ge=1, le=90, description="How long an invitation can be accepted.")


class OidcSettings(BaseModel):
    """Who logs people in: an OpenID provider, found by discovery at its issuer."""

    issuer: str = Field(default="", description="URL, exactly as the provider names itself; empty: nobody logs in.")
    client_id: str = Field(default="", description="Of this gateway at the provider.")
    client_secret: SecretStr | None = Field(default=None, description="None: the gateway is a public client.")
    redirect_uris: list[str] = Field(
        default_factory=list,
        description="Where people may come back to, as a JSON list: exactly, but any port of a loopback.",
    )
    scopes: list[str] = Field(
        default_factory=lambda: ["openid", "email"], description="Asked of the provider, as a JSON list."
    )
    algorithms: list[Literal["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"]] = Field(
        default=["ES256", "RS256", "PS256", "EdDSA"],
        description="That ID tokens may be signed with, as a JSON list.",
    )
    jwks_ttl_s: int = Field(default=300, ge=1, le=86_400, description="How long discovery and keys are believed.")
    timeout_ms: int = Field(default=5_000, ge=100, le=30_000, description="Of each exchange with the provider.")
    access_ttl_s: int = Field(default=600, ge=30, le=3_600, description="Of an access token.")
    refresh_ttl_s: int = Field(
        default=43_200, ge=60, description="Of a refresh token: the longest time of not calling."
    )
    session_ttl_s: int = Field(default=604_800, ge=60, description="Of a login: then the person logs in again.")
    attempt_ttl_s: int = Field(default=600, ge=30, le=3_600, description="Between the way to the provider and back.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer and not (self.client_id and self.redirect_uris):
            raise ValueError("an issuer needs a client_id and redirect_uris")
        if "openid" not in self.scopes:
            raise ValueError("scopes must name openid")
        return self


class SecretsSettings(BaseModel):
    master_keys: SecretStr = Field(
        description="Encrypt webhook keys and broker credentials at rest: `id:base64(32 bytes)`, newest first."
    )
    refresh_every_s: int = Field(default=60, ge=1, description="Between two looks for access tokens that expire.")
    refresh_before_s: int = Field(default=3_600, ge=60, description="A token is exchanged this long before it expires.")


class WebhookSettings(BaseModel):
    timeout_ms: int = Field(default=10_000, ge=100, le=10_000, description="Of a whole delivery.")
    max_response_bytes: int = Field(default=65_536, ge=1_024, description="More of an answer is not read.")
    allowed_networks: list[IPv4Network | IPv6Network] = Field(
        default_factory=list, description="Non-public networks that may be reached; for development only."
    )
    max_connections: int = Field(default=400, ge=1, description="Per worker process.")
    max_connections_per_host: int = Field(default=100, ge=1, description="To one receiver.")
    breaker_failures: int = Field(default=20, ge=1, description="Failures in a row that disable an endpoint.")
    breaker_rate: Decimal = Field(default=Decimal("0.5"), gt=0, le=1, description="Part of attempts that does so, too.")
    breaker_rate_attempts: int = Field(default=20, ge=1, description="Attempts from which on that part counts.")
    breaker_window_s: int = Field(default=600, ge=10, description="The part is that of attempts of this time.")


class AlpacaSettings(BaseModel):
    live_url: str = Field(default="https://api.alpaca.markets", description="For accounts with environment live.")
    paper_url: str = Field(default="https://paper-api.alpaca.markets", description="For environment paper.")
    data_url: str = Field(default="https://data.alpaca.markets", description="Quotes, for both environments.")
    # Bounded, as an order that was left in `sent` is asked for after 12 s: no request may still be under way then.
    timeout_ms: int = Field(default=10_000, ge=100, le=10_000, description="Of a whole request.")
    max_connections: int = Field(default=100, ge=1, description="Per worker process, order streams aside.")
    ping_s: int = Field(default=20, ge=1, le=300, description="Between two pings of an order stream.")


class CoinbaseSettings(BaseModel):
    live_url: str = Field(default="https://api.coinbase.com", description="For accounts with environment live.")
    # The vendor's sandbox answers the same to everything: an order there would never be found again.
    paper_url: str = Field(default="", description="For environment paper: a simulator's; empty: paper is refused.")
    live_stream_url: str = Field(
        default="wss://advanced-trade-ws-user.coinbase.com", description="Orders of live accounts as they change."
    )
    paper_stream_url: str = Field(default="", description="The same of paper accounts: a simulator's.")
    timeout_ms: int = Field(default=10_000, ge=100, le=10_000, description="Of a whole request.")
    max_connections: int = Field(default=100, ge=1, description="Per worker process.")
    look_back_days: int = Field(default=30, ge=1, description="How old an order may be that is over and still found.")


class TradierSettings(BaseModel):
    live_url: str = Field(default="https://api.tradier.com", description="For accounts with environment live.")
    paper_url: str = Field(default="https://sandbox.tradier.com", description="For environment paper.")
    live_stream_url: str = Field(default="wss://ws.tradier.com", description="Account events, environment live.")
    paper_stream_url: str = Field(default="wss://sandbox-ws.tradier.com", description="For environment paper.")
    # Two requests where the position is read before an order; both must be over when a `sent` order is asked for.
    timeout_ms: int = Field(default=5_000, ge=100, le=5_000, description="Of a whole request.")
    max_connections: int = Field(default=100, ge=1, description="Per worker process.")
    silence_ms: int = Field(default=150_000, ge=100, description="Longest time without a frame; the vendor's is 60 s.")
    client_id: str = Field(default="", description="Of the OAuth application; needed where access tokens expire.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="Of the OAuth application.")


class DispatchSettings(BaseModel):
    wave: bool = Field(default=True, description="Send first attempts in a wave; off changes latency only.")
    page_size: int = Field(default=400, ge=1, le=500, description="Followers per MirrorShardWorkflow.")
    waves_at_once: int = Field(default=50, ge=1, le=500, description="Waves of one manager order under way.")
    wave_in_flight: int = Field(default=2_000, ge=2, le=10_000, description="Orders of waves claimed, per process.")
    wave_in_flight_per_host: int = Field(default=1_000, ge=2, le=10_000, description="Of these, for one destination.")
    wave_batch: int = Field(default=250, ge=1, le=500, description="Orders claimed in one transaction.")
    background_nice: int = Field(default=10, ge=0, le=19, description="How far pages and relay give way to waves.")
    follower_tasks: int = Field(default=8, ge=2, description="Workflow tasks at once, per worker of role followers.")
    children_starting: int = Field(default=200, ge=1, le=500, description="Of one manager order, at once.")


class IngestSettings(BaseModel):
    queue_path: Path | None = Field(default=None, description="The OS's autotrade_queue.json; none: no ingestion.")
    every_s: int = Field(default=5, ge=1, description="Between two readings.")
    max_bytes: int = Field(default=64_000_000, ge=1_024, description="A larger queue is not read; rotate it.")


class PriceSettings(BaseModel):
    """Where last prices come from, and how old one may be that an open is sized or a NAV is told by."""

    source: Literal["none", "file", "alpaca"] = Field(default="none", description="none: prices are imported by hand.")
    path: Path | None = Field(default=None, description="Of source file: JSON, symbol to price and asof.")
    url: str = Field(default="https://data.alpaca.markets", description="Of source alpaca.")
    key_id: SecretStr = Field(default=SecretStr(""), description="Of source alpaca.")
    secret: SecretStr = Field(default=SecretStr(""), description="Of source alpaca.")
    feed: Literal["iex", "sip", "delayed_sip"] | None = Field(default=None, description="None: what the plan allows.")
    timeout_ms: int = Field(default=10_000, ge=100, le=60_000, description="Of a whole request.")
    every_s: int = Field(default=60, ge=1, description="Between two markings of prices and NAV.")
    all_every_s: int = Field(default=3_600, ge=1, description="Between two looks at what nobody holds or orders.")
    max_age_s: int = Field(default=86_400, ge=1, description="Opens are refused on prices that are older.")
    event_bps: Decimal = Field(default=Decimal(10), ge=0, description="NAV moves of at least this are audit events.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "file" and self.path is None:
            raise ValueError("source file needs a path")
        if self.source == "alpaca" and not (self.key_id.get_secret_value() and self.secret.get_secret_value()):
            raise ValueError("source alpaca needs key_id and secret")
        return self


class ReconcileSettings(BaseModel):
    every_s: int = Field(default=900, ge=10, description="Between two runs of one vault.")
    look_every_s: int = Field(default=60, ge=1, description="Between two looks for vaults without a schedule.")
    page_size: int = Field(default=100, ge=1, le=500, description="Followers per activity.")
    at_once: int = Field(default=8, ge=1, le=100, description="Accounts read at the same time.")
    alert_bps: Decimal = Field(default=Decimal(50), gt=0, description="A follower is told of beyond this distance.")
    stale_after_s: int = Field(
        default=900, ge=1, description="Then an open order that nobody moved has lost its owner."
    )
    lookback_days: int = Field(default=7, ge=1, le=90, description="How far back an account's orders are read.")


class RoutingSettings(BaseModel):
    """What is reckoned with where money is changed before an order; in basis points."""

    conversion_fee_bps: Decimal = Field(default=Decimal(0), ge=0, lt=10_000, description="Of USD into USDC and back.")
    trade_fee_bps: Decimal = Field(
        default=Decimal(120), ge=0, lt=10_000, description="Of a purchase, kept ready for it."
    )
    slippage_bps: Decimal = Field(default=Decimal(100), ge=0, lt=10_000, description="Room of a market order's price.")
    max_depeg_bps: Decimal = Field(
        default=Decimal(50), ge=0, le=1_000, description="Farther from 1 USD, no USDC is bought or sold."
    )
    peg_symbol: str = Field(default="USDC-USD", description="The instrument whose price is that of USDC in USD.")
    peg_max_age_s: int = Field(default=3_600, ge=1, description="A price of USDC that is older is none.")

    def terms(self) -> RoutingTerms:
        return RoutingTerms(self.conversion_fee_bps, self.trade_fee_bps, self.slippage_bps, self.max_depeg_bps)


class StreamSettings(BaseModel):
    """Venues' reports of orders as they come. Polling finds the same a little later, so off changes latency only."""

    enabled: bool = Field(default=True, description="Listen to accounts at venues that stream.")
    accounts_per_shard: int = Field(default=50, ge=5, le=500, description="Connections of one activity.")
    shards_at_once: int = Field(default=20, ge=2, le=500, description="Activities per worker of role followers.")
    look_every_s: int = Field(default=5, ge=1, le=60, description="Between two looks for accounts that come and go.")
    tell_every_s: int = Field(default=60, ge=4, description="Between two updates of what the console shows.")
    connecting_at_once: int = Field(default=10, ge=1, description="Accounts that connect at once, per worker.")
    connect_timeout_s: int = Field(
        default=90,
        ge=1,
        description="Until a connection must stand: one venue says so only with its heartbeat each 60 s.",
    )
    backoff_ms: int = Field(default=500, ge=10, description="Wait after a broken connection; doubles up to:")
    backoff_max_s: int = Field(default=60, ge=1, description="The longest wait, whatever the venue asks for.")
    refused_every_s: int = Field(default=900, ge=1, description="Between attempts with a credential that is refused.")


class InstrumentSource(BaseModel):
    """An account of the platform's own that a venue is asked by for the instruments of its rail."""

    venue: Literal["alpaca", "tradier", "coinbase"]
    key_id: SecretStr
    secret: SecretStr
    environment: Literal["paper", "live"] = "live"


class ReferenceSettings(BaseModel):
    """Exchange calendars, and what venues say of instruments."""

    calendars: list[str] = Field(
        default_factory=lambda: ["XNYS"], description="Kept besides those that instruments go by, as a JSON list."
    )
    every_s: int = Field(default=21_600, ge=60, description="Between two refreshes.")
    ahead_days: int = Field(default=30, ge=1, le=365, description="With sessions of fewer days ahead, /readyz says so.")
    sources: list[InstrumentSource] = Field(
        default_factory=list,
        description="Where steps, minimums and flags come from: JSON list of venue, key_id, secret, environment.",
    )

    @model_validator(mode="after")
    def _each_venue_once(self) -> Self:
        venues = [source.venue for source in self.sources]
        if len(set(venues)) < len(venues):
            raise ValueError("sources names a venue twice")
        return self


class RelaySettings(BaseModel):
    batch: int = Field(default=500, ge=1, le=5_000, description="Events published together.")
    idle_ms: int = Field(default=200, ge=10, description="Wait after an empty outbox.")


class GuardSettings(BaseModel):
    """Platform-wide pre-trade limits; a vault's own limits can only be tighter."""

    max_notional_usd: Decimal = Field(default=Decimal(10000000), gt=0, description="Per manager order.")
    max_qty: Decimal = Field(default=Decimal(1000000), gt=0, description="Units per manager order.")
    max_orders_per_minute: int = Field(default=600, ge=1, le=10_000, description="Manager orders of one vault.")
    duplicate_window_s: int = Field(
        default=10, ge=0, le=3_600, description="The same order again within it is refused; a vault may set its own."
    )


class EntitlementSettings(BaseModel):
    """What a tenant may use that never subscribed; embedded, that is everything, whatever these say."""

    vaults: int = Field(default=1, ge=0, description="How many.")
    followers: int = Field(default=10, ge=0, description="Of all vaults together.")
    personas: list[str] = Field(default_factory=list, description="Of sizing, as a JSON list.")
    flip_mode: bool = Field(default=False, description="Flip mode and boosts.")
    bridged_brokers: list[str] = Field(default_factory=list, description="Venues of accounts, as a JSON list.")
    audit_retention_days: int = Field(default=30, ge=0, description="How far back the audit log may be read.")
    replay: bool = Field(default=False, description="Rebuilding orders from the audit log.")
    exports: bool = Field(default=False, description="Files of orders, fills and audit events.")
    api_rate: int = Field(default=60, ge=0, description="Requests per minute.")
    public_vaults: bool = Field(default=False, description="Seeing the public vaults of other tenants.")
    modes: list[str] = Field(
        default_factory=lambda: [mode.value for mode in Mode], description="Followers may be in, as a JSON list."
    )

    def to_domain(self) -> Entitlements:
        return from_stored(self.model_dump())


class BillingSettings(BaseModel):
    """What subscriptions are held to; days are of 24 hours."""

    catalogue_path: Path | None = Field(default=None, description="YAML with the plans; none: the shipped one.")
    grace_days: int = Field(default=7, ge=0, le=60, description="Access after a renewal that is not paid.")
    unpaid_days: int = Field(default=30, ge=1, le=365, description="Then an unpaid subscription is given up.")
    reminder_days: list[int] = Field(
        default_factory=lambda: [1, 3, 6], description="After a renewal that is not paid, as a JSON list."
    )
    trial_reminder_days: int = Field(default=3, ge=0, le=30, description="Before a trial ends.")
    look_again_s: int = Field(default=300, ge=1, description="After a payment system could not be read.")
    look_every_s: int = Field(default=86_400, ge=60, description="Longest time between two readings of it.")
    inbox_every_ms: int = Field(default=500, ge=10, description="Between two looks for events that nobody acted on.")
    reconcile_every_s: int = Field(default=86_400, ge=60, description="Between two comparisons of all invoices.")
    lookback_days: int = Field(default=40, ge=1, le=400, description="How old an invoice is compared.")
    hook_tolerance_s: int = Field(default=300, ge=30, le=3_600, description="How far a signed time may be from ours.")

    def terms(self) -> Terms:
        return Terms(
            timedelta(days=self.grace_days),
            timedelta(days=self.unpaid_days),
            tuple(timedelta(days=days) for days in sorted(set(self.reminder_days))),
            timedelta(days=self.trial_reminder_days),
            timedelta(seconds=self.look_again_s),
            timedelta(seconds=self.look_every_s),
        )


class StripeSettings(BaseModel):
    api_key: SecretStr = Field(default=SecretStr(""), description="Secret or restricted key; empty: no cards.")
    webhook_secret: SecretStr = Field(default=SecretStr(""), description="Of the endpoint /v1/hooks/stripe.")
    url: str = Field(default="https://api.stripe.com", description="A simulator's in the embedded profile.")
    timeout_ms: int = Field(default=20_000, ge=100, le=80_000, description="Of a whole request.")
    max_connections: int = Field(default=10, ge=1, description="Per process.")


class BtcpaySettings(BaseModel):
    url: str = Field(default="", description="Of the BTCPay Server; empty: no bitcoin.")
    api_key: SecretStr = Field(default=SecretStr(""), description="Greenfield key of the store: invoices, refunds.")
    store_id: str = Field(default="", description="Of the store.")
    webhook_secret: SecretStr = Field(default=SecretStr(""), description="Of the webhook to /v1/hooks/btcpay.")
    speed_policy: Literal["HighSpeed", "MediumSpeed", "LowMediumSpeed", "LowSpeed"] = Field(
        default="MediumSpeed", description="A payment counts after 0 (1 if RBF), 1, 2, 6 confirmations."
    )
    lead_days: int = Field(default=7, ge=1, le=25, description="A period's invoice is made this long before it.")
    expiration_minutes: int = Field(default=60, ge=5, le=1_440, description="How long an invoice's rate is held.")
    monitoring_minutes: int = Field(default=1_440, ge=60, le=20_160, description="Late payments are seen this long.")
    timeout_ms: int = Field(default=20_000, ge=100, le=80_000, description="Of a whole request.")
    max_connections: int = Field(default=10, ge=1, description="Per process.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.url and not (
            self.store_id and self.api_key.get_secret_value() and self.webhook_secret.get_secret_value()
        ):
            raise ValueError("a url needs store_id, api_key and webhook_secret")
        return self


class ApiSettings(BaseModel):
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65_535, description="Port to listen on.")
    max_body_bytes: int = Field(default=262_144, ge=1_024, description="Larger requests get 413.")
    admit_timeout_s: int = Field(default=10, ge=1, description="Wait for an order's verdict before answering 202.")
    idempotency_lease_s: int = Field(
        default=60, ge=1, description="A process that dies frees its Idempotency-Keys after it; longer than a request."
    )
    request_timeout_s: int = Field(default=30, ge=1, description="Until an answer has begun; else 504. Streams last.")
    shutdown_s: int = Field(default=20, ge=1, description="After SIGTERM, for what is being answered.")
    trusted_proxies: list[IPv4Network | IPv6Network] = Field(
        default_factory=list,
        description="Whose X-Forwarded-For is believed, as a JSON list; of others the connection's address counts.",
    )
    cors_origins: list[str] = Field(default_factory=list, description="Origins of web apps, as a JSON list.")

    @model_validator(mode="after")
    def _verdicts_come_first(self) -> Self:
        if self.request_timeout_s <= self.admit_timeout_s:
            raise ValueError("request_timeout_s must be longer than admit_timeout_s: an order's verdict is waited for")
        if self.idempotency_lease_s <= self.request_timeout_s:
            raise ValueError("idempotency_lease_s must be longer than request_timeout_s: else two may act under a key")
        return self


class LimitSettings(BaseModel):
    """Requests that are let through at once, by class of routes; what was sent flows back evenly within the window."""

    window_s: int = Field(default=60, ge=1, le=3_600, description="The window, of all limits below.")
    read_tenant: int = Field(default=12_000, ge=1, description="Reads of all users of one tenant together.")
    read_user: int = Field(default=6_000, ge=1, description="Reads of one user, service account or follower.")
    write_tenant: int = Field(default=1_200, ge=1, description="Changes, orders and kills aside; of one tenant.")
    write_user: int = Field(default=600, ge=1, description="The same, of one user.")
    order_entry_tenant: int = Field(default=3_000, ge=1, description="Orders and redrives of one tenant.")
    order_entry_user: int = Field(default=1_500, ge=1, description="The same, of one user.")
    kill_tenant: int = Field(default=3_000, ge=1, description="Halts and cancels of one tenant.")
    kill_user: int = Field(default=3_000, ge=1, description="The same, of one user.")
    auth_address: int = Field(default=120, ge=1, description="Logins and token exchanges from one address.")
    callback_address: int = Field(default=6_000, ge=1, description="Signed callbacks from one address.")
    redis_timeout_ms: int = Field(default=100, ge=5, le=5_000, description="Longest wait for Redis to count a request.")
    pause_ms: int = Field(default=1_000, ge=10, description="After one was not counted, until Redis is asked again.")

    def rates(self) -> dict[RouteClass, Rates]:
        pairs = {
            RouteClass.READ: (self.read_user, self.read_tenant),
            RouteClass.WRITE: (self.write_user, self.write_tenant),
            RouteClass.ORDER_ENTRY: (self.order_entry_user, self.order_entry_tenant),
            RouteClass.KILL: (self.kill_user, self.kill_tenant),
            RouteClass.AUTH: (self.auth_address, None),
            RouteClass.CALLBACK: (self.callback_address, None),
        }
        return {
            kind: Rates(Quota(user, self.window_s), None if tenant is None else Quota(tenant, self.window_s))
            for kind, (user, tenant) in pairs.items()
        }


class LiveSettings(BaseModel):
    """Streams of orders' progress; each process has its own."""

    poll_ms: int = Field(default=250, ge=20, le=5_000, description="Between two looks for news, for all streams.")
    page_size: int = Field(default=200, ge=1, le=1_000, description="Events that a stream holds at most.")
    max_streams: int = Field(default=500, ge=1, description="Open at once, per process.")
    max_streams_per_tenant: int = Field(default=50, ge=1, description="Of these, of one tenant.")
    keep_alive_s: int = Field(default=15, ge=1, description="A comment is sent after this long without an event.")
    recheck_s: int = Field(default=10, ge=1, description="Between two looks whether the caller may still watch.")
    write_timeout_s: int = Field(default=20, ge=1, description="A client that takes nothing for this long is cut off.")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="VANTA_",
        env_nested_delimiter="__",
        extra="ignore",
        nested_model_default_partial_update=True,
    )

    profile: Literal["embedded", "production"] = Field(
        default="production", description="`embedded` relaxes what development must; `vanta up` sets it."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Of our own loggers.")
    postgres: PostgresSettings
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    nats: NatsSettings = Field(default_factory=NatsSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    auth: AuthSettings
    oidc: OidcSettings = Field(default_factory=OidcSettings)
    secrets: SecretsSettings
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    alpaca: AlpacaSettings = Field(default_factory=AlpacaSettings)
    coinbase: CoinbaseSettings = Field(default_factory=CoinbaseSettings)
    tradier: TradierSettings = Field(default_factory=TradierSettings)
    dispatch: DispatchSettings = Field(default_factory=DispatchSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    prices: PriceSettings = Field(default_factory=PriceSettings)
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    streams: StreamSettings = Field(default_factory=StreamSettings)
    reference: ReferenceSettings = Field(default_factory=ReferenceSettings)
    relay: RelaySettings = Field(default_factory=RelaySettings)
    guards: GuardSettings = Field(default_factory=GuardSettings)
    entitlements: EntitlementSettings = Field(default_factory=EntitlementSettings)
    billing: BillingSettings = Field(default_factory=BillingSettings)
    stripe: StripeSettings = Field(default_factory=StripeSettings)
    btcpay: BtcpaySettings = Field(default_factory=BtcpaySettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)

    @model_validator(mode="after")
    def _refuse_embedded_secrets_in_production(self) -> Self:
        if self.profile == "embedded":
            return self
        for name, secret in (
            ("VANTA_POSTGRES__DSN", self.postgres.dsn),
            ("VANTA_S3__SECRET_KEY", self.s3.secret_key),
            ("VANTA_SECRETS__MASTER_KEYS", self.secrets.master_keys),
            ("VANTA_STRIPE__API_KEY", self.stripe.api_key),
            ("VANTA_STRIPE__WEBHOOK_SECRET", self.stripe.webhook_secret),
            ("VANTA_BTCPAY__API_KEY", self.btcpay.api_key),
            ("VANTA_BTCPAY__WEBHOOK_SECRET", self.btcpay.webhook_secret),
        ):
            if EMBEDDED_ONLY in secret.get_secret_value():
                raise ValueError(f"{name} holds a value of the embedded profile; set one of your own")
        if self.webhooks.allowed_networks:
            raise ValueError("VANTA_WEBHOOKS__ALLOWED_NETWORKS is for the embedded profile only; unset it")
        return self

    @cached_property
    def unsubscribed(self) -> Entitlements:
        """What a tenant may use that never subscribed."""
        return EVERYTHING if self.is_embedded else self.entitlements.to_domain()

    @cached_property
    def is_embedded(self) -> bool:
        return self.profile == "embedded"
