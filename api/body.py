"""Request bodies: bounded, JSON only, read exactly. Decimals never pass through a float, nothing is read two ways."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.errors import Problem, from_validation
from domain.errors import InvalidInput

MAX_DEPTH = 32
_UTF8 = re.compile(r"\bcharset\s*=\s*\"?utf-8\b")
_INT64 = 2**63
_MAX_NUMBER_CHARS = 64
_RAW = "vanta.body"
_M = TypeVar("_M", bound=BaseModel)


async def read_json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """The body as a JSON object, its numbers as int or Decimal.

    Raises Problem 415, 413 or 400, and InvalidInput naming the field for a duplicate name, NaN, a text that no
    database can hold, or nesting beyond MAX_DEPTH.
    """
    require_json(request)
    return parse_object(await read_raw(request, max_bytes))


def parse_object(raw: bytes) -> dict[str, Any]:
    """Raises as `read_json_object` does."""
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise InvalidInput("body", "must be a JSON object")
    return value


def require_json(request: Request) -> None:
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    if kind.strip() != "application/json" or ("charset" in parameters and not _UTF8.search(parameters)):
        raise Problem(415, "unsupported-media-type", "Send Content-Type: application/json.", field="Content-Type")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        detail = "Send the body as it is, without a Content-Encoding."
        headers = {"Accept-Encoding": "identity"}
        raise Problem(415, "unsupported-media-type", detail, field="Content-Encoding", headers=headers)


def parse_json(raw: bytes) -> Any:
    try:
        value = json.loads(
            raw.decode("utf-8"),
            parse_float=_number,
            parse_int=_integer,
            parse_constant=Decimal,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError, InvalidOperation) as error:
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Problem(400, "malformed-json", f"The body is not valid JSON{place}.", field="body") from None
    _check(value, "", 0)
    return value


def json_body(model: type[_M]) -> Callable[[Request], Awaitable[_M]]:
    """A dependency that gives the body as `model`; put it after the caller, so that strangers' bodies stay unread."""

    async def read(request: Request) -> _M:
        try:
            return model.model_validate(await read_json_object(request, request.state.services.max_body_bytes))
        except ValidationError as error:
            raise from_validation(error.errors(include_url=False, include_input=False)) from None

    return read


def documents(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` for an operation whose body is `model`; api.openapi adds the schema itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


async def read_raw(request: Request, max_bytes: int) -> bytes:
    """The body as it came. Kept with the request, as more than one reads it. Raises Problem 413."""
    if _RAW not in request.scope:
        request.scope[_RAW] = await _read(request, max_bytes)
    found: bytes = request.scope[_RAW]
    return found


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = Problem(413, "body-too-large", f"The body must be at most {max_bytes} bytes.", field="body")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _number(text: str) -> Decimal:
    if len(text) > _MAX_NUMBER_CHARS:
        raise ValueError("a number is too long")
    return Decimal(text)


def _integer(text: str) -> int | Decimal:
    number = _number(text)
    return int(number) if -_INT64 <= number < _INT64 else number


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            # Which of two values counts differs between parsers, and so would the order that is placed.
            raise InvalidInput(_shown(name), "appears twice")
        found[name] = value
    return found


def _check(value: Any, path: str, depth: int) -> None:
    field = path or "body"
    if depth > MAX_DEPTH:
        raise InvalidInput(field, f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for name, item in value.items():
            _check_text(name, field)
            _check(item, f"{path}.{_shown(name)}" if path else _shown(name), depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check(item, f"{path}.{number}", depth + 1)
    elif isinstance(value, str):
        _check_text(value, field)
    elif isinstance(value, Decimal) and not value.is_finite():
        raise InvalidInput(field, "must be a finite number")


def _check_text(text: str, field: str) -> None:
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidInput(field, "holds a NUL or half of a surrogate pair, which is no text")


def _shown(name: str) -> str:
    return name[:64].encode("ascii", "backslashreplace").decode()
