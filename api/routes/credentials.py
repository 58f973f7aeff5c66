"""A follower's broker credentials: what state they are in, a new value for one, and a test of one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.body import documents, json_body
from api.deps import FollowerId, FollowerManager, IdempotencyKey, ServicesDep, VaultReader
from api.idempotency import REPLAY
from api.schemas.common import WRITES, problems
from api.schemas.credentials import Credential, Credentials, CredentialTest
from api.schemas.followers import BrokerBody
from domain.credentials import Which
from domain.intents import fingerprint
from domain.requests import Once

router = APIRouter(prefix="/v1/followers/{follower_id}/credentials", tags=["followers"])


@router.get("", operation_id="list_credentials", responses=problems(404))
async def list_credentials(caller: VaultReader, services: ServicesDep, follower_id: FollowerId) -> Credentials:
    """The follower's broker credentials: where they are for and whether they work, never what they are."""
    views = await services.credentials.views(caller.tenant_id, follower_id)
    return Credentials(items=[Credential.model_validate(view) for view in views])


@router.put(
    "/{which}",
    operation_id="replace_credential",
    responses=problems(404, 409, *WRITES),
    openapi_extra=documents(BrokerBody),
)
async def replace_credential(
    caller: FollowerManager,
    services: ServicesDep,
    follower_id: FollowerId,
    which: Which,
    key: IdempotencyKey,
    body: Annotated[BrokerBody, Depends(json_body(BrokerBody))],
    response: Response,
) -> Credential:
    """Give a new key for the same account at the same venue; a broken credential works again.

    Orders that nobody knows the fate of are looked up with the new key, so it must be of the same account. Venue and
    environment cannot change. Where both rails trade through one account, the new key is for both.
    """
    asked = {
        "follower_id": follower_id,
        "which": which,
        "body": body.model_dump(mode="json"),
        "secrets": body.revealed(),
    }
    once = Once("replace_credential", key, fingerprint(asked))
    done = await services.credentials.replace(
        caller.tenant_id, follower_id, which, body.to_domain(), actor=caller.actor, once=once
    )
    if done.replayed:
        response.headers[REPLAY] = "true"
    return Credential.model_validate(done.view)


@router.post("/{which}/test", operation_id="test_credential", responses=problems(404, 409))
async def test_credential(
    caller: FollowerManager, services: ServicesDep, follower_id: FollowerId, which: Which
) -> CredentialTest:
    """Ask the broker for the account and tell in words what came of it.

    An answer mends a broken credential; a refusal of the key breaks one that was taken to work.
    """
    done = await services.credential_tester.test(caller.tenant_id, follower_id, which, actor=caller.actor)
    return CredentialTest.model_validate(done)
