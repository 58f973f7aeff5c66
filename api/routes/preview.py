"""What a follower would get, before anything is sent."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.body import parse_json
from api.deps import FOLLOWERS_TOO, FollowerId, FollowerPreviewer, ServicesDep
from api.errors import Problem
from api.schemas.common import problems
from api.schemas.preview import PreviewAnswer, PreviewQuery
from domain.errors import InvalidInput

router = APIRouter(prefix="/v1")
_OF_META = ("reference_price", "expires_at", "outside_session")


@router.get(
    "/followers/{follower_id}/preview",
    operation_id="preview_follower",
    tags=["followers"],
    responses=problems(404),
    openapi_extra=FOLLOWERS_TOO,
)
async def preview_follower(
    caller: FollowerPreviewer, services: ServicesDep, follower_id: FollowerId, query: Annotated[PreviewQuery, Query()]
) -> PreviewAnswer:
    """What the follower would get of such an order, with every step of its size; nothing is placed.

    It is admitted and sized by the very code of an order, so that placing it now gives the same quantity and trace, as
    long as nothing changes. With `asof` everything is taken as it was then: settings, prices, positions, overlays,
    orders under way; that is a replay, which the plan has to allow. `admission` says whether the manager's order would
    be refused, and why.

    A follower may ask for himself; `admission` and `snapshot`, which tell of the vault, are then left out.
    """
    if query.asof is not None:
        await services.entitlements.require(caller.tenant_id, "replay", need=True)
    try:
        found = await services.preview.preview(caller.tenant_id, follower_id, _order(query), query.asof)
    except InvalidInput as error:
        raise InvalidInput(error.field.removeprefix("meta."), error.reason) from None
    shown = PreviewAnswer.of(found)
    return shown if caller.follower_id is None else shown.for_follower()


def _order(query: PreviewQuery) -> dict[str, Any]:
    meta = {name: value for name in _OF_META if (value := getattr(query, name)) is not None}
    if query.conviction is not None:
        meta["conviction"] = _json(query.conviction)
    fields = query.model_dump(exclude={*_OF_META, "conviction", "asof"}, exclude_none=True)
    return {**fields, "meta": meta}


def _json(text: str) -> Any:
    """Read like the body of an order. Raises InvalidInput."""
    try:
        return parse_json(text.encode())
    except Problem:
        raise InvalidInput("conviction", "must be a JSON object") from None
    except InvalidInput as error:
        raise InvalidInput(f"conviction.{error.field}", error.reason) from None
