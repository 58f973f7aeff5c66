"""A follower's webhook on the wire: its test, and its new signing secret."""

from datetime import datetime

from pydantic import Field

from api.schemas.common import Answer


class WebhookTest(Answer):
    """`ok`: answered 2xx. Else `code` and `detail` say what was wrong. `re_enabled`: this has ended a disabling."""

    delivery_id: str = Field(examples=["TEST-0f7d3c55b2f84c2f9b6a1f0f5d1c2b3a"])
    ok: bool
    code: str = Field(examples=["ack", "no_answer", "http_401", "blocked_address"])
    detail: str
    http_status: int | None
    latency_ms: int = Field(description="From the connection's begin to the answer's end.")
    enabled: bool = Field(description="Whether the endpoint gets orders now.")
    re_enabled: bool


class RotatedSecret(Answer):
    follower_id: str
    version: int
    old_valid_until: datetime = Field(description="Until then every delivery is signed with the old key as well.")
    signing_secret: str | None = Field(default=None, examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    note: str | None = None
