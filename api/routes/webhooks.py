"""A follower's webhook: trying it, and giving it a new signing secret."""

from fastapi import APIRouter, Response

from api.deps import FollowerId, FollowerManager, IdempotencyKey, ServicesDep
from api.idempotency import REPLAY
from api.schemas.common import problems
from api.schemas.followers import GONE_NOTE, SHOWN_NOTE
from api.schemas.webhooks import RotatedSecret, WebhookTest
from domain.intents import fingerprint
from domain.requests import Once

router = APIRouter(prefix="/v1/followers/{follower_id}/webhook", tags=["followers"])


@router.post("/test", operation_id="test_webhook", responses=problems(404, 409))
async def test_webhook(caller: FollowerManager, services: ServicesDep, follower_id: FollowerId) -> WebhookTest:
    """Send a signed test delivery and tell what came of it; it is no order and is marked as none.

    A 2xx enables a disabled endpoint. One test per follower at a time: 409 `test-under-way` otherwise.
    """
    return WebhookTest.model_validate(await services.tester.test(caller.tenant_id, follower_id, actor=caller.actor))


@router.post("/secret/rotate", operation_id="rotate_webhook_secret", responses=problems(400, 404, 409))
async def rotate_webhook_secret(
    caller: FollowerManager, services: ServicesDep, follower_id: FollowerId, key: IdempotencyKey, response: Response
) -> RotatedSecret:
    """Make a new signing secret. For 24 hours deliveries are signed with both, then with the new one only.

    A repeat under the same Idempotency-Key shows the secret again for a day; after that, nothing shows it.
    """
    once = Once("rotate_webhook_secret", key, fingerprint({"follower_id": follower_id}))
    done = await services.keys.rotate(caller.tenant_id, follower_id, actor=caller.actor, once=once)
    if done.replayed:
        response.headers[REPLAY] = "true"
    shown = RotatedSecret.model_validate(done)
    shown.note = SHOWN_NOTE if done.signing_secret else GONE_NOTE
    return shown
