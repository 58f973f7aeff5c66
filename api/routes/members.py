"""Who belongs to the tenant: its users, their roles, and invitations."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from api.body import documents, json_body
from api.deps import AUDITORS_TOO, FollowerId, IdempotencyKey, MemberReader, ServicesDep, TenantManager
from api.idempotency import REPLAY
from api.paging import Page, PageQuery, SinceQuery, decode, page
from api.schemas.common import WRITES, problems
from api.schemas.members import (
    INVITED_NOTE,
    UNSHOWN_NOTE,
    CreatedInvitation,
    EndedAccess,
    Invitation,
    Member,
    NewInvitationBody,
    RoleBody,
)
from domain.access import Role
from domain.errors import InvalidInput
from domain.intents import fingerprint
from domain.requests import Once

router = APIRouter(prefix="/v1", tags=["members"])
UserId = Annotated[UUID, Path(examples=["5f0c1a52-4c1e-4f7b-9a57-d3a0de300001"])]
InvitationId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["INV-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
]


@router.get("/users", operation_id="list_users", responses=problems(), openapi_extra=AUDITORS_TOO)
async def list_users(caller: MemberReader, services: ServicesDep, query: Annotated[PageQuery, Query()]) -> Page[Member]:
    """The tenant's users in the order of their ids, with those who were removed."""
    rows = await services.members.page(caller.tenant_id, limit=query.limit + 1, after=_after(query.cursor))
    return page(rows, query.limit, Member.of, lambda row: (str(row.user_id),))


@router.patch(
    "/users/{user_id}",
    operation_id="change_role",
    responses=problems(404, 409, *WRITES),
    openapi_extra=documents(RoleBody),
)
async def change_role(
    caller: TenantManager,
    services: ServicesDep,
    user_id: UserId,
    body: Annotated[RoleBody, Depends(json_body(RoleBody))],
) -> Member:
    """Give a user another role. It counts at once; where the new role allows less, the user's logins end.

    The last owner stays one: 409 `last-owner`. A repeat changes nothing.
    """
    row = await services.members.change_role(caller.tenant_id, str(user_id), Role(body.role), actor=caller.actor)
    return Member.of(row)


@router.delete("/users/{user_id}", operation_id="remove_user", responses=problems(404, 409))
async def remove_user(caller: TenantManager, services: ServicesDep, user_id: UserId) -> Member:
    """Remove a user: the next request of any of his logins is refused. The last owner stays: 409 `last-owner`.

    Invitations of his that nobody has accepted are withdrawn. Keys of service accounts that he may know go on: revoke
    them. A repeat changes nothing.
    """
    return Member.of(await services.members.remove(caller.tenant_id, str(user_id), actor=caller.actor))


@router.post(
    "/invitations",
    operation_id="create_invitation",
    status_code=201,
    responses=problems(404, 409, *WRITES),
    openapi_extra=documents(NewInvitationBody),
)
async def create_invitation(
    caller: TenantManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[NewInvitationBody, Depends(json_body(NewInvitationBody))],
    response: Response,
) -> CreatedInvitation:
    """Invite a person to be a user with a role, or to look after a follower.

    The answer holds the token, which the person's first login must bring along. It is shown once: a repeat under the
    same Idempotency-Key answers without it.
    """
    role, follower_id = body.invited()
    once = Once("create_invitation", key, fingerprint(body.model_dump(mode="json")))
    made = await services.invitations.create(
        caller.tenant_id, body.email, role, follower_id, actor=caller.actor, once=once
    )
    if made.replayed:
        response.headers[REPLAY] = "true"
    response.headers["Cache-Control"] = "no-store"
    shown = CreatedInvitation.of(made.row, datetime.now(UTC))
    shown.token, shown.note = made.token, INVITED_NOTE if made.token else UNSHOWN_NOTE
    return shown


@router.get("/invitations", operation_id="list_invitations", responses=problems(), openapi_extra=AUDITORS_TOO)
async def list_invitations(
    caller: MemberReader, services: ServicesDep, query: Annotated[SinceQuery, Query()]
) -> Page[Invitation]:
    """Invitations, newest first, whatever became of them; no tokens."""
    rows, now = await services.invitations.page(caller.tenant_id, query.part()), datetime.now(UTC)
    return page(
        rows,
        query.limit,
        lambda row: Invitation.of(row, now),
        lambda row: (row.created_at.isoformat(), row.invitation_id),
    )


@router.delete("/invitations/{invitation_id}", operation_id="revoke_invitation", responses=problems(404, 409))
async def revoke_invitation(caller: TenantManager, services: ServicesDep, invitation_id: InvitationId) -> Invitation:
    """Withdraw an invitation: its token is worth nothing from now on. 409 `invitation-accepted` where it is too late.

    A repeat changes nothing.
    """
    row = await services.invitations.revoke(caller.tenant_id, invitation_id, actor=caller.actor)
    return Invitation.of(row, datetime.now(UTC))


@router.delete("/followers/{follower_id}/access", operation_id="end_follower_access", responses=problems(404))
async def end_follower_access(caller: TenantManager, services: ServicesDep, follower_id: FollowerId) -> EndedAccess:
    """End what the follower's own people may see: their next request is refused, and no login of theirs lets them in.

    Invitations for the follower that nobody has accepted are withdrawn. Mirroring goes on. A repeat changes nothing.
    """
    done = await services.follower_access.end(caller.tenant_id, follower_id, actor=caller.actor)
    return EndedAccess.model_validate(done)


def _after(cursor: str | None) -> str:
    """Raises InvalidInput for a cursor that names no user."""
    if not cursor:
        return ""
    try:
        return str(UUID(decode(cursor, 1)[0]))
    except ValueError:
        raise InvalidInput("cursor", "is none of ours; take it from next_cursor, or leave it out") from None
