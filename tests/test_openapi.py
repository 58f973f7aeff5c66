"""The contract: as the code is, whole, and with an example of everything that a client sends or hears."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from api.app import openapi
from api.examples import Examples, NoExample
from api.rights import tables
from domain.access import Scope
from stack.files import ROOT

TEXT = openapi()
CONTRACT: dict[str, Any] = json.loads(TEXT)
SCHEMAS = CONTRACT["components"]["schemas"]
PROBLEM = "application/problem+json"
OPERATIONS = {
    operation["operationId"]: (path, method, operation)
    for path, methods in CONTRACT["paths"].items()
    for method, operation in methods.items()
}
ANY_TOKEN = {"get_me", "list_plans", "log_out"}
SIGNED = {"confirm_follower_order", "receive_stripe_event", "receive_btcpay_event"}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


def faults(value: Any, schema: Any) -> list[str]:
    """What is wrong with the value, references being those of the contract."""
    whole = {**schema, "components": CONTRACT["components"]}
    return [error.message for error in OAS31Validator(whole).iter_errors(value)]


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON bodies of an operation: its own, and those of the answers that are no problems."""
    found = {"body": operation.get("requestBody", {}), **operation["responses"]}
    for name, part in found.items():
        if "application/json" in part.get("content", {}):
            yield name, part["content"]["application/json"]


def test_the_committed_contract_is_the_one_of_the_code():
    committed = (ROOT / "docs" / "openapi.json").read_text("utf-8")
    assert committed == TEXT, "the API has changed; run `make openapi`, and look at what the difference does to clients"


def test_the_committed_tables_of_who_may_do_what_are_those_of_the_code():
    committed = (ROOT / "docs" / "access.md").read_text("utf-8")
    assert committed == tables(CONTRACT), "run `make openapi`, and look at whom the difference lets in"


def test_no_two_operations_share_an_id():
    assert len(OPERATIONS) == sum(len(methods) for methods in CONTRACT["paths"].values())


@every_operation
def test_an_operation_is_named_and_described(name: str):
    _, _, operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name), "verb_noun in snake case, for generated clients"
    assert operation["summary"]
    assert operation.get("description"), f"{name} needs a docstring"
    assert operation["tags"]


@every_operation
def test_every_body_and_answer_has_an_example_that_its_schema_allows(name: str):
    _, _, operation = OPERATIONS[name]
    for part, content in contents(operation):
        if "example" not in content:
            try:
                Examples(SCHEMAS).of(content["schema"])
            except NoExample as missing:
                pytest.fail(f"{name} {part}: give {missing} examples, or its name a value in api/examples.py")
        assert faults(content["example"], content["schema"]) == [], (part, content["example"])


@every_operation
def test_every_answer_says_what_it_holds(name: str):
    _, _, operation = OPERATIONS[name]
    good = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
    assert good
    for status, answer in good.items():
        if status != "204":
            assert any(content.get("schema") for content in answer["content"].values()), (name, status)


@every_operation
def test_an_operation_tells_its_scope_and_the_problems_that_follow(name: str):
    path, _, operation = OPERATIONS[name]
    answers = operation["responses"]
    for status, answer in answers.items():
        if status[0] in "45" and PROBLEM in answer.get("content", {}):
            assert answer["content"][PROBLEM]["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
            assert answer["content"][PROBLEM]["example"]["status"] == int(status)
    needed = set()
    if name in SIGNED:
        # An unknown order gives 401 as well: it must not show. Of payment systems' events, whatever is wrong is 400.
        needed = {"401"} if name == "confirm_follower_order" else {"400"}
    elif "security" in operation:
        for alternative in operation["security"]:
            ((_scheme, scopes),) = alternative.items()
            assert scopes or name in ANY_TOKEN, f"{name} names no scope"
            assert set(scopes) <= set(Scope)
        needed |= {"401", "403"}
        needed |= {"404"} if re.search(r"\{\w+\}", path) else set()
    for status in needed:
        assert PROBLEM in answers.get(status, {}).get("content", {}), f"{name} does not document {status}"


def test_every_schema_has_a_name_that_clients_can_carry():
    assert [name for name in SCHEMAS if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", name)] == []
    anonymous = [
        f"{name} {part}"
        for name, (_, _, operation) in OPERATIONS.items()
        for part, content in contents(operation)
        if "$ref" not in content.get("schema", {"$ref": ""})
    ]
    assert anonymous == []
    inline = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, part in schema.get("properties", {}).items()
        if "properties" in part or "properties" in part.get("items", {})
    ]
    assert inline == []


def test_the_examples_of_schemas_are_allowed_by_them():
    wrong = {
        name: found
        for name, schema in SCHEMAS.items()
        for example in schema.get("examples", [])
        if (found := faults(example, schema))
    }
    assert wrong == {}


def test_a_field_without_an_example_is_named():
    with pytest.raises(NoExample, match=r"Thing\.unheard_of"):
        Examples({"Thing": {"type": "object", "properties": {"unheard_of": {"type": "string"}}}}).of(
            {"$ref": "#/components/schemas/Thing"}
        )
