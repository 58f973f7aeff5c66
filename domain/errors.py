"""The one tree of errors.

VantaError
├── InvalidInput          a field of a request is wrong; names the field
│   └── InvalidFile       a file is refused whole; names all of its faults
├── NotFound              no such entity for this tenant
├── NotEntitled           the tenant's plan does not allow it; names the plans that would
├── OrderRefused          a guard refused a valid order; `code` is stable
├── ExitBreach            more was about to leave for a manager order than it was allotted
├── Conflict              the entity's state does not allow it; `code` is stable
├── Stale                 the entity has been changed since it was read; read it again
├── IdempotencyKeyReused  the key was already used for another request
├── LimiterUnavailable    requests cannot be counted, and this one must not be let in uncounted
├── RequestInFlight       the first request under the key is still being answered
├── IllegalTransition     a state machine was asked for a transition that its table does not have
├── SecretUnavailable     a secret reference cannot be resolved
│   └── SecretUnreadable  what is stored under it is not what was sealed
├── TooManyStreams        no room for another stream of events
├── InvalidSignature      a signed request is not authentic
├── InvalidToken          an access token is malformed, forged, expired or not for us
├── LoginRefused          somebody is not who he must be, or may not come in
├── InvalidGrant          a code or a refresh token is unknown, used, expired, or somebody else's
├── LoginUnavailable      no provider or no signing key is set up
├── BillingError          a payment system could not do what it was asked (domain.billing)
│   ├── BillingUnavailable  try again
│   └── BillingRefused      it says no, and would again; `code` is stable
├── ProviderUnavailable   the identity provider does not give a usable answer
└── VenueError            a broker or receiver could not answer a read or a cancel
    ├── VenueUnavailable  try again (time-out, 429, 5xx)
    └── VenueRefused      final (authentication, permission, malformed)

`activities/errors.py` maps it to Temporal failures and `api/errors.py` to problem documents; there is no third map.
Sends do not raise: they return a `domain.ports.SendOutcome`, because in a wave one follower's failure is data.
"""

from typing import ClassVar


class VantaError(Exception):
    """Base of every error that we raise on purpose."""

    retryable: ClassVar[bool] = False
    code: str = "error"


class InvalidInput(VantaError):
    """A request's field is wrong. `field` is a dotted path, `reason` says what is wrong and what to do."""

    code = "invalid-input"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidFile(InvalidInput):
    """A file is refused whole. `faults` are all of them, each naming its place; as a field, it is the first."""

    def __init__(self, faults: "list[InvalidInput]") -> None:
        super().__init__(faults[0].field, faults[0].reason)
        self.faults = tuple(faults)


class NotFound(VantaError):
    """The entity does not exist, or belongs to another tenant (the caller cannot tell which)."""

    code = "not-found"

    def __init__(self, entity: str, entity_id: str) -> None:
        super().__init__(f"no {entity} {entity_id!r}")
        self.entity = entity
        self.entity_id = entity_id


class NotEntitled(VantaError):
    """The tenant's plan does not allow it. `plans`: the ids of those that would, cheapest first."""

    code = "not-entitled"

    def __init__(self, entitlement: str, reason: str, plans: "list[str]") -> None:
        super().__init__(f"{entitlement}: {reason}")
        self.entitlement = entitlement
        self.reason = reason
        self.plans = plans


class OrderRefused(VantaError):
    """A guard refused the order. `code` is stable and public."""

    def __init__(self, code: str, reason: str, field: str | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.field = field


class ExitBreach(VantaError):
    """More was about to leave for a manager order than its expansion had allotted; nothing of it left."""

    code = "exit-breach"

    def __init__(self, mo_id: str, reason: str) -> None:
        super().__init__(f"{mo_id}: {reason}")
        self.mo_id = mo_id


class Conflict(VantaError):
    """What was asked for does not go with how things stand; `code` says which, `field` names the entity."""

    def __init__(self, code: str, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.field = field


class Stale(VantaError):
    """Somebody else has changed the entity since it was read; nothing was written."""

    retryable = True
    code = "stale"

    def __init__(self, entity: str, entity_id: str) -> None:
        super().__init__(f"{entity} {entity_id!r} has been changed meanwhile")


class IdempotencyKeyReused(VantaError):
    """An idempotency key came back with another request; neither the old nor the new one is carried out."""

    code = "idempotency-key-reused"


class RequestInFlight(VantaError):
    """The first request under the key has no answer yet; its repeat is not carried out beside it."""

    retryable = True
    code = "request-in-flight"


class StoreUnavailable(VantaError):
    """The database is out of reach or too slow; nothing was changed that was not committed before."""

    retryable = True
    code = "database-unavailable"


class LimiterUnavailable(VantaError):
    """Nobody can say how much the caller has sent; where money moves, that is no reason to let him in."""

    retryable = True
    code = "limiter-unavailable"


class IllegalTransition(VantaError):
    """The state table has no such transition: a bug or a lost race, never to be ignored."""

    code = "illegal-transition"

    def __init__(self, machine: str, source: str, target: str) -> None:
        super().__init__(f"{machine}: no transition {source} -> {target}")
        self.source = source
        self.target = target


class SecretUnavailable(VantaError):
    """A secret reference does not resolve. The message holds the reference, never the secret."""

    code = "secret-unavailable"


class SecretUnreadable(SecretUnavailable):
    """The sealed value was changed, or its contents are none of ours: only a new value helps."""

    code = "secret-unreadable"


class TooManyStreams(VantaError):
    """No room for another stream of events: among the tenant's `own`, or on this server."""

    retryable = True
    code = "too-many-streams"

    def __init__(self, reason: str, *, own: bool) -> None:
        super().__init__(reason)
        self.own = own


class InvalidSignature(VantaError):
    """A signed request is not authentic, or about nothing of the signer's: the caller cannot tell which."""

    code = "invalid-signature"


class InvalidToken(VantaError):
    """An access token cannot be accepted. The message never holds any part of the token."""

    code = "invalid-token"


class LoginRefused(VantaError):
    """A login that must not be. The message never holds any part of a token, a code, or a person's data."""

    code = "login-refused"


class InvalidGrant(VantaError):
    """What was to be exchanged for tokens is worth nothing (any more); only a new login helps."""

    code = "invalid-grant"


class LoginUnavailable(VantaError):
    """The settings lack what a login needs; the message names it."""

    code = "login-not-set-up"


class ProviderUnavailable(VantaError):
    """The identity provider is out of reach, too slow, or answers what is none; nobody was logged in."""

    retryable = True
    code = "provider-unavailable"


class VenueError(VantaError):
    """A venue did not give a usable answer. `code` is ours; the venue's own words are in the message, bounded."""

    def __init__(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message[:500])
        self.code = code
        self.retry_after_s = retry_after_s


class VenueUnavailable(VenueError):
    """Time-out, connection failure, 429 or 5xx: asking again is right."""

    retryable = True


class VenueRefused(VenueError):
    """Authentication, permission or a malformed request: asking again gives the same answer."""
