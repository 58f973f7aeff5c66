"""Holds the requests that an adapter made against a vendor's OpenAPI description, and frames against an AsyncAPI one.

The descriptions lie beside the repository and not in it: where they are missing, `needs_reference` skips.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import yaml
from openapi_schema_validator import OAS30Validator, OAS31Validator

REFERENCE = Path(__file__).parents[4] / "shared" / "reference" / "brokers"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the vendors' descriptions are not at hand")
_METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})


class Description:
    """`prefix` is what the adapter's paths carry before the described ones, as the path of the vendor's base URL.

    `exclusive`: properties of bodies that the vendor calls required although they shut each other out.
    """

    def __init__(self, name: str, *, prefix: str = "", exclusive: frozenset[str] = frozenset()) -> None:
        self._document = _parsed(name)
        self._prefix = prefix.rstrip("/")
        self._exclusive = exclusive
        is_31 = str(self._document.get("openapi", "")).startswith("3.1")
        self._validator = (
            OAS31Validator if is_31 else OAS30Validator
        )  # which the AsyncAPI description's `nullable` fits

    def describes(self, method: str, path: str) -> bool:
        return self._operation(method, path) is not None

    def faults(self, request_line: str, body: bytes = b"") -> list[str]:
        """What of a request (`POST /v2/orders?x=1`, as `Canned.seen` has it) the vendor does not describe."""
        method, _, target = request_line.partition(" ")
        parts = urlsplit(target)
        found = self._operation(method, parts.path)
        if found is None:
            return [f"{method} {parts.path} is not described"]
        operation, in_path = found
        parameters = list(self._parameters(operation))
        return [
            *self._query_faults(parameters, parse_qsl(parts.query, keep_blank_values=True)),
            *self._path_faults(parameters, in_path),
            *self._body_faults(operation, body),
        ]

    def schema(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._document["components"]["schemas"][name]
        return found

    def properties(self, schema: str) -> set[str]:
        return set(self.schema(schema)["properties"])

    def value_faults(self, schema: str, value: Any) -> list[str]:
        """What of a value is not as `components.schemas` has it; unknown properties are none of it."""
        return self._against({"$ref": f"#/components/schemas/{schema}"}, value)

    def _operation(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, str]] | None:
        if not path.startswith(self._prefix):
            return None
        rest = path.removeprefix(self._prefix)
        # A path without parameters goes before one that has some, as OpenAPI says.
        for template, item in sorted(self._document["paths"].items(), key=lambda entry: entry[0].count("{")):
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
            match = re.fullmatch(pattern, rest)
            if match is not None and method.lower() in item.keys() & _METHODS:
                shared = {"parameters": [*item.get("parameters", []), *item[method.lower()].get("parameters", [])]}
                return item[method.lower()] | shared, {k: unquote(v) for k, v in match.groupdict().items()}
        return None

    def _parameters(self, operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return (self._resolved(parameter) for parameter in operation["parameters"])

    def _query_faults(self, parameters: list[dict[str, Any]], query: list[tuple[str, str]]) -> list[str]:
        known = {p["name"]: p for p in parameters if p["in"] == "query"}
        given: dict[str, list[str]] = {}
        for name, text in query:
            given.setdefault(name, []).append(text)
        faults = [f"query {name} is not described" for name in given.keys() - known.keys()]
        faults += [f"query {name} is missing" for name, p in known.items() if p.get("required") and name not in given]
        for name in given.keys() & known.keys():
            schema = self._resolved(known[name]["schema"])
            is_list = schema.get("type") == "array"
            if not is_list and len(given[name]) > 1:
                faults.append(f"query {name} is given {len(given[name])} times")
            item = self._resolved(schema.get("items", {})) if is_list else schema
            values = [_typed(text, item) for text in given[name]]
            faults += [f"query {name}: {fault}" for fault in self._against(schema, values if is_list else values[0])]
        return faults

    def _path_faults(self, parameters: list[dict[str, Any]], given: dict[str, str]) -> list[str]:
        rules = {p["name"]: self._resolved(p["schema"]) for p in parameters if p["in"] == "path"}
        return [
            f"path {name}: {fault}"
            for name, text in given.items()
            for fault in self._against(rules.get(name, {}), _typed(text, rules.get(name, {})))
        ]

    def _body_faults(self, operation: Mapping[str, Any], body: bytes) -> list[str]:
        described = self._resolved(operation.get("requestBody", {}))
        if not described:
            return ["no body is described"] if body else []
        if not body:
            return ["the body is missing"] if described.get("required") else []
        try:
            value = json.loads(body)
        except ValueError:
            return ["the body is no JSON"]
        schema = described["content"]["application/json"]["schema"]
        known = self._resolved(schema).get("properties")
        faults = [f"body: {name} is not described" for name in value.keys() - known.keys()] if known else []
        return faults + [f"body: {fault}" for fault in self._against(self._without_exclusive(schema), value)]

    def _without_exclusive(self, schema: dict[str, Any]) -> dict[str, Any]:
        resolved = self._resolved(schema)
        needed = [name for name in resolved.get("required", []) if name not in self._exclusive]
        return {name: rule for name, rule in resolved.items() if name != "required"} | (
            {"required": needed} if needed else {}
        )

    def _against(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        whole = {**schema, "components": self._document.get("components", {})}
        validator = self._validator(whole, format_checker=self._validator.FORMAT_CHECKER)
        return [f"{'.'.join(map(str, e.path)) or 'it'}: {e.message}" for e in validator.iter_errors(value)]

    def _resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            found: Any = self._document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part


@cache
def _parsed(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((REFERENCE / name).read_text())
    return parsed


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A query's or path's text as the JSON value that its schema speaks of."""
    if schema.get("type") in {"integer", "number", "boolean"}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
