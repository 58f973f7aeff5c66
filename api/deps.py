"""What routes ask for by type: the services, the caller with the scope that the operation needs, keys and ids."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from api import idempotency
from api.body import read_json_object
from api.errors import insufficient, unauthenticated
from api.limits import limit_caller
from api.services import Services
from domain.access import Principal, Scope
from domain.errors import NotFound

_BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token of the tenant's user.")


async def _services(request: Request) -> Services:
    # Without `async`, here and below, the framework would send each of these one-liners through a pool of threads.
    return cast("Services", request.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


def _caller(instead: Scope | None = None) -> Callable[..., Awaitable[Principal]]:
    """The caller, if his token has the scopes that the operation names, or `instead` in their place."""

    async def principal(
        request: Request,
        needed: SecurityScopes,
        services: ServicesDep,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Principal:
        """Raises InvalidToken, or Problem 401 without a token, 403 naming the missing scope, 429 beyond a quota.

        Whoever may ask is then asked for his Idempotency-Key, see api.idempotency.begin for what that raises.
        """
        if bearer is None:
            raise unauthenticated("Send Authorization: Bearer and an access token.", error=None)
        caller = await services.gate.principal(bearer.credentials)
        request.scope["vanta.tenant_id"] = caller.tenant_id  # for the line in the log
        missing = [scope for scope in needed.scopes if scope not in caller.scopes]
        if missing and not _has(caller, instead):
            raise insufficient(missing[0])
        await limit_caller(request, services, caller)
        await idempotency.begin(request, services, caller)
        return caller

    return principal


def _has(caller: Principal, scope: Scope | None) -> bool:
    """A token that says `follower:self` and is no follower's login opens nothing: there is nobody whom it is about."""
    about_somebody = scope is not Scope.FOLLOWER_SELF or caller.follower_id is not None
    return scope in caller.scopes and about_somebody


def _or(scope: Scope) -> dict[str, Any]:
    """`openapi_extra` of an operation whose callers may have `scope` instead: FastAPI adds it to what it has found."""
    return {"security": [{_BEARER.scheme_name: [scope.value]}]}


_principal = _caller()
# The table of scopes: a route takes the caller that its operation needs.
AnyCaller = Annotated[Principal, Security(_principal)]
VaultReader = Annotated[Principal, Security(_principal, scopes=["vault:read"])]
MirrorManager = Annotated[Principal, Security(_principal, scopes=["mirror:manage"])]
FollowerManager = Annotated[Principal, Security(_principal, scopes=["follower:manage"])]
OrderReader = Annotated[Principal, Security(_principal, scopes=["orders:read"])]
OrderWriter = Annotated[Principal, Security(_principal, scopes=["orders:write"])]
Auditor = Annotated[Principal, Security(_principal, scopes=["audit:read"])]
BillingReader = Annotated[Principal, Security(_principal, scopes=["billing:read"])]
BillingManager = Annotated[Principal, Security(_principal, scopes=["billing:manage"])]
TenantManager = Annotated[Principal, Security(_principal, scopes=["tenant:manage"])]
# Who belongs to a tenant is for auditors to see, too.
MemberReader = Annotated[Principal, Security(_caller(Scope.AUDIT_READ), scopes=["tenant:manage"])]
AUDITORS_TOO = _or(Scope.AUDIT_READ)
# Followers are let in by these alone; what they see is theirs, see `mine`.
_or_follower = _caller(Scope.FOLLOWER_SELF)
OrderViewer = Annotated[Principal, Security(_or_follower, scopes=["orders:read"])]
FOLLOWERS_TOO = _or(Scope.FOLLOWER_SELF)


def mine(caller: Principal, follower_id: str | None) -> str | None:
    """The follower whose rows the caller may see: himself if he is one, else whoever is asked for (None: all).

    Raises NotFound where a follower asks for another, as for one that there is not.
    """
    if caller.follower_id is None:
        return follower_id
    if follower_id not in (None, caller.follower_id):
        raise NotFound("follower", str(follower_id))
    return caller.follower_id


async def _idempotency_key(request: Request) -> str:
    return idempotency.key_of(request)


async def _raw_body(request: Request, services: ServicesDep) -> dict[str, object]:
    return await read_json_object(request, services.max_body_bytes)


# After the caller, whose key it is: two users of a tenant never share one.
IdempotencyKey = Annotated[str, Depends(_idempotency_key)]
RawBody = Annotated[dict[str, object], Depends(_raw_body)]

_ID = {"min_length": 1, "max_length": 64, "pattern": r"^[A-Za-z0-9_-]+$"}
VaultId = Annotated[str, Path(examples=["V_alpha_k3v9q2xd"], **_ID)]
FollowerId = Annotated[str, Path(examples=["F_bob_7hq2m4zt"], **_ID)]
ManagerOrderId = Annotated[str, Path(examples=["M-7K5ZC2QW4N6J3XEXAMPLE2AB4C"], **_ID)]
FollowerOrderId = Annotated[str, Path(examples=["FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2"], **_ID)]


async def _of_his_own(follower_id: FollowerId, caller: Annotated[Principal, Depends(_or_follower)]) -> Principal:
    mine(caller, follower_id)
    return caller


# Of operations on `{follower_id}`: the path is looked at before the route is, so that none can forget to.
FollowerViewer = Annotated[Principal, Security(_of_his_own, scopes=["vault:read"])]
FollowerPreviewer = Annotated[Principal, Security(_of_his_own, scopes=["orders:read"])]
