"""A follower's own people: in by invitation, out when an owner says so."""

from adapters.identity.followers import FollowerAccess
from adapters.store.registry import Registry
from domain.enrolment import NewFollower, NewVault
from domain.requests import Once
from domain.sizing import Mode
from tests.api.auth.conftest import Door
from tests.api.conftest import problem


async def test_a_followers_person_is_out_once_his_access_is_ended_until_he_is_invited_anew(
    door: Door, registry: Registry
) -> None:
    once = (Once("test", f"{n}", "f") for n in range(9))
    vault = await registry.create_vault(door.tenant_id, NewVault("A"), actor="user:test", once=next(once))
    ids = [
        (
            await registry.create_follower(
                door.tenant_id, NewFollower(vault.row.vault_id, label, mode=Mode.SHADOW), actor="user:test",
                once=next(once),
            )
        ).row.follower_id
        for label in ("Bob", "Eve")
    ]  # fmt: skip
    invitation = await door.invite(role="follower", follower_id=ids[0])
    tokens = (await door.log_in(invitation)).json()
    assert (await door.me(tokens)).status_code == 200
    access = FollowerAccess(door.database)
    done = await access.end(door.tenant_id, ids[0], actor="user:test")
    assert (done.people, done.logins_ended) == (1, 1)
    assert not (await access.end(door.tenant_id, ids[0], actor="user:test")).changed
    assert (await door.me(tokens)).status_code == 401
    problem(await door.refresh(tokens["refresh_token"]), 400, "invalid-grant")
    problem(await door.log_in(), 403, "login-refused")
    problem(await door.log_in(invitation), 403, "login-refused")
    problem(await door.log_in(await door.invite(role="follower", follower_id=ids[1])), 403, "login-refused")
    back = (await door.log_in(await door.invite(role="follower", follower_id=ids[0]))).json()
    assert (await door.me(back)).json()["follower_id"] == ids[0]
    assert (await door.log_in()).status_code == 200
    assert [action for action in await door.actions() if action in {"joined", "access_ended", "returned"}] == [
        "joined", "access_ended", "returned",
    ]  # fmt: skip
