"""What a new vault or follower must be before it is stored; the API, imports and the demo all pass through here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from domain.errors import InvalidInput
from domain.ids import is_readable_id
from domain.personas import PERSONAS
from domain.reconciliation import Policy
from domain.risk_profile import check_positive, check_risk_profile
from domain.sizing import Mode

RAILS = frozenset({"fiat", "crypto"})
BROKER_VENUES = frozenset({"alpaca", "coinbase", "tradier"})
ACCOUNT_VENUES = frozenset({"tradier"})  # whose key_id is the account's own id
PEM_VENUES = frozenset({"coinbase"})  # whose secret is a private key of several lines
WHOLE_VENUES = frozenset({"tradier"})  # which take no fractions of a share; a test holds the set to the capabilities
# Of these, the venues that change USD into USDC and back; a test holds the set to the adapters' capabilities.
CONVERTING_VENUES = frozenset({"coinbase"})
NO_CONVERSION = "is for an account of the crypto rail at a venue that changes money"
ENVIRONMENTS = frozenset({"paper", "live"})
MAX_LABEL = 100
MAX_URL = 2_048
MAX_SECRET = 4_096
MAX_SCALE = Decimal(1000)
_URL_TEXT = re.compile(r"[\x21-\x7e]+")


class Visibility(StrEnum):
    """Which vaults a list is of: the tenant's, the public ones of others, or both."""

    OWN = "own"
    PUBLIC = "public"
    ALL = "all"


class ConfirmBy(StrEnum):
    """What confirms an order of a webhook follower: that its receiver has it, or a signed callback of the follower's.

    Fills in the receiver's answer count either way.
    """

    ACK = "ack"
    CALLBACK = "callback"


@dataclass(frozen=True, slots=True)
class NewVault:
    """`vault_id` is given by imports; without it, the id derives from label and idempotency key."""

    label: str
    rails: tuple[str, ...] = ("fiat",)
    personas: tuple[str, ...] = ()
    risk_profile: Mapping[str, Any] = field(default_factory=dict)
    public: bool = False
    nav_usd: Decimal | None = None
    vault_id: str | None = None

    def check(self) -> None:
        """Raises InvalidInput naming the field."""
        _check_id("vault_id", self.vault_id)
        if not self.rails or not RAILS.issuperset(self.rails):
            raise InvalidInput("rails", "must list fiat, crypto or both")
        check_positive("nav_usd", self.nav_usd)
        VaultSettings(self.label, self.personas, self.risk_profile, self.public).check()


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """What of a vault may be changed later; it counts for orders that are admitted afterwards.

    Trading hours count at once for orders under way, too: they are read again whenever an attempt is claimed.
    """

    label: str
    personas: tuple[str, ...]
    risk_profile: Mapping[str, Any]
    public: bool

    def check(self) -> None:
        """Raises InvalidInput naming the field."""
        _check_label(self.label)
        for persona in self.personas:
            _check_persona("personas", persona)
        check_risk_profile(self.risk_profile)

    def merged(self, changes: Mapping[str, Any]) -> "VaultSettings":
        """With the changes, by name. A risk profile is merged name by name, where None takes one away."""
        profile = {**self.risk_profile, **changes.get("risk_profile", {})}
        kept = {name: value for name, value in profile.items() if value is not None}
        return replace(self, **{**changes, "risk_profile": kept})


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """An account at a broker, with its API key; kept out of repr.

    `convert`: its owner agrees that USD and USDC are changed into each other there when a purchase needs it.
    `refresh_token` and `expires_at` (aware) go with an access token that does not last.
    """

    venue: str
    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    environment: str = "paper"
    convert: bool = False
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None

    def check(self, path: str) -> None:
        if self.venue not in BROKER_VENUES:
            raise InvalidInput(f"{path}.venue", f"must be one of {', '.join(sorted(BROKER_VENUES))}")
        if self.environment not in ENVIRONMENTS:
            raise InvalidInput(f"{path}.environment", "must be paper or live")
        if self.convert and self.venue not in CONVERTING_VENUES:
            raise InvalidInput(f"{path}.convert", NO_CONVERSION)
        for name, value in (("key_id", self.key_id), ("secret", self.secret)):
            pem = name == "secret" and self.venue in PEM_VENUES
            text = value.replace("\r", "").replace("\n", "") if pem else value
            if not text or len(value) > 4_096 or not text.isprintable():
                raise InvalidInput(f"{path}.{name}", "must be 1 to 4096 printable characters")
        self._check_renewal(path)

    def _check_renewal(self, path: str) -> None:
        token = self.refresh_token
        if token is not None and (not token or len(token) > MAX_SECRET or not token.isprintable()):
            raise InvalidInput(f"{path}.refresh_token", "must be 1 to 4096 printable characters")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise InvalidInput(f"{path}.expires_at", "must have a time zone")
        if token is not None and self.expires_at is None:
            raise InvalidInput(f"{path}.expires_at", "is needed with a refresh token, to know when to refresh")


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """What of a follower may be changed later; orders that are admitted afterwards are sized by it.

    The kill switch counts at once: it is read again whenever an attempt is claimed. So does `convert`, which is of the
    account for the crypto rail, for every purchase whose money has not been seen to yet, and `confirm_by`, which is of
    the webhook, for every attempt that is claimed.
    """

    mode: Mode
    scale: Decimal
    max_pos_usd: Decimal | None
    kill_switch: bool
    persona: str | None
    allow_short: bool = False
    reconcile_policy: Policy = Policy.OBSERVE
    convert: bool = False
    confirm_by: ConfirmBy = ConfirmBy.ACK

    def check(self) -> None:
        """Raises InvalidInput naming the field."""
        _check_persona("persona", self.persona)
        check_positive("scale", self.scale)
        if self.scale > MAX_SCALE:
            raise InvalidInput("scale", f"must be at most {MAX_SCALE}")
        check_positive("max_pos_usd", self.max_pos_usd)
        if self.mode is Mode.CAPPED and self.max_pos_usd is None:
            raise InvalidInput("max_pos_usd", "is needed in mode capped")


