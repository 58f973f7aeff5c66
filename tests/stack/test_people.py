"""Who can log in on the embedded stack without being invited."""

import httpx
import psycopg
import pytest

from settings import Settings
from stack import Stack
from stack.environment import oidc_issuer
from stack.people import FOLLOWER, PEOPLE, TENANT
from tests.conftest import owner_dsn


@pytest.fixture
def issuer(stack: Stack) -> str:
    stack.start_login()
    return oidc_issuer(stack.ports())


def test_the_provider_names_itself_by_its_address(stack: Stack, issuer: str):
    document = httpx.get(f"{issuer}/.well-known/openid-configuration").json()
    assert document["issuer"] == issuer
    assert {c.name: c.address for c in stack.state().components}["oidc"] == issuer
    assert "Warning" not in stack.layout.log("oidc").read_text()


def test_its_people_are_members_and_a_follower_of_one_tenant_and_may_be_settled_again(
    stack: Stack, settings: Settings, issuer: str
):
    def there() -> list[tuple[object, ...]]:
        with psycopg.connect(owner_dsn(settings)) as connection:
            found = connection.execute(
                """
                SELECT i.subject, i.tenant_id::text, u.role, u.email, i.follower_id,
                  (SELECT count(*) FROM audit_events e WHERE e.tenant_id = i.tenant_id)
                FROM identities i LEFT JOIN users u USING (user_id)
                WHERE i.issuer = %s ORDER BY i.created_at, i.subject
                """,
                [issuer],
            )
            return found.fetchall()

    first = there()
    members = {row[0]: row[2] for row in first if row[4] is None}
    assert members == {"owner": "owner", "ops": "ops", "auditor": "auditor"}
    assert {row[0]: row[4] for row in first if row[4]} == {"follower": FOLLOWER}
    assert {row[1] for row in first} == {TENANT}
    assert len(first) == len(PEOPLE)
    stack.bootstrap()
    assert there() == first
