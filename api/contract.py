"""The contract: one OpenAPI document, the same in every profile, with an example of every body and every answer.

`docs/openapi.json` is what `rendered` gives. Change routes and schemas, never the file: `make openapi` writes it.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import repeats
from api.errors import MEDIA_TYPE
from api.examples import Examples, NoExample, problem
from api.schemas.auth import TokenBody
from api.schemas.common import ProblemDocument, Request
from api.schemas.live import EVENTS

_REF = "#/components/schemas/"
_JSON = "application/json"
Document = dict[str, Any]


def document_of(app: FastAPI) -> Document:
    """Raises KeyError for a body that is no `Request`."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({name: schema for name, schema in _bodies().items() if name not in schemas})
        made["components"]["schemas"] = {name: schemas[name] for name in sorted(_reachable(made["paths"], schemas))}
        made = _plainly_named(made)
        repeats.document(made)
        _honest_parameters(made)
        _add_examples(made)
        app.openapi_schema = made
    return app.openapi_schema


def rendered(document: Document) -> str:
    """Sorted and indented, so that a change of the contract is a small difference of text."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _bodies() -> dict[str, Any]:
    """What FastAPI does not know by itself: api.body reads bodies, api.errors makes problems, api.watching events."""
    models: list[type[BaseModel]] = [ProblemDocument, TokenBody, *EVENTS, *_subclasses(Request)]
    _, made = models_json_schema([(model, "validation") for model in models], ref_template=_REF + "{model}")
    found: dict[str, Any] = made["$defs"]
    return found


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in model.__subclasses__():
        yield below
        yield from _subclasses(below)


def _plainly_named(document: Document) -> Document:
    """`VaultPage` in place of `Page_Vault_`: clients are generated from these names."""
    text = json.dumps(document)
    for name, schema in document["components"]["schemas"].items():
        plain = schema["title"] if name.endswith("_") else name
        text = text.replace(f'"{_REF}{name}"', f'"{_REF}{plain}"').replace(f'"{name}": {{', f'"{plain}": {{')
    renamed: Document = json.loads(text)
    return renamed


def _honest_parameters(document: Document) -> None:
    """No query and no header can hold a null."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                options = [option for option in schema.pop("anyOf", ()) if option != {"type": "null"}]
                if len(options) > 1:
                    schema["anyOf"] = options
                for option in options[:1] if len(options) == 1 else ():
                    schema.update(option)
                parameter["required"] = parameter.get("required", False)


def _reachable(node: Any, schemas: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    left = list(_refs(node))
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _refs(schemas[name])
    return found


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        ref = node.get("$ref")
        if isinstance(ref, str):
            yield ref.removeprefix(_REF)
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from _refs(value)


def _add_examples(document: Document) -> None:
    examples = Examples(document["components"]["schemas"])
    for methods in document["paths"].values():
        for operation in methods.values():
            parts = {"0": operation.get("requestBody", {}), **operation["responses"]}
            for status, content in ((name, part.get("content", {})) for name, part in parts.items()):
                if MEDIA_TYPE in content:
                    content[MEDIA_TYPE].setdefault("example", problem(int(status)))
                if content.get(_JSON, {}).get("schema"):
                    with suppress(NoExample):  # a test of the contract names the field
                        content[_JSON].setdefault("example", examples.of(content[_JSON]["schema"]))
