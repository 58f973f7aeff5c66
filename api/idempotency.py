"""Idempotency-Key, for every operation that changes something: asked for, reserved, and its answer given again.

A request passes `begin` once it is known who asks and that he may; its answer passes `Idempotency` on the way out.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body import parse_json, read_raw
from api.errors import Problem
from api.repeats import CHANGING, HEADER, NOT_IN_TABLE, Rule, needs_key, rule_of
from api.services import Services
from domain.access import Principal
from domain.errors import InvalidInput, RequestInFlight
from domain.requests import Answer, Asked, owned_key

REPLAY = "Idempotent-Replay"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_HELD = "vanta.idempotency"
_ACCEPTED = 202


class Replayed(Exception):
    """An earlier request under the key was answered; this is its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("replayed")
        self.answer = answer


async def on_replayed(_request: Request, error: Exception) -> Response:
    """The exception handler."""
    assert isinstance(error, Replayed)
    answer = error.answer
    headers = {REPLAY: "true", **({"Location": answer.location} if answer.location else {})}
    return Response(answer.body, answer.status, headers, answer.content_type)


@dataclass(slots=True)
class _Exchange:
    """One request that changes something, and what is held of its answer until that is kept."""

    services: Services | None = None
    claim: Any = None
    rule: Rule = NOT_IN_TABLE
    key: str | None = None
    begun: bool = False
    start: Message | None = None
    body: bytearray = field(default_factory=bytearray)


def key_of(request: Request) -> str:
    """The caller's key as ids and `Once` take it. Raises Problem 400 where a route needs one and there is none."""
    held = request.scope.get(_HELD)
    if held is None or held.key is None:
        raise _missing()
    key: str = held.key
    return key


async def begin(request: Request, services: Services, caller: Principal) -> None:
    """Reserve the key for this request, once it is clear that `caller` may make it.

    Raises Problem 400 for a key that is missing or none, Replayed, RequestInFlight, IdempotencyKeyReused, Problem 413,
    and for operations that move money StoreUnavailable where neither Redis nor Postgres answers.
    """
    held: _Exchange | None = request.scope.get(_HELD)
    if held is None or held.begun:
        return
    held.begun = True
    operation = getattr(request.scope.get("route"), "operation_id", None) or ""
    held.rule = rule = rule_of(operation)
    key = _given(request, needed=needs_key(request.method, rule)) if rule.asked else None
    if key is None:
        return
    held.key = owned_key(caller.actor, key)
    fingerprint = await _fingerprint(request, services.max_body_bytes)
    asked = Asked(caller.tenant_id, caller.actor, operation, key, fingerprint)
    try:
        found = await services.answers.claim(asked, guarded=rule.money)
    except RequestInFlight:
        if not rule.urgent:
            raise
        return
    if isinstance(found, Answer):
        raise Replayed(found)
    held.services, held.claim = services, found


def _given(request: Request, *, needed: bool) -> str | None:
    given = request.headers.getlist(HEADER)
    if not given and not needed:
        return None
    if len(given) != 1 or _KEY.fullmatch(given[0]) is None:
        raise _missing()
    return given[0]


def _missing() -> Problem:
    detail = f"Send an {HEADER} of 1 to 255 visible ASCII characters; repeat a request under the same one."
    return Problem(400, "idempotency-key-missing", detail, field=HEADER)


async def _fingerprint(request: Request, max_bytes: int) -> str:
    """SHA-256 of method, path, query and body; a JSON body in a canonical form, whatever its spacing and order."""
    raw = await read_raw(request, max_bytes)
    try:
        canonical = orjson.dumps(parse_json(raw), option=orjson.OPT_SORT_KEYS, default=str)
    except (Problem, InvalidInput, TypeError):
        canonical = raw  # bad JSON, which the route refuses
    parts = (request.method, request.scope["path"], request.url.query)
    return hashlib.sha256(orjson.dumps(parts) + b"\n" + canonical).hexdigest()


class Idempotency:
    """Holds the answer of a request that has a key until it is kept: a repeat that comes after it finds it there.

    What is kept is a success that is final. A refusal is not: nothing has changed, the route says it again, or not any
    more. An answer that was not reached (500, a time-out, a client that left) frees the key for another try.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in CHANGING:
            await self._app(scope, receive, send)
            return
        held = scope[_HELD] = _Exchange()

        async def answer(message: Message) -> None:
            if held.claim is None:
                await send(message)
                return
            whole = _add(held, message)
            if whole is not None:
                await self._finish(held, whole)
                start, body = held.start, bytes(held.body)
                assert start is not None
                await send(start)
                await send({"type": "http.response.body", "body": body})

        try:
            await self._app(scope, receive, answer)
        finally:
            await self._finish(held, None)

    async def _finish(self, held: _Exchange, answer: Answer | None) -> None:
        """Once, also where this very request is being cancelled: then by a task of its own."""
        services, claim = held.services, held.claim
        if services is None or claim is None:
            return
        held.claim = None
        answers = services.answers
        keeping = answer is not None and _is_kept(held.rule, answer.status)
        ending = answers.complete(claim, answer) if answer and keeping else answers.release(claim)
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        await asyncio.shield(task)


def _is_kept(rule: Rule, status: int) -> bool:
    """202 is no last word: a repeat is how its caller hears that."""
    return rule.kept and 200 <= status < 300 and status != _ACCEPTED


def _add(held: _Exchange, message: Message) -> Answer | None:
    """The answer, once it is whole."""
    if message["type"] == "http.response.start":
        held.start = message
        return None
    held.body += message.get("body", b"")
    if message.get("more_body") or held.start is None:
        return None
    headers = Headers(raw=held.start["headers"])
    kind = headers.get("content-type", "application/json")
    return Answer(held.start["status"], bytes(held.body), kind, headers.get("location"))
