"""Every error as an RFC 9457 problem document; the one place that knows which error gives which status.

`type` is `urn:vanta:problem:<code>` and stable. `field` names what to correct, as a dotted path, a query parameter, a
path parameter or a header.
"""

import logging
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.methods import allowed
from domain import errors
from domain.billing import BillingError, BillingRefused, BillingUnavailable
from domain.payment_events import HookNotSetUp, HookRefused
from temporal.orders import EngineUnavailable

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger("vanta.api")
_RETRY_SOON = {"Retry-After": "5"}
_RETRY_BILLING = {"Retry-After": "30"}
_RETRY_IN_FLIGHT = {"Retry-After": "1"}
_STATUS: dict[type[errors.VantaError], int] = {
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.OrderRefused: 422,
    errors.IdempotencyKeyReused: 422,
    errors.RequestInFlight: 409,
    errors.Conflict: 409,
    errors.InvalidSignature: 401,
    errors.InvalidToken: 401,
    errors.TooManyStreams: 503,
    errors.IllegalTransition: 409,
    errors.InvalidGrant: 400,
    errors.LoginRefused: 403,
    errors.LoginUnavailable: 503,
    errors.ProviderUnavailable: 503,
    errors.VenueUnavailable: 503,
    errors.VenueRefused: 502,
    HookRefused: 400,
    HookNotSetUp: 503,
    errors.Stale: 503,
}
_TITLES = {
    "invalid-input": "A field of the request is wrong",
    "malformed-json": "The body is not JSON",
    "not-found": "There is no such thing",
    "not-entitled": "The plan does not allow this",
    "order-refused": "The order was refused",
    "order-ended": "The order has ended",
    "order-lost": "The order's outcome is not known",
    "idempotency-key-missing": "The request needs an Idempotency-Key",
    "idempotency-key-reused": "The Idempotency-Key was used for another request",
    "request-in-flight": "The first request under the Idempotency-Key is under way",
    "no-account": "The follower has no such account at a broker",
    "no-webhook": "The follower has no webhook",
    "test-under-way": "A test of the webhook is under way",
    "last-owner": "A tenant keeps one owner",
    "user-removed": "The user was removed",
    "already-member": "The person is a member already",
    "invitation-accepted": "The invitation was accepted",
    "account-disabled": "The service account is disabled",
    "too-many-keys": "Too many signing keys are in force",
    "already-subscribed": "The tenant has a subscription",
    "billing-refused": "The payment system refused it",
    "billing-unavailable": "The payment system does not answer",
    "cancel-scheduled": "The subscription is to end",
    "no-payer": "Nobody could get the receipts",
    "no-subscription": "The tenant has no subscription",
    "not-in-force": "The subscription is not in force",
    "not-paused": "The subscription is not paused",
    "nothing-scheduled": "Nothing is scheduled",
    "other-interval": "The plan has another interval",
    "other-provider": "Another way to pay is under way",
    "subscription-over": "The subscription is over",
    "fill-differs": "A fill is known with other figures",
    "invalid-signature": "The request is not signed by the order's follower",
    "hook-refused": "The event was not taken",
    "hook-not-set-up": "No event can be taken as long as a setting is missing",
    "order-not-sent": "The order has not been sent",
    "too-many-streams": "Too many streams of events are open",
    "unauthenticated": "The request needs a valid access token",
    "insufficient-scope": "The access token does not allow this",
    "invalid-grant": "What was to be exchanged is worth nothing",
    "login-refused": "The login was refused",
    "login-not-set-up": "Nobody can log in as long as settings are missing",
    "no-login": "The caller has no login",
    "provider-unavailable": "The identity provider does not answer",
    "body-too-large": "The body is too large",
    "unsupported-media-type": "The body must be application/json",
    "rate-limited": "Too many requests",
    "limiter-unavailable": "Requests cannot be counted",
    "engine-unavailable": "The workflow engine does not answer",
    "database-unavailable": "The database does not answer",
    "timed-out": "The answer took too long",
    "uri-too-long": "The address is too long",
    "headers-too-large": "The headers are too large",
    "cors-refused": "The page may not ask this",
    "bad-request": "This is no HTTP request",
    "internal-error": "Something went wrong on our side",
}


def title(kind: str, status: int) -> str:
    return _TITLES.get(kind, HTTPStatus(status).phrase)


