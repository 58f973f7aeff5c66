"""A broker credential's life: active until its broker or its seal refuses it, active again when one of them proves it.

A broken credential stops its own follower's orders on its own rail, and nobody else's.
"""

import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import IllegalTransition, SecretUnreadable, VenueError
from domain.ports import BrokerCredentials


class Status(StrEnum):
    ACTIVE = "active"
    BROKEN = "broken"


class Broken(StrEnum):
    """Why a credential does not serve."""

    BAD_CREDENTIALS = "bad_credentials"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNREADABLE = "cannot_be_opened"


class Which(StrEnum):
    """A follower's two accounts; both may be one at the same venue."""

    EQUITIES = "equities"
    CRYPTO = "crypto"


class Step(StrEnum):
    """What happens to a credential."""

    BREAKS = "breaks"  # a broker refused it, its seal did, or it has expired
    UPDATED = "updated"  # its owner gave a new one
    REFRESHED = "refreshed"  # its venue gave a new token for it
    PROVEN = "proven"  # a test call was answered


class Renewal(StrEnum):
    """What became of a credential whose token was due to be exchanged. `others`: somebody else saw to it."""

    REFRESHED = "refreshed"
    BROKEN = "broken"
    LATER = "later"
    OTHERS = "others"


# An update or a refresh is right whatever the credential was; a test mends what was taken for broken and nothing else.
TRANSITIONS: dict[tuple[Status, Step], Status] = {
    (Status.ACTIVE, Step.BREAKS): Status.BROKEN,
    (Status.ACTIVE, Step.UPDATED): Status.ACTIVE,
    (Status.ACTIVE, Step.REFRESHED): Status.ACTIVE,
    (Status.BROKEN, Step.UPDATED): Status.ACTIVE,
    (Status.BROKEN, Step.REFRESHED): Status.ACTIVE,
    (Status.BROKEN, Step.PROVEN): Status.ACTIVE,
}

WORDS = {
    Broken.BAD_CREDENTIALS: "the broker refuses the key",
    Broken.EXPIRED: "the access token has expired",
    Broken.REVOKED: "the broker gives no new access token, as the consent was withdrawn",
    Broken.UNREADABLE: "what is stored of the key cannot be opened; only a new one helps",
}
# Codes of outcomes and errors that prove the credential itself, and not the request, to be at fault.
_BY_CODE = {"bad_credentials": Broken.BAD_CREDENTIALS, "secret-unreadable": Broken.UNREADABLE}


@dataclass(frozen=True, slots=True)
class CredentialView:
    """What may be shown of a credential. `since` is when its status began to be what it is."""

    which: Which
    cred_ref: str
    venue: str
    environment: str
    status: Status
    since: datetime
    reason: Broken | None = None
    expires_at: datetime | None = None
    refreshes: bool = False

    @property
    def words(self) -> str:
        if self.reason is None:
            return "in use"
        return f"{WORDS[self.reason]}; orders for it are skipped until it is replaced, or a test of it succeeds"


@dataclass(frozen=True, slots=True)
class CredentialTest:
    """What an account call with the credential came to."""

    ok: bool
    code: str
    words: str
    credential: CredentialView
    mended: bool = False


@dataclass(frozen=True, slots=True)
class DueCredential:
    """A credential whose access token is about to expire."""

    tenant_id: str
    cred_ref: str


def after(source: Status, step: Step) -> Status:
    """Raises IllegalTransition for what the table does not have."""
    target = TRANSITIONS.get((source, step))
    if target is None:
        raise IllegalTransition("credential", source, step)
    return target


def broken_by(code: str) -> Broken | None:
    """The reason where that outcome's or error's code proves the credential broken."""
    return _BY_CODE.get(code)


def refresh_breaks(error: VenueError, *, expired: bool) -> Broken | None:
    """What a refresh that failed means; None where it may succeed later."""
    if not error.retryable:
        return Broken.REVOKED
    return Broken.EXPIRED if expired else None


def line_of(credentials: BrokerCredentials) -> str:
    """The same for the same key, whichever followers it serves, and nothing that a key could be guessed from."""
    named = f"{credentials.environment}/{credentials.key_id}".encode()
    return hmac.new(credentials.secret.encode(), named, "sha256").hexdigest()[:32]


def to_seal(credentials: BrokerCredentials) -> bytes:
    """What of credentials is secret, as it is sealed."""
    kept: dict[str, str] = {"key_id": credentials.key_id, "secret": credentials.secret}
    if credentials.refresh_token is not None:
        kept["refresh_token"] = credentials.refresh_token
    if credentials.expires_at is not None:
        kept["expires_at"] = credentials.expires_at.isoformat()
    return json.dumps(kept).encode()


def unsealed(ref: str, opened: bytes, environment: str) -> BrokerCredentials:
    """The credentials of an opened value. Raises SecretUnreadable, which names the reference only."""
    try:
        kept = json.loads(opened)
        expires_at = kept.get("expires_at")
        return BrokerCredentials(
            ref, kept["key_id"], kept["secret"], environment, kept.get("refresh_token"),
            None if expires_at is None else datetime.fromisoformat(expires_at),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SecretUnreadable(f"{ref} holds no credentials") from None
