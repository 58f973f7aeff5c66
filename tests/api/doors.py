"""What must not happen at an operation's door, as functions that tell what did, so that they can be tried too."""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api.matrix import Open, Row

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# They differ between any two answers.
_VOLATILE = {"x-request-id", "date", "content-length", "traceparent", "server-timing"}
Table = Mapping[str, Row | Open]


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    scopes: tuple[str, ...]
    queries: tuple[str, ...]

    def request(self, row: Row, ids: Mapping[str, Any]) -> dict[str, Any]:
        """For `httpx.AsyncClient.request`: the row's request with these ids."""
        named = {key: ids[row.ids.get(key, key)] for key in _PLACEHOLDER.findall(self.path)}
        made: dict[str, Any] = {"method": self.method, "url": self.path.format_map(named), "headers": {}}
        if row.query:
            made["params"] = fill(dict(row.query), ids)
        if self.method != "GET":
            made["headers"]["Idempotency-Key"] = uuid.uuid4().hex
        if row.body is not None:
            made["headers"]["Content-Type"] = "application/json"
            made["content"] = json.dumps(fill(row.body, ids))
        return made


def operations(contract: Mapping[str, Any]) -> dict[str, Operation]:
    return {
        operation["operationId"]: Operation(
            operation["operationId"],
            method.upper(),
            path,
            tuple(scope for one in operation.get("security", []) for scopes in one.values() for scope in scopes),
            tuple(p["name"] for p in operation.get("parameters", []) if p["in"] == "query"),
        )
        for path, methods in contract["paths"].items()
        for method, operation in methods.items()
    }


def disagreements(contract: Mapping[str, Any], table: Table) -> list[str]:
    """Operations without a row, rows without an operation, and scopes that the two tell differently."""
    found = operations(contract)
    faults = [f"{name} has no row in tests/api/matrix.py" for name in found if name not in table]
    faults += [f"{name} has a row and is no operation" for name in table if name not in found]
    for name, row in table.items():
        said = found[name].scopes if name in found else None
        expected = () if isinstance(row, Open) else row.scopes
        if said is not None and said != expected:
            faults.append(f"{name} asks for {said or 'nothing'}, its row says {expected or 'open'}")
    return faults


def fill(value: Any, ids: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: fill(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, ids) for item in value]
    whole = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    return ids[whole[1]] if whole else value


def foreign_ids(operation: Operation, row: Row) -> list[str]:
    """The names of the ids in the row's request that another tenant could hold."""
    in_path = [row.ids.get(key, key) for key in _PLACEHOLDER.findall(operation.path)]
    in_body = _PLACEHOLDER.findall(json.dumps([row.body, dict(row.query)]))
    return [name for name in dict.fromkeys([*in_path, *in_body]) if name != "which"]


def unknown(value: Any) -> Any:
    """An id of the same form that nobody has."""
    if isinstance(value, int):
        return 2**53 - 1
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return str(uuid.uuid4())
    head = value[: value.index("-") + 1] if "-" in value else value[:2]
    return (head + uuid.uuid4().hex * 3)[: len(value)]


async def leaks(
    http: httpx.AsyncClient,
    operation: Operation,
    row: Row,
    own: Mapping[str, Any],
    victim: Mapping[str, Any],
    marks: Iterable[str],
) -> list[str]:
    """What the caller behind `http` learns of the victim's entities, by each id in turn and all at once.

    `marks` are texts of the victim that no answer may hold.
    """
    names, faults = foreign_ids(operation, row), []
    for chosen in [[name] for name in names] + ([names] if len(names) > 1 else []):
        theirs = {name: victim[name] for name in chosen}
        made_up = {name: unknown(value) for name, value in theirs.items()}
        answers = [await http.request(**operation.request(row, {**own, **ids})) for ids in (theirs, made_up)]
        faults += list(_differences(chosen, answers, theirs, made_up))
        in_path = any(row.ids.get(key, key) in chosen for key in _PLACEHOLDER.findall(operation.path))
        if in_path and answers[0].status_code != 404:
            faults.append(f"{chosen}: {answers[0].status_code} where 404 is due: {answers[0].text[:200]}")
        faults += [f"{chosen}: the answer holds {mark!r}" for mark in marks if mark in _without(answers[0], theirs)]
    return faults


def _differences(
    chosen: list[str], answers: list[httpx.Response], theirs: Mapping[str, Any], made_up: Mapping[str, Any]
) -> Iterator[str]:
    one, other = answers
    if one.status_code != other.status_code:
        yield f"{chosen}: {one.status_code} for another tenant's, {other.status_code} for an unknown one"
    if _without(one, theirs) != _without(other, made_up):
        yield f"{chosen}: another tenant's reads otherwise than an unknown one: {one.text[:300]} / {other.text[:300]}"
    if _headers(one) != _headers(other):
        yield f"{chosen}: headers differ: {_headers(one)} / {_headers(other)}"


def _without(answer: httpx.Response, ids: Mapping[str, Any]) -> str:
    text = answer.text.replace(answer.headers.get("x-request-id", "-" * 32), "REQUEST")
    for name, value in ids.items():
        # A number may stand anywhere; it is the id where it is quoted, or its name goes before it.
        for told in (f'"{name}":{value}', f"'{value}'") if isinstance(value, int) else (value,):
            text = text.replace(told, f"<{name}>")
    return text


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name not in _VOLATILE and "ratelimit" not in name.lower()
    }


async def open_doors(
    http: httpx.AsyncClient, request: Mapping[str, Any], tokens: Mapping[str, str | None]
) -> list[str]:
    """Which of the bad `tokens` (None: none at all) is not refused with 401 and the usual document."""
    faults = []
    for kind, token in tokens.items():
        headers = {name: value for name, value in request["headers"].items() if name != "Authorization"}
        if token is not None:
            headers["Authorization"] = token
        answer = await http.request(**{**request, "headers": headers})
        problem = answer.json() if answer.headers.get("content-type") == "application/problem+json" else {}
        challenged = answer.headers.get("www-authenticate", "").startswith("Bearer")
        if answer.status_code != 401 or problem.get("type") != "urn:vanta:problem:unauthenticated" or not challenged:
            faults.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
    return faults
