"""Who may do what: tokens, scopes, tenants."""

import uuid
from datetime import UTC, datetime

import pytest

from adapters.tokens import mint
from api.app import create_app
from domain.access import Role
from settings import Settings
from stack.credentials import Credentials
from tests.api.conftest import SCOPES, Caller, problem

OPERATIONS = {
    "list_vaults": "vault:read",
    "create_vault": "mirror:manage",
    "get_vault": "vault:read",
    "update_vault": "mirror:manage",
    "list_nav_marks": "vault:read",
    "set_nav": "mirror:manage",
    "preview_follower": "orders:read",
    "list_followers": "vault:read",
    "create_follower": "follower:manage",
    "get_follower": "vault:read",
    "update_follower": "follower:manage",
    "test_webhook": "follower:manage",
    "rotate_webhook_secret": "follower:manage",
    "list_credentials": "vault:read",
    "replace_credential": "follower:manage",
    "test_credential": "follower:manage",
    "start_overlay": "mirror:manage",
    "list_overlays": "vault:read",
    "extend_overlay": "mirror:manage",
    "end_overlay": "mirror:manage",
    "pull_halt": "mirror:manage",
    "list_halts": "vault:read",
    "lift_halt": "mirror:manage",
    "place_manager_order": "orders:write",
    "list_manager_orders": "orders:read",
    "get_manager_order": "orders:read",
    "cancel_manager_order": "orders:write",
    "get_manager_order_dag": "orders:read",
    "stream_manager_order_events": "orders:read",
    "list_follower_orders": "orders:read",
    "get_follower_order": "orders:read",
    "list_dead_letters": "orders:read",
    "get_dead_letter": "orders:read",
    "redrive_dead_letters": "orders:write",
    "purge_dead_letters": "orders:write",
    "list_audit_events": "audit:read",
    "list_reconciliations": "orders:read",
    "get_reconciliation": "orders:read",
    "reconcile_vault": "mirror:manage",
    "list_users": "tenant:manage",
    "change_role": "tenant:manage",
    "remove_user": "tenant:manage",
    "create_invitation": "tenant:manage",
    "list_invitations": "tenant:manage",
    "revoke_invitation": "tenant:manage",
    "create_service_account": "tenant:manage",
    "list_service_accounts": "tenant:manage",
    "disable_service_account": "tenant:manage",
    "create_api_key": "tenant:manage",
    "list_api_keys": "tenant:manage",
    "revoke_api_key": "tenant:manage",
}
# Operations that another scope opens as well.
FOLLOWERS_OWN = {"get_follower", "preview_follower", "list_follower_orders", "get_follower_order"}
INSTEAD = {
    **dict.fromkeys(("list_users", "list_invitations", "list_service_accounts", "list_api_keys"), "audit:read"),
    **dict.fromkeys(FOLLOWERS_OWN, "follower:self"),
}
# Those that any token opens, and those that are there for who has none yet.
ANY_TOKEN = {"log_out", "get_me"}
NO_TOKEN = {"begin_login", "exchange_token", "list_signing_keys"}
PATHS = [
    ("GET", "/v1/vaults", "vault:read"),
    ("POST", "/v1/vaults", "mirror:manage"),
    ("GET", "/v1/vaults/V_x", "vault:read"),
    ("POST", "/v1/vaults/V_x/followers", "follower:manage"),
    ("GET", "/v1/vaults/V_x/followers", "vault:read"),
    ("GET", "/v1/followers/F_x", "vault:read"),
    ("PATCH", "/v1/followers/F_x", "follower:manage"),
    ("POST", "/v1/followers/F_x/webhook/test", "follower:manage"),
    ("POST", "/v1/followers/F_x/webhook/secret/rotate", "follower:manage"),
    ("POST", "/v1/vaults/V_x/overlay", "mirror:manage"),
    ("GET", "/v1/vaults/V_x/overlays", "vault:read"),
    ("PATCH", "/v1/vaults/V_x/overlays/OV-x", "mirror:manage"),
    ("DELETE", "/v1/vaults/V_x/overlays/OV-x", "mirror:manage"),
    ("POST", "/v1/halts", "mirror:manage"),
    ("GET", "/v1/halts", "vault:read"),
    ("DELETE", "/v1/halts/OV-x", "mirror:manage"),
    ("POST", "/v1/manager-orders", "orders:write"),
    ("GET", "/v1/manager-orders", "orders:read"),
    ("GET", "/v1/manager-orders/M-x", "orders:read"),
    ("DELETE", "/v1/manager-orders/M-x", "orders:write"),
    ("GET", "/v1/manager-orders/M-x/dag", "orders:read"),
    ("GET", "/v1/manager-orders/M-x/events", "orders:read"),
    ("GET", "/v1/follower-orders", "orders:read"),
    ("GET", "/v1/dead-letters/1", "orders:read"),
    ("POST", "/v1/dead-letters/redrive", "orders:write"),
    ("POST", "/v1/dead-letters/purge", "orders:write"),
    ("GET", "/v1/follower-orders/FO-x", "orders:read"),
    ("GET", "/v1/dead-letters", "orders:read"),
    ("GET", "/v1/audit-events", "audit:read"),
    ("GET", "/v1/reconciliations", "orders:read"),
    ("GET", "/v1/reconciliations/R-x", "orders:read"),
    ("POST", "/v1/vaults/V_x/reconcile", "mirror:manage"),
    ("PATCH", "/v1/users/00000000-0000-4000-8000-000000000000", "tenant:manage"),
    ("DELETE", "/v1/users/00000000-0000-4000-8000-000000000000", "tenant:manage"),
    ("POST", "/v1/invitations", "tenant:manage"),
    ("DELETE", "/v1/invitations/INV-x", "tenant:manage"),
    ("POST", "/v1/service-accounts", "tenant:manage"),
    ("DELETE", "/v1/service-accounts/SA-x", "tenant:manage"),
    ("POST", "/v1/service-accounts/SA-x/keys", "tenant:manage"),
    ("DELETE", "/v1/service-accounts/SA-x/keys/KEY-x", "tenant:manage"),
]


