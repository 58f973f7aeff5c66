"""Service accounts and their keys on the wire. A key is in one answer and never again."""

from datetime import datetime

from pydantic import ConfigDict, Field

from api.schemas.common import Answer, Request, Time

KEY_NOTE = "Store it now: only its hash is kept, and nothing shows it again."
UNSHOWN_NOTE = "The key was in the first answer and is not shown again; if it is lost, revoke it and create another."


class NewServiceAccountBody(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "order desk", "scopes": ["orders:read", "orders:write"]}]}
    )

    name: str = Field(min_length=1, max_length=80)
    scopes: list[str] = Field(
        min_length=1,
        max_length=16,
        description="Some of your own; never tenant:manage, admin or follower:self.",
    )


class ServiceAccount(Answer):
    account_id: str = Field(examples=["SA-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    name: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    disabled_at: datetime | None


class NewApiKeyBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"expires_at": "2027-01-31T12:00:00Z"}, {}]})

    expires_at: Time | None = Field(default=None, description="None: it counts until it is revoked.")


class ApiKey(Answer):
    key_id: str = Field(examples=["KEY-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    account_id: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class CreatedApiKey(ApiKey):
    key: str | None = Field(default=None, examples=["vk_Zc9J3yq0bq3vXWm0yTn2Wm0C1m2bYxkq5pZ3c1o8d7E"])
    note: str | None = None
