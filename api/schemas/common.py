"""Shapes that every answer shares."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from domain.sizing import plain

# An exact decimal string: a JSON number would pass through a float in somebody's parser.
DecimalStr = Annotated[
    Decimal,
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": "string", "format": "decimal"}),
]


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII)


def _rfc3339(value: object) -> object:
    """Pydantic would take a number as seconds since 1970, and a date as its midnight: times that nobody meant."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise ValueError("must be an RFC 3339 time with its offset, like 2026-01-31T12:00:00Z")


Time = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]


class Answer(BaseModel):
    """Reads the attributes of a row."""

    model_config = ConfigDict(from_attributes=True)


class Request(BaseModel):
    """A misspelt field that is ignored is a request that its author did not mean."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Fault(BaseModel):
    field: str
    reason: str


class ProblemDocument(BaseModel):
    """RFC 9457. `type` is stable; `field` names what to correct; `request_id` is for our support."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:vanta:problem:invalid-input",
                    "title": "A field of the request is wrong",
                    "status": 422,
                    "detail": "qty: must be a finite number above zero",
                    "request_id": "b7e0c1f25d1b4f0c9f6a0f6c0d3e9a51",
                    "field": "qty",
                    "errors": [{"field": "qty", "reason": "must be a finite number above zero"}],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    field: str | None = None
    errors: list[Fault] | None = None
    code: str | None = Field(
        default=None, description="Stable; of `order-refused` the guard's, of `billing-refused` the payment system's."
    )
    entitlement: str | None = Field(default=None, description="Of `not-entitled`: what the plan does not allow.")
    plans: list[str] | None = Field(default=None, description="Of `not-entitled`: those that do, cheapest first.")


_MEANS = {
    400: "Malformed JSON, or no Idempotency-Key",
    401: "No valid access token",
    403: "The token lacks the scope, or the tenant's plan does not allow it; the document names what is missing",
    404: "No such entity in the caller's tenant",
    409: "The entity's state does not allow it, or the first request under the Idempotency-Key is under way",
    413: "The body is too large",
    414: "Path and query are too long",
    415: "The body is not application/json",
    422: "A field is wrong (it is named), the order is refused, or the Idempotency-Key was used for another request",
    429: "Too many requests, or too many of these at once; Retry-After says when to try again",
    431: "The headers are too large",
    503: "A dependency does not answer and nothing was changed; try again",
    504: "No answer in time; whether it was done is not known. Repeat it under the same Idempotency-Key",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of an operation; every operation may answer 401, 403, 414, 422, 429, 431, 503 and 504."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    wanted = sorted({401, 403, 414, 422, 429, 431, 503, 504, *statuses})
    return {status: {"description": _MEANS[status], "content": content} for status in wanted}


WRITES = (400, 413, 415)
