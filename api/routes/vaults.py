"""Vaults and their followers."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.body import documents, json_body
from api.deps import (
    FOLLOWERS_TOO,
    FollowerId,
    FollowerManager,
    FollowerViewer,
    IdempotencyKey,
    MirrorManager,
    ServicesDep,
    VaultId,
    VaultReader,
)
from api.idempotency import REPLAY
from api.paging import Page, PageQuery, SinceQuery, decode, page
from api.schemas.common import WRITES, problems
from api.schemas.followers import (
    GONE_NOTE,
    SHOWN_NOTE,
    ChangedFollower,
    CreatedFollower,
    Follower,
    FollowerChangesBody,
    NewFollowerBody,
)  # fmt: skip
from api.schemas.kills import KillAcknowledgement
from api.schemas.vaults import NavBody, NavMark, NewVaultBody, ShownVault, Vault, VaultChangesBody, VaultQuery
from domain.intents import fingerprint
from domain.requests import Once

router = APIRouter(prefix="/v1")


@router.get("/vaults", operation_id="list_vaults", tags=["vaults"], responses=problems())
async def list_vaults(
    caller: VaultReader, services: ServicesDep, query: Annotated[VaultQuery, Query()]
) -> Page[ShownVault]:
    """Vaults in the order of their ids: the tenant's, the public ones of others, or both.

    Of a public vault of another tenant no positions, no NAV and no risk profile are shown (`owned` is false). Without
    the entitlement `public_vaults` there are none.
    """
    after = decode(query.cursor, 1)[0] if query.cursor else ""
    rows = await services.directory.page(caller.tenant_id, query.visibility, limit=query.limit + 1, after=after)
    return page(rows, query.limit, ShownVault.of, lambda row: (row.vault_id,))


@router.post(
    "/vaults",
    operation_id="create_vault",
    tags=["vaults"],
    status_code=201,
    responses=problems(*WRITES),
    openapi_extra=documents(NewVaultBody),
)
async def create_vault(
    caller: MirrorManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[NewVaultBody, Depends(json_body(NewVaultBody))],
    response: Response,
) -> Vault:
    """Create a vault."""
    once = Once("create_vault", key, fingerprint(body.model_dump(mode="json")))
    made = await services.registry.create_vault(caller.tenant_id, body.to_domain(), actor=caller.actor, once=once)
    response.headers["Location"] = f"/v1/vaults/{made.row.vault_id}"
    if made.replayed:
        response.headers[REPLAY] = "true"
    return Vault.model_validate(made.row)


@router.get("/vaults/{vault_id}", operation_id="get_vault", tags=["vaults"], responses=problems(404))
async def get_vault(caller: VaultReader, services: ServicesDep, vault_id: VaultId) -> ShownVault:
    """One vault: the tenant's own, or a public one of another tenant as the list shows it."""
    return ShownVault.of(await services.directory.get(caller.tenant_id, vault_id))


@router.patch(
    "/vaults/{vault_id}",
    operation_id="update_vault",
    tags=["vaults"],
    responses=problems(404, *WRITES),
    openapi_extra=documents(VaultChangesBody),
)
async def update_vault(
    caller: MirrorManager,
    services: ServicesDep,
    vault_id: VaultId,
    body: Annotated[VaultChangesBody, Depends(json_body(VaultChangesBody))],
) -> Vault:
    """Change a vault's label, personas, risk profile or visibility.

    The risk profile is merged name by name, so that a limit which is not named is not lost; null takes one away. It
    counts for orders that are admitted from now on; trading hours also for attempts that are still to be claimed. A
    repeat changes nothing.
    """
    row = await services.registry.update_vault(caller.tenant_id, vault_id, body.changes(), actor=caller.actor)
    return Vault.model_validate(row)


@router.get("/vaults/{vault_id}/nav", operation_id="list_nav_marks", tags=["vaults"], responses=problems(404))
async def list_nav_marks(
    caller: VaultReader, services: ServicesDep, vault_id: VaultId, query: Annotated[SinceQuery, Query()]
) -> Page[NavMark]:
    """The vault's NAVs, newest first: one for every time that its positions, its cash or their prices had changed."""
    rows = await services.reads.nav_marks(caller.tenant_id, vault_id, query.part())
    return page(rows, query.limit, NavMark.model_validate, lambda row: (row.asof.isoformat(), row.holder_id))


