"""Service accounts: programs that call with keys of their own."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from api.body import documents, json_body
from api.deps import AUDITORS_TOO, IdempotencyKey, MemberReader, ServicesDep, TenantManager
from api.idempotency import REPLAY
from api.paging import Page, PageQuery, decode, page
from api.schemas.accounts import (
    KEY_NOTE,
    UNSHOWN_NOTE,
    ApiKey,
    CreatedApiKey,
    NewApiKeyBody,
    NewServiceAccountBody,
    ServiceAccount,
)
from api.schemas.common import WRITES, problems
from domain.access import granted
from domain.intents import fingerprint
from domain.requests import Once

router = APIRouter(prefix="/v1/service-accounts", tags=["service accounts"])
_ID = {"min_length": 1, "max_length": 64, "pattern": r"^[A-Za-z0-9_-]+$"}
AccountId = Annotated[str, Path(examples=["SA-7K5ZC2QW4N6J3XEXAMPLE2AB4C"], **_ID)]
KeyId = Annotated[str, Path(examples=["KEY-7K5ZC2QW4N6J3XEXAMPLE2AB4C"], **_ID)]


@router.post(
    "",
    operation_id="create_service_account",
    status_code=201,
    responses=problems(*WRITES),
    openapi_extra=documents(NewServiceAccountBody),
)
async def create_service_account(
    caller: TenantManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[NewServiceAccountBody, Depends(json_body(NewServiceAccountBody))],
    response: Response,
) -> ServiceAccount:
    """Create an account for a program, with some of your own scopes. It can do nothing before it has a key."""
    once = Once("create_service_account", key, fingerprint(body.model_dump(mode="json")))
    scopes = granted(body.scopes, caller.scopes)
    made = await services.accounts.create(caller.tenant_id, body.name, scopes, actor=caller.actor, once=once)
    if made.replayed:
        response.headers[REPLAY] = "true"
    return ServiceAccount.model_validate(made.row)


@router.get("", operation_id="list_service_accounts", responses=problems(), openapi_extra=AUDITORS_TOO)
async def list_service_accounts(
    caller: MemberReader, services: ServicesDep, query: Annotated[PageQuery, Query()]
) -> Page[ServiceAccount]:
    """The tenant's service accounts in the order of their ids, with disabled ones."""
    after = decode(query.cursor, 1)[0] if query.cursor else ""
    rows = await services.accounts.page(caller.tenant_id, limit=query.limit + 1, after=after)
    return page(rows, query.limit, ServiceAccount.model_validate, lambda row: (row.account_id,))


@router.delete("/{account_id}", operation_id="disable_service_account", responses=problems(404))
async def disable_service_account(
    caller: TenantManager, services: ServicesDep, account_id: AccountId
) -> ServiceAccount:
    """Disable an account for good: the next request with any of its keys is refused. A repeat changes nothing."""
    row = await services.accounts.disable(caller.tenant_id, account_id, actor=caller.actor)
    return ServiceAccount.model_validate(row)


@router.post(
    "/{account_id}/keys",
    operation_id="create_api_key",
    status_code=201,
    responses=problems(404, 409, *WRITES),
    openapi_extra=documents(NewApiKeyBody),
)
async def create_api_key(
    caller: TenantManager,
    services: ServicesDep,
    account_id: AccountId,
    key: IdempotencyKey,
    body: Annotated[NewApiKeyBody, Depends(json_body(NewApiKeyBody))],
    response: Response,
) -> CreatedApiKey:
    """Make a key, sent like any access token: `Authorization: Bearer vk_…`.

    It is shown once: a repeat under the same Idempotency-Key answers without it.
    """
    once = Once("create_api_key", key, fingerprint({"account_id": account_id, "body": body.model_dump(mode="json")}))
    made = await services.accounts.create_key(
        caller.tenant_id, account_id, body.expires_at, actor=caller.actor, once=once
    )
    if made.replayed:
        response.headers[REPLAY] = "true"
    response.headers["Cache-Control"] = "no-store"
    shown = CreatedApiKey.model_validate(made.row)
    shown.key, shown.note = made.key, KEY_NOTE if made.key else UNSHOWN_NOTE
    return shown


@router.get("/{account_id}/keys", operation_id="list_api_keys", responses=problems(404), openapi_extra=AUDITORS_TOO)
async def list_api_keys(
    caller: MemberReader, services: ServicesDep, account_id: AccountId, query: Annotated[PageQuery, Query()]
) -> Page[ApiKey]:
    """The account's keys in the order of their ids, with revoked and expired ones; never the keys themselves."""
    after = decode(query.cursor, 1)[0] if query.cursor else ""
    rows = await services.accounts.keys(caller.tenant_id, account_id, limit=query.limit + 1, after=after)
    return page(rows, query.limit, ApiKey.model_validate, lambda row: (row.key_id,))


@router.delete("/{account_id}/keys/{key_id}", operation_id="revoke_api_key", responses=problems(404))
async def revoke_api_key(caller: TenantManager, services: ServicesDep, account_id: AccountId, key_id: KeyId) -> ApiKey:
    """Revoke a key: the next request with it is refused. A repeat changes nothing."""
    row = await services.accounts.revoke_key(caller.tenant_id, account_id, key_id, actor=caller.actor)
    return ApiKey.model_validate(row)
