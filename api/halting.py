"""A halt from request to acknowledgement: in force, then heard of by every sender, then, for flatten, sold."""

from api.errors import Problem
from api.schemas.halts import NewHaltBody, PulledHalt, Scope
from api.schemas.kills import KillAcknowledgement
from api.services import Services
from domain import ids
from domain.access import Principal
from domain.admission import Halt as Level
from domain.errors import InvalidInput
from domain.flattening import FlattenInput
from domain.flip_mode import EndOverlay, StartOverlay
from domain.kills import EVERYBODY
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params
from domain.requests import Once

PLATFORM_PREFIX = "H-"


async def pull(services: Services, caller: Principal, key: str, body: NewHaltBody, digest: str) -> PulledHalt:
    """Raises InvalidInput, NotFound, IdempotencyKeyReused, and EngineUnavailable where only the selling did not start:

    the halt itself needs no engine, and a repeat starts what is missing.
    """
    if (body.id is None) == (body.scope in {Scope.FOLLOWER, Scope.VAULT}):
        raise InvalidInput("id", "is needed for a follower or a vault, and only there")
    if body.scope is Scope.PLATFORM:
        return await _pull_platform(services, caller, key, body)
    vault_id, follower_id = await _scope(services, caller, body)
    new = NewOverlay(OverlayKind.HALT, vault_id, follower_id, params=Params(level=body.level), reason=body.reason)
    overlay_id = ids.overlay_id(caller.tenant_id, key)
    start = StartOverlay(caller.tenant_id, overlay_id, new, Once("pull_halt", key, digest), caller.actor)
    shown = PulledHalt.of_overlay((await services.overlays.start(start)).row)
    shown.acknowledgement = await acknowledged(
        services, caller, shown.halt_id, body.level, vault_id=vault_id, follower_id=follower_id
    )
    return shown


async def acknowledged(
    services: Services,
    caller: Principal,
    halt_id: str,
    level: Level | None,
    *,
    vault_id: str | None = None,
    follower_id: str | None = None,
) -> KillAcknowledgement:
    """Wait until no send of the scope begins any more; at level flatten, then have everything sold."""
    done = await services.kills.barrier(caller.tenant_id, vault_id=vault_id, follower_id=follower_id)
    if level is Level.FLATTEN:
        scope = FlattenInput(caller.tenant_id, halt_id, caller.actor, vault_id, follower_id)
        await services.flattener.start([scope])
    return KillAcknowledgement.model_validate(done)


async def lift(services: Services, caller: Principal, halt_id: str) -> PulledHalt:
    """Raises NotFound, and Problem 403 for a platform's halt without the scope admin."""
    if halt_id.startswith(PLATFORM_PREFIX):
        _require_admin(caller)
        return PulledHalt.of_platform(await services.halts.lift_platform(caller.tenant_id, halt_id, actor=caller.actor))
    row = await services.overlays.get(caller.tenant_id, halt_id)
    if row.kind != OverlayKind.HALT:
        raise InvalidInput("halt_id", f"is a {row.kind}; end it where it was started")
    end = EndOverlay(caller.tenant_id, halt_id, EndReason.LIFTED, caller.actor)
    await services.overlays.end(end)
    return PulledHalt.of_overlay(await services.overlays.get(caller.tenant_id, halt_id))


async def _pull_platform(services: Services, caller: Principal, key: str, body: NewHaltBody) -> PulledHalt:
    _require_admin(caller)
    halt_id = ids.halt_id(caller.tenant_id, key)
    row = await services.halts.halt_platform(caller.tenant_id, halt_id, body.level, body.reason, actor=caller.actor)
    shown = PulledHalt.of_platform(row)
    shown.acknowledgement = KillAcknowledgement.model_validate(await services.kills.barrier(EVERYBODY))
    if body.level is Level.FLATTEN:
        tenants = await services.halts.tenants()
        await services.flattener.start([FlattenInput(tenant, halt_id, caller.actor) for tenant in tenants])
    return shown


async def _scope(services: Services, caller: Principal, body: NewHaltBody) -> tuple[str | None, str | None]:
    if body.scope is Scope.TENANT or body.id is None:
        return None, None
    if body.scope is Scope.VAULT:
        return body.id, None
    follower = await services.registry.get_follower(caller.tenant_id, body.id)
    return follower.vault_id, body.id


def _require_admin(caller: Principal) -> None:
    if "admin" not in caller.scopes:
        raise Problem(403, "insufficient-scope", "A halt of the whole platform needs the scope admin.", scope="admin")