def test_every_operation_of_v1_needs_the_scope_of_the_table(settings: Settings) -> None:
    contract = create_app(settings).openapi()
    found = {
        operation["operationId"]: operation.get("security")
        for path, methods in contract["paths"].items()
        if path.startswith("/v1/")
        for operation in methods.values()
    }
    needed: dict[str, list[dict[str, list[str]]] | None] = {
        **{
            name: [{"HTTPBearer": [one]} for one in (scope, INSTEAD.get(name)) if one]
            for name, scope in OPERATIONS.items()
        },
        **{name: [{"HTTPBearer": []}] for name in ANY_TOKEN},
        **dict.fromkeys(NO_TOKEN),
    }
    assert found == needed


@pytest.mark.parametrize(("method", "path", "scope"), PATHS)
async def test_all_other_scopes_together_are_refused_by_the_name_of_the_missing_one(
    caller: Caller, method: str, path: str, scope: str
) -> None:
    before = await caller.counts()
    headers = caller.only(*(other for other in SCOPES if other != scope))
    answer = await caller.http.request(method, path, headers=headers)
    body = problem(answer, 403, "insufficient-scope")
    assert body["scope"] == scope
    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert await caller.counts() == before


@pytest.mark.parametrize(("method", "path", "scope"), PATHS)
async def test_without_a_token_nothing_is_answered(caller: Caller, method: str, path: str, scope: str) -> None:
    del caller.http.headers["Authorization"]
    answer = await caller.http.request(method, path)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_forged_expired_and_garbled_tokens_are_refused(caller: Caller, settings: Settings) -> None:
    forged = mint(
        Credentials().signing_key,
        issuer=settings.auth.issuer,
        audience=settings.auth.audience,
        subject="mallory",
        tenant_id=uuid.UUID(caller.tenant_id),
        role=Role.OWNER,
        scopes=SCOPES,
        ttl_s=3_600,
        now=datetime.now(UTC),
    )
    expired = caller.token(SCOPES, ttl_s=-3_600)
    for token in (forged, expired, "a.b.c", "x" * 10_000, caller.token(SCOPES)[:-4] + "AAAA"):
        answer = await caller.http.get("/v1/vaults", headers={"Authorization": f"Bearer {token}"})
        problem(answer, 401, "unauthenticated")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_another_tenants_ids_are_as_unknown_as_made_up_ones(caller: Caller, stranger: Caller) -> None:
    vault_id = await caller.vault()
    hook = {"label": "Bob", "webhook": {"url": "https://follower.example/"}}
    made = await caller.post(f"/v1/vaults/{vault_id}/followers", hook)
    follower_id = made.json()["follower_id"]
    before = await stranger.counts()

    theirs = problem(await stranger.get(f"/v1/vaults/{vault_id}"), 404, "not-found", "vault_id")
    made_up = problem(await stranger.get("/v1/vaults/V_nothing"), 404, "not-found", "vault_id")
    assert theirs["detail"].replace(vault_id, "V_nothing") == made_up["detail"]
    problem(await stranger.get(f"/v1/followers/{follower_id}"), 404, "not-found", "follower_id")
    problem(await stranger.get(f"/v1/vaults/{vault_id}/followers"), 404, "not-found", "vault_id")
    problem(await stranger.post(f"/v1/vaults/{vault_id}/followers", hook), 404, "not-found", "vault_id")
    order = {"vault_id": vault_id, "symbol": "AAPL", "side": "buy", "qty": "1"}
    problem(await stranger.post("/v1/manager-orders", order), 404, "not-found", "vault_id")
    assert (await stranger.get("/v1/vaults")).json()["items"] == []
    assert await stranger.counts() == before


async def test_a_tenant_that_is_not_registered_can_create_nothing(caller: Caller) -> None:
    caller.tenant_id = str(uuid.uuid4())
    caller.http.headers.update(caller.only(*SCOPES))
    problem(await caller.post("/v1/vaults", {"label": "A"}), 404, "not-found", "id")
