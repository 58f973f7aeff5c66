"""The API against its own contract: what schemathesis makes of it, all checks, on a real socket and a real Postgres."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import httpx
import hypothesis
import pytest
import schemathesis
import uvicorn
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test
from schemathesis.schemas import APIOperation

from adapters.store.database import Database
from adapters.store.registry import Registry
from api.app import open_logins, openapi
from domain.access import Scope
from settings import OidcSettings, Settings
from stack.dev_token import dev_token
from tests.adapters.identity.provider import CLIENT_ID, hostile_provider
from tests.api.conftest import Caller, FakeFlips, WithState
from tests.api.entities import Tenant, tenant
from tests.api.matrix import TABLE, Row

CONTRACT = json.loads(openapi())
CONFIG = {
    "generation": {"deterministic": True},
    "checks": {
        # JSON Schema has no words for what 422 refuses of a well-formed request: a cursor that is none of ours, one
        # field that needs another, an address that is not public, an order that a guard refuses. That each of these
        # answers names what is wrong is checked below in its place. 400 is what OAuth has for a code or a refresh token
        # that is well-formed and worth nothing (RFC 6749, 5.2).
        "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", "400", "401", "403", "404", "409", "422"]},
        # 413, 414 and 431 are refusals as well: of what is too long, before its fields are read.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "403", "404", "405", "409", "413", "414", "415", "422", "431"]
        },
    },
}
SCHEMA = schemathesis.openapi.from_dict(CONTRACT, config=SchemathesisConfig.from_dict(CONFIG))
FOUND: list[Any] = [cast("Any", result).ok() for result in SCHEMA.get_all_operations()]
OPERATIONS = {operation.definition.raw["operationId"]: operation for operation in FOUND}
AT_LEAST = 2_000
WRITTEN, MADE_UP = 30, 12  # examples of the contract and of its edges, of an operation; and random ones
SETTINGS = hypothesis.settings(
    max_examples=MADE_UP, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)  # fmt: skip
_KEY = "Idempotency-Key"


@dataclass(frozen=True)
class Server:
    url: str
    headers: dict[str, str]
    tenant: Tenant


@pytest.fixture(scope="session")
async def server(
    client: httpx.AsyncClient, database: Database, registry: Registry, settings: Settings
) -> AsyncIterator[Server]:
    """The application of the other tests behind a socket, with a provider to log in at."""
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Tried", actor="user:test")
    scopes = " ".join(sorted(set(Scope) - {Scope.ADMIN}))
    token = dev_token(settings, tenant_id=uuid.UUID(tenant_id), role="owner", scopes=scopes)
    headers = {"Authorization": f"Bearer {token}"}
    http = httpx.AsyncClient(transport=client._transport, base_url=client.base_url, headers=headers)
    made = await tenant(Caller(tenant_id, http, database, settings), "Tried")
    within = cast("WithState", cast("httpx.ASGITransport", client._transport).app)
    async with hostile_provider() as provider:
        oidc = OidcSettings(issuer=provider.issuer, client_id=CLIENT_ID, redirect_uris=["http://127.0.0.1:9/callback"])
        async with open_logins(settings.model_copy(update={"oidc": oidc}), database) as logins:
            app = WithState(within._app, {"services": replace(within._state["services"], logins=logins)})
            running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None))
            running.capture_signals = nullcontext  # type: ignore[method-assign,assignment]  # pytest has its own
            serving = asyncio.create_task(running.serve())
            while not running.started:
                await asyncio.sleep(0.01)
            port = running.servers[0].sockets[0].getsockname()[1]
            yield Server(f"http://127.0.0.1:{port}", headers, made)
            running.should_exit = True
            await serving


@pytest.mark.timeout(900)
async def test_the_api_does_what_its_contract_says(server: Server, flips: FakeFlips) -> None:
    """All operations in one test, so that their examples are counted whatever process runs the others."""
    tried: Counter[str] = Counter()
    faults: list[BaseException] = []
    for name in OPERATIONS:
        try:
            await _try(server, tried, flips, name)
        except (Exception, BaseExceptionGroup) as fault:  # noqa: BLE001  told below, with all the others
            fault.add_note(f"operation {name}")
            faults.append(fault)
    if faults:
        raise BaseExceptionGroup("the API breaks its contract", faults)
    assert sum(tried.values()) >= AT_LEAST, tried


async def _try(server: Server, tried: Counter[str], flips: FakeFlips, name: str) -> None:
    flips.scopes |= {server.tenant.ids[key]: server.tenant.tenant_id for key in ("overlay_id", "ending_overlay_id")}

    def check(case: Case[Any]) -> None:
        tried[name] += 1
        _as_it_happens(case, server.tenant.ids, TABLE[name], own=tried[name] % 2 == 1)
        answer = case.call_and_validate(base_url=server.url, headers=server.headers)
        if answer.status_code == 422:
            assert {"type", "detail", "request_id"} <= answer.json().keys(), answer.text
            assert answer.json().get("field") or answer.json().get("code"), answer.text

    await asyncio.to_thread(_tried_by(check, OPERATIONS[name]))


def _tried_by(check: Callable[[Case[Any]], None], operation: APIOperation[Any, Any, Any, Any]) -> Callable[[], None]:
    """A Hypothesis test of schemathesis's making, with an even choice of the cases that it writes out."""
    config = HypothesisTestConfig(project=SCHEMA.config, modes=list(HypothesisTestMode), settings=SETTINGS)
    test: Any = create_test(operation=operation, test_func=check, config=config)
    written = getattr(test, "hypothesis_explicit_examples", [])
    step = max(1, -(-len(written) // WRITTEN))
    test.hypothesis_explicit_examples = written[::step]
    made: Callable[[], None] = test
    return made


def _as_it_happens(case: Case[Any], ids: dict[str, Any], row: object, *, own: bool) -> None:
    """Random ids find nothing and repeated keys are refused: where they are sound, some are the tenant's `own`."""
    named = row.ids if isinstance(row, Row) else {}
    if own and isinstance(case.path_parameters, dict) and _sound(case, ParameterLocation.PATH):
        case.path_parameters |= {
            key: ids[named.get(key, key)] for key in case.path_parameters if named.get(key, key) in ids
        }
    if _KEY in case.headers and _sound(case, ParameterLocation.HEADER):
        case.headers[_KEY] = uuid.uuid4().hex


def _sound(case: Case[Any], where: ParameterLocation) -> bool:
    """Whether that part of the request is as the contract wants it."""
    part = case.meta.components.get(where) if case.meta else None
    return part is None or part.mode is GenerationMode.POSITIVE