class Problem(Exception):
    """A problem document on its way to the client; `extra` members stand beside the standard ones."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        self.extra = {**({} if field is None else {"field": field}), **extra}

    def response(self, request_id: str) -> Response:
        body = {
            "type": f"urn:vanta:problem:{self.kind}",
            "title": title(self.kind, self.status),
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.extra,
        }
        return Response(orjson.dumps(body), self.status, self.headers, MEDIA_TYPE)


def from_domain(error: errors.VantaError) -> Problem:
    """What the domain raised, in the words of the API; what is our own fault is not explained to the client."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    match error:
        case errors.InvalidInput():
            listed = [{"field": error.field, "reason": error.reason}]
            return Problem(status, error.code, str(error), field=error.field, errors=listed)
        case errors.NotFound():
            return Problem(status, error.code, str(error), field=_ID_FIELDS.get(error.entity, "id"))
        case errors.OrderRefused():
            return Problem(status, "order-refused", error.reason, field=error.field, code=error.code)
        case errors.RequestInFlight():
            return Problem(status, error.code, str(error), field="Idempotency-Key", headers=_RETRY_IN_FLIGHT)
        case errors.Conflict():
            return Problem(status, error.code, error.reason, field=error.field)
        case errors.InvalidToken():
            return unauthenticated(str(error))
        case errors.LimiterUnavailable():
            return Problem(503, error.code, str(error), headers=_RETRY_SOON)
        case errors.TooManyStreams():
            return Problem(429 if error.own else status, error.code, str(error), headers=_RETRY_SOON)
    if status == 500:
        _log.error("internal error", exc_info=error)
        return internal()
    return Problem(status, error.code, str(error), headers=_CHALLENGES.get(type(error)))


_CHALLENGES: dict[type[errors.VantaError], dict[str, str]] = {
    errors.InvalidSignature: {"WWW-Authenticate": 'VantaSignature realm="vanta"'},
}
_ID_FIELDS = {
    "vault": "vault_id",
    "follower": "follower_id",
    "manager_order": "mo_id",
    "follower_order": "fo_id",
    "dead_letter": "dead_letter_id",
    "overlay": "overlay_id",
    "user": "user_id",
    "invitation": "invitation_id",
    "service_account": "account_id",
    "api_key": "key_id",
    "invoice": "invoice_id",
    "subscription": "subscription_id",
}


def billing_unavailable(detail: str) -> Problem:
    return Problem(503, BillingUnavailable.code, detail, headers=_RETRY_BILLING)


def billing_refused(code: str, detail: str) -> Problem:
    """`code` is stable: the payment system's own, or one of domain.billing's."""
    return Problem(422, "billing-refused", detail, code=code)


def unauthenticated(detail: str, *, error: str | None = "invalid_token") -> Problem:
    challenge = 'Bearer realm="vanta"' + (f', error="{error}"' if error else "")
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def insufficient(scope: str) -> Problem:
    challenge = f'Bearer realm="vanta", error="insufficient_scope", scope="{scope}"'
    headers = {"WWW-Authenticate": challenge}
    return Problem(403, "insufficient-scope", f"This needs the scope {scope}.", headers=headers, scope=scope)


def internal() -> Problem:
    return Problem(500, "internal-error", "The request failed on our side; quote request_id when you report it.")


def install(app: FastAPI) -> None:
    """Register the handlers. What none of them knows becomes `internal-error` in api.middleware."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(errors.VantaError, _on_domain)
    app.add_exception_handler(errors.NotEntitled, _on_not_entitled)
    app.add_exception_handler(EngineUnavailable, _on_engine)
    app.add_exception_handler(BillingError, _on_billing)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(errors.StoreUnavailable, _on_database)


def request_id(request: Request) -> str:
    return str(request.scope.get("vanta.request_id", ""))


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request_id(request))


async def _on_domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.VantaError)
    return from_domain(error).response(request_id(request))


async def _on_not_entitled(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.NotEntitled)
    problem = Problem(403, error.code, str(error), entitlement=error.entitlement, plans=error.plans)
    return problem.response(request_id(request))


async def _on_billing(request: Request, error: Exception) -> Response:
    if isinstance(error, BillingRefused):
        problem = billing_refused(error.code, str(error))
    else:
        problem = billing_unavailable(str(error))
    return problem.response(request_id(request))


async def _on_engine(request: Request, error: Exception) -> Response:
    return Problem(503, "engine-unavailable", str(error), headers=_RETRY_SOON).response(request_id(request))


async def _on_database(request: Request, error: Exception) -> Response:
    _log.error("database unavailable: %s", type(error).__name__)
    problem = Problem(503, "database-unavailable", "Try again in a few seconds.", headers=_RETRY_SOON)
    return problem.response(request_id(request))


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return from_validation(error.errors()).response(request_id(request))


def from_validation(faults: Any) -> Problem:
    """Pydantic's faults without the values at fault, which may be secret or huge."""
    places = {"body", "query", "path", "header", "cookie"}
    listed = []
    for fault in list(faults)[:20]:
        loc = [str(part)[:64] for part in fault["loc"]]
        field = ".".join(loc[1:] if loc and loc[0] in places else loc) or "body"
        listed.append({"field": field, "reason": str(fault["msg"])[:200]})
    first = listed[0]
    return Problem(422, "invalid-input", f"{first['field']}: {first['reason']}", field=first["field"], errors=listed)


async def _on_http(request: Request, error: Exception) -> Response:
    """What the router says: there is no such path, or it has no such method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(allowed(request.scope))
    phrase = HTTPStatus(error.status_code).phrase
    detail = _ROUTER.get(error.status_code, str(error.detail))
    code = phrase.lower().replace(" ", "-")
    return Problem(error.status_code, code, detail, headers=headers).response(request_id(request))


_ROUTER = {
    404: "There is nothing at this path.",
    405: "This path has no such method; the Allow header names those that it has.",
}
