"""Logging in and out, and who the caller is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from api.body import documents, json_body, read_json_object
from api.deps import AnyCaller, ServicesDep
from api.errors import Problem, from_validation
from api.schemas.auth import (
    GRANTS,
    AccessTokens,
    BegunLogin,
    CodeGrantBody,
    KeySet,
    LogoutBody,
    Me,
    NewLoginBody,
    RefreshGrantBody,
    TokenBody,
)
from api.schemas.common import WRITES, problems
from domain.errors import InvalidInput

router = APIRouter(prefix="/v1", tags=["auth"])


async def _logout(request: Request) -> LogoutBody:
    """Who ends this one login need not send a body."""
    empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    return LogoutBody() if empty else await json_body(LogoutBody)(request)


async def _grant(request: Request, services: ServicesDep) -> CodeGrantBody | RefreshGrantBody:
    raw = await read_json_object(request, services.max_body_bytes)
    kind = raw.get("grant_type")
    if not isinstance(kind, str) or kind not in GRANTS:
        raise InvalidInput("grant_type", f"must be one of: {', '.join(GRANTS)}")
    try:
        return GRANTS[kind].model_validate(raw)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from None


@router.post(
    "/auth/login", operation_id="begin_login", responses=problems(*WRITES), openapi_extra=documents(NewLoginBody)
)
async def begin_login(
    services: ServicesDep, body: Annotated[NewLoginBody, Depends(json_body(NewLoginBody))]
) -> BegunLogin:
    """Begin a login: the answer says where to send the person, and what must come back with him."""
    invitation = None if body.invitation is None else body.invitation.get_secret_value()
    begun = await services.logins.begin(
        redirect_uri=body.redirect_uri, challenge=body.code_challenge, invitation=invitation
    )
    return BegunLogin.model_validate(begun)


@router.post(
    "/auth/token", operation_id="exchange_token", responses=problems(*WRITES), openapi_extra=documents(TokenBody)
)
async def exchange_token(
    services: ServicesDep, body: Annotated[CodeGrantBody | RefreshGrantBody, Depends(_grant)]
) -> AccessTokens:
    """Exchange the provider's code, or a refresh token, for an access token and the next refresh token.

    Each code, state and refresh token is good once. A refresh token that comes a second time ends its login, as one of
    the two who hold it is a thief: keep one refresh under way at a time, and log in again when its answer is lost.
    """
    if isinstance(body, RefreshGrantBody):
        tokens = await services.logins.refresh(body.refresh_token.get_secret_value())
    else:
        tokens = await services.logins.finish(
            code=body.code.get_secret_value(),
            state=body.state.get_secret_value(),
            verifier=body.code_verifier.get_secret_value(),
            redirect_uri=body.redirect_uri,
        )
    return AccessTokens(
        access_token=tokens.access_token,
        expires_in=tokens.expires_in,
        refresh_token=tokens.refresh_token,
        scope=" ".join(sorted(tokens.scopes)),
    )


@router.post(
    "/auth/logout",
    operation_id="log_out",
    status_code=204,
    responses=problems(409, *WRITES),
    openapi_extra=documents(LogoutBody, required=False),
)
async def log_out(caller: AnyCaller, services: ServicesDep, body: Annotated[LogoutBody, Depends(_logout)]) -> Response:
    """End this login, or all of the caller's. From the answer on no token of theirs is accepted."""
    if caller.session_id is None:
        raise Problem(409, "no-login", "The token comes from no login: there is nothing to end.")
    await services.logins.end(caller, everywhere=body.everywhere)
    return Response(status_code=204)


@router.get("/auth/keys", operation_id="list_signing_keys", responses=problems())
async def list_signing_keys(services: ServicesDep) -> KeySet:
    """The public keys that access tokens are verified with, as a JSON Web Key Set."""
    return KeySet(keys=services.logins.keys)


@router.get("/me", operation_id="get_me", responses=problems(404))
async def get_me(caller: AnyCaller, services: ServicesDep) -> Me:
    """Who the caller is, and what he may do at this moment."""
    return Me(
        subject=caller.subject,
        kind=caller.kind,
        role=caller.role,
        tenant_id=caller.tenant_id,
        tenant_name=await services.logins.tenant_name(caller.tenant_id),
        follower_id=caller.follower_id,
        scopes=sorted(caller.scopes),
    )