@router.put(
    "/vaults/{vault_id}/nav",
    operation_id="set_nav",
    tags=["vaults"],
    responses=problems(404, *WRITES),
    openapi_extra=documents(NavBody),
)
async def set_nav(
    caller: MirrorManager,
    services: ServicesDep,
    vault_id: VaultId,
    body: Annotated[NavBody, Depends(json_body(NavBody))],
) -> Vault:
    """Say what the vault is worth now: what of it is not in positions, at their last prices, is its cash.

    From then on orders move cash and prices move the NAV. 422 where a position has no price. A repeat changes nothing.
    """
    row = await services.registry.set_vault_nav(
        caller.tenant_id, vault_id, body.nav_usd, datetime.now(UTC), actor=caller.actor
    )
    return Vault.model_validate(row)


@router.get("/vaults/{vault_id}/followers", operation_id="list_followers", tags=["followers"], responses=problems(404))
async def list_followers(
    caller: VaultReader, services: ServicesDep, vault_id: VaultId, query: Annotated[PageQuery, Query()]
) -> Page[Follower]:
    """The vault's followers in the order of their ids."""
    after = decode(query.cursor, 1)[0] if query.cursor else ""
    rows = await services.registry.list_followers(caller.tenant_id, vault_id, limit=query.limit + 1, after=after)
    return page(rows, query.limit, Follower.of, lambda row: (row.follower_id,))


@router.post(
    "/vaults/{vault_id}/followers",
    operation_id="create_follower",
    tags=["followers"],
    status_code=201,
    responses=problems(404, *WRITES),
    openapi_extra=documents(NewFollowerBody),
)
async def create_follower(
    caller: FollowerManager,
    services: ServicesDep,
    vault_id: VaultId,
    key: IdempotencyKey,
    body: Annotated[NewFollowerBody, Depends(json_body(NewFollowerBody))],
    response: Response,
) -> CreatedFollower:
    """Bind a follower to the vault.

    A webhook follower's signing secret is in the answer. A repeat under the same Idempotency-Key shows it again for a
    day, for callers that lost the first answer; after that, nothing shows it.
    """
    new = body.to_domain(vault_id)
    once = Once("create_follower", key, fingerprint(_identity(vault_id, body)))
    made = await services.registry.create_follower(caller.tenant_id, new, actor=caller.actor, once=once)
    response.headers["Location"] = f"/v1/followers/{made.row.follower_id}"
    if made.replayed:
        response.headers[REPLAY] = "true"
    shown = CreatedFollower.of(made.row)
    if shown.webhook is not None:
        shown.signing_secret = made.signing_secret
        shown.note = SHOWN_NOTE if made.signing_secret else GONE_NOTE
    return shown


@router.get(
    "/followers/{follower_id}",
    operation_id="get_follower",
    tags=["followers"],
    responses=problems(404),
    openapi_extra=FOLLOWERS_TOO,
)
async def get_follower(caller: FollowerViewer, services: ServicesDep, follower_id: FollowerId) -> Follower:
    """One follower. No secrets: of its accounts only the references. A follower may read himself."""
    return Follower.of(await services.registry.get_follower(caller.tenant_id, follower_id))


@router.patch(
    "/followers/{follower_id}",
    operation_id="update_follower",
    tags=["followers"],
    responses=problems(404, *WRITES),
    openapi_extra=documents(FollowerChangesBody),
)
async def update_follower(
    caller: FollowerManager,
    services: ServicesDep,
    follower_id: FollowerId,
    body: Annotated[FollowerChangesBody, Depends(json_body(FollowerChangesBody))],
) -> ChangedFollower:
    """Change a follower's mode, scale, cap, persona, kill switch, or whether it may be short.

    Orders that are admitted from now on are sized by the new settings. With the kill switch on, no send to the follower
    begins after this answer; `acknowledgement` says how many were in flight. A repeat changes nothing.
    """
    changes = body.changes()
    row = await services.registry.update_follower(caller.tenant_id, follower_id, changes, actor=caller.actor)
    shown = ChangedFollower.of(row)
    if changes.get("kill_switch"):
        done = await services.kills.barrier(caller.tenant_id, follower_id=follower_id)
        shown.acknowledgement = KillAcknowledgement.model_validate(done)
    return shown


def _identity(vault_id: str, body: NewFollowerBody) -> dict[str, object]:
    """What makes two requests the same; a broker's secrets are part of it, masked they would all look alike."""
    accounts = body.bridged_brokers
    parts = [] if accounts is None else [accounts.equities, accounts.crypto]
    revealed = [None if account is None else account.revealed() for account in parts]
    return {"vault_id": vault_id, "body": body.model_dump(mode="json"), "accounts": revealed}
