"""`vanta openapi`: the API's contract."""

import sys


def openapi() -> None:
    """Print the API's OpenAPI document; `make openapi` writes docs/openapi.json with it."""
    from api.app import openapi as document

    sys.stdout.write(document())
