"""`vanta openapi` and `vanta scopes`: the API's contract, and who may do what of it."""

import json
import sys


def openapi() -> None:
    """Print the API's OpenAPI document; `make openapi` writes docs/openapi.json with it."""
    from api.app import openapi as document

    sys.stdout.write(document())


def scopes() -> None:
    """Print who may do what, as Markdown; `make openapi` writes docs/access.md with it."""
    from api.app import openapi as document
    from api.rights import tables

    sys.stdout.write(tables(json.loads(document())))