@dataclass(frozen=True, slots=True)
class NewFollower:
    """Reached by `webhook_url` or through broker accounts, never both; a shadow follower needs neither."""

    vault_id: str
    label: str
    mode: Mode = Mode.PROPORTIONAL
    scale: Decimal = Decimal(1)
    max_pos_usd: Decimal | None = None
    kill_switch: bool = False
    fractional: bool = False
    persona: str | None = None
    allow_short: bool = False
    webhook_url: str | None = None
    confirm_by: ConfirmBy = ConfirmBy.ACK
    equities: BrokerAccount | None = None
    crypto: BrokerAccount | None = None
    follower_id: str | None = None
    subscriber_tenant_id: str | None = None

    def check(self) -> None:
        """Raises InvalidInput naming the field."""
        _check_label(self.label)
        _check_id("follower_id", self.follower_id)
        if self.follower_id is not None and not self.follower_id.startswith("F_"):
            # Below an order's id, workflow ids `s0`, `s1`, … are its pages.
            raise InvalidInput("follower_id", "must start with F_")
        FollowerSettings(
            self.mode, self.scale, self.max_pos_usd, self.kill_switch, self.persona, self.allow_short
        ).check()
        self._check_route()

    def _check_route(self) -> None:
        bridged = self.equities is not None or self.crypto is not None
        if self.webhook_url is not None and bridged:
            raise InvalidInput("bridged_brokers", "cannot be given together with webhook; choose one")
        if self.webhook_url is None and not bridged and self.mode is not Mode.SHADOW:
            raise InvalidInput("webhook", "or bridged_brokers is needed, except in mode shadow")
        if self.webhook_url is not None:
            check_webhook_url(self.webhook_url)
        for name, account in (("equities", self.equities), ("crypto", self.crypto)):
            if account is not None:
                account.check(f"bridged_brokers.{name}")
        if self.fractional and self.equities is not None and self.equities.venue in WHOLE_VENUES:
            raise InvalidInput("fractional", f"must be false: {self.equities.venue} takes whole shares only")
        if self.equities is not None and self.equities.convert:
            raise InvalidInput("bridged_brokers.equities.convert", NO_CONVERSION)
        # A follower has one credential per venue; the second would silently take the first one's place.
        if self.equities and self.crypto and self.equities.venue == self.crypto.venue and self.equities != self.crypto:
            raise InvalidInput("bridged_brokers.crypto", "must be the same account as equities at the same venue")


def check_webhook_url(url: str) -> None:
    """Raises InvalidInput for a URL that can never be delivered to; the message holds no part of it.

    Whether the host's address may be reached is decided where the connection is made, on every attempt.
    """
    if len(url) > MAX_URL or _URL_TEXT.fullmatch(url) is None:
        raise InvalidInput("webhook.url", f"must be at most {MAX_URL} visible ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput("webhook.url", "is not a URL") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == 0:
        raise InvalidInput("webhook.url", "must be an absolute https URL")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("webhook.url", "must not hold a user name or password; requests are signed instead")
    if parts.fragment:
        raise InvalidInput("webhook.url", "must not hold a fragment")


def public_url(url: str) -> str:
    """The URL as it may be shown: without query, where receivers like to keep tokens."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _check_label(label: str) -> None:
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable() or not label.strip():
        raise InvalidInput("label", f"must be 1 to {MAX_LABEL} printable characters")


def _check_id(name: str, value: str | None) -> None:
    if value is not None and not is_readable_id(value):
        raise InvalidInput(name, "must be letters, digits, _ and -, at most 64")


def _check_persona(name: str, value: str | None) -> None:
    if value is not None and value not in PERSONAS:
        raise InvalidInput(name, f"must be one of {', '.join(sorted(PERSONAS))}")
