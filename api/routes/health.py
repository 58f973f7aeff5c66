"""Alive, ready, metrics: for load balancers and monitoring, without a token and without names of hosts."""

from contextlib import suppress

from fastapi import APIRouter, Response

from api.deps import ServicesDep
from api.metrics import CONTENT_TYPE
from api.schemas.health import Alive, Dependency, Ready
from domain.errors import StoreUnavailable

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="get_health")
async def get_health() -> Alive:
    """The process answers."""
    return Alive()


@router.get(
    "/readyz", operation_id="get_readiness", responses={503: {"model": Ready, "description": "Takes no orders"}}
)
async def get_readiness(services: ServicesDep, response: Response) -> Ready:
    """Each dependency. 503 where a vital one (Postgres, Temporal) does not answer."""
    found = await services.readiness.check()
    if any(health.vital and not health.ok for health in found.values()):
        response.status_code = 503
    everything = all(health.ok for health in found.values())
    return Ready(
        status="unready" if response.status_code == 503 else "ready" if everything else "degraded",
        dependencies={name: Dependency.model_validate(health) for name, health in found.items()},
    )


@router.get("/metrics", operation_id="get_metrics", response_class=Response, include_in_schema=False)
async def get_metrics(services: ServicesDep) -> Response:
    with suppress(StoreUnavailable):  # what is counted in this process is told all the same
        services.metrics.payment_events(await services.hooks.left())
    return Response(services.metrics.render(), media_type=CONTENT_TYPE)
