"""Every setting of the product, in groups; read from the environment as `VANTA_<GROUP>__<NAME>`.

`Settings()` raises `pydantic.ValidationError` naming the variable that is missing or wrong. Outside the embedded
profile, secrets that are known defaults are refused. `.env.example` is generated from this file.
"""

from decimal import Decimal
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

EMBEDDED_ONLY = "embedded-only"


class PostgresSettings(BaseModel):
    dsn: SecretStr = Field(description="Application role (owns no tables, subject to row-level security).")
    owner_dsn: SecretStr | None = Field(default=None, description="Owner role; only `vanta db` needs it.")
    relay_dsn: SecretStr | None = Field(default=None, description="Role that may read and mark the outbox only.")
    pool_size: int = Field(default=10, ge=1, le=200)
    pool_timeout_s: int = Field(default=10, ge=1)
    statement_timeout_ms: int = Field(default=15_000, ge=100)


class TemporalSettings(BaseModel):
    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = "http://127.0.0.1:8233"
    tls: bool = False
    api_key: SecretStr | None = None
    rpc_timeout_s: int = Field(default=10, ge=1)
    max_cached_workflows: int = Field(default=1_000, ge=10)
    max_workflow_tasks: int = Field(default=100, ge=2)
    max_activities: int = Field(default=100, ge=1)
    graceful_shutdown_s: int = Field(default=10, ge=0)


class RedisSettings(BaseModel):
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    timeout_s: int = Field(default=2, ge=1)


class NatsSettings(BaseModel):
    url: SecretStr = SecretStr("nats://127.0.0.1:4222")
    timeout_s: int = Field(default=5, ge=1)
    max_age_days: int = Field(default=30, ge=1)
    max_bytes: int = Field(default=1_000_000_000, ge=1_000_000)


class S3Settings(BaseModel):
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    audit_bucket: str = "vanta-audit"
    artifacts_bucket: str = "vanta-artifacts"
    audit_retention_days: int = Field(default=365, ge=1)
    timeout_s: int = Field(default=10, ge=1)


class AuthSettings(BaseModel):
    issuer: str = "vanta"
    audience: str = "vanta-api"
    jwks: SecretStr = Field(description="JSON Web Key Set with the public keys that verify access tokens.")
    signing_key: SecretStr | None = Field(default=None, description="Private JWK; embedded profile only.")
    leeway_s: int = Field(default=5, ge=0, le=60)


class SecretsSettings(BaseModel):
    """Keys that encrypt webhook keys and broker credentials at rest: `id:base64(32 bytes)`, newest first."""

    master_keys: SecretStr


class WebhookSettings(BaseModel):
    timeout_ms: int = Field(default=10_000, ge=100, le=10_000)
    max_response_bytes: int = Field(default=65_536, ge=1_024)
    allowed_networks: list[IPv4Network | IPv6Network] = Field(
        default_factory=list, description="Non-public networks that may be reached; for development only."
    )
    max_connections: int = Field(default=200, ge=1)
    max_connections_per_host: int = Field(default=100, ge=1)


class AlpacaSettings(BaseModel):
    live_url: str = "https://api.alpaca.markets"
    paper_url: str = "https://paper-api.alpaca.markets"
    timeout_ms: int = Field(default=10_000, ge=100)
    max_connections: int = Field(default=100, ge=1)


class DispatchSettings(BaseModel):
    wave: bool = Field(default=True, description="Send first attempts in a wave; off changes latency only.")
    page_size: int = Field(default=500, ge=1, le=500)
    wave_concurrency: int = Field(default=100, ge=1, le=1_000)
    wave_batch: int = Field(default=100, ge=1, le=500, description="Orders claimed, sent and recorded together.")
    children_starting: int = Field(default=50, ge=1, le=500)


class IngestSettings(BaseModel):
    queue_path: Path | None = Field(default=None, description="The OS's autotrade_queue.json; none: no ingestion.")
    every_s: int = Field(default=5, ge=1)
    max_bytes: int = Field(default=64_000_000, ge=1_024)


class RelaySettings(BaseModel):
    batch: int = Field(default=500, ge=1, le=5_000)
    idle_ms: int = Field(default=200, ge=10)


class GuardSettings(BaseModel):
    """Platform-wide pre-trade limits; a vault's own limits can only be tighter."""

    max_notional_usd: Decimal = Field(default=Decimal(10000000), gt=0)
    max_qty: Decimal = Field(default=Decimal(1000000), gt=0)


class ApiSettings(BaseModel):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    max_body_bytes: int = Field(default=262_144, ge=1_024)
    admit_timeout_s: int = Field(default=10, ge=1)
    cors_origins: list[str] = Field(default_factory=list)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="VANTA_",
        env_nested_delimiter="__",
        extra="ignore",
        nested_model_default_partial_update=True,
    )

    profile: Literal["embedded", "production"] = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    postgres: PostgresSettings
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    nats: NatsSettings = Field(default_factory=NatsSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    auth: AuthSettings
    secrets: SecretsSettings
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    alpaca: AlpacaSettings = Field(default_factory=AlpacaSettings)
    dispatch: DispatchSettings = Field(default_factory=DispatchSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    relay: RelaySettings = Field(default_factory=RelaySettings)
    guards: GuardSettings = Field(default_factory=GuardSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)

    @model_validator(mode="after")
    def _refuse_embedded_secrets_in_production(self) -> Self:
        if self.profile == "embedded":
            return self
        for name, secret in (
            ("VANTA_POSTGRES__DSN", self.postgres.dsn),
            ("VANTA_S3__SECRET_KEY", self.s3.secret_key),
            ("VANTA_SECRETS__MASTER_KEYS", self.secrets.master_keys),
        ):
            if EMBEDDED_ONLY in secret.get_secret_value():
                raise ValueError(f"{name} holds a value of the embedded profile; set one of your own")
        if self.auth.signing_key is not None:
            raise ValueError("VANTA_AUTH__SIGNING_KEY is for the embedded profile only; unset it")
        if self.webhooks.allowed_networks:
            raise ValueError("VANTA_WEBHOOKS__ALLOWED_NETWORKS is for the embedded profile only; unset it")
        return self

    @cached_property
    def is_embedded(self) -> bool:
        return self.profile == "embedded"
