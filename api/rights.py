"""Who may do what, as tables for people: made of the roles and the contract, so that they say what the code does."""

from collections.abc import Iterable
from typing import Any

from domain.access import GRANTABLE, SCOPES, Role, Scope

_HEAD = """# Who may do what

Written by `make openapi` from `domain/access.py` and the contract; a test holds it to them. What the roles are for, and
what else decides: [gateway.md](gateway.md#who-may-do-what).
"""
_BEARER = "HTTPBearer"  # as FastAPI names the scheme
_FOLLOWERS = "FollowerSignature"
_OWN = "own"
_COLUMNS = (*(role.value for role in Role), "program")


def tables(document: dict[str, Any]) -> str:
    """Markdown; `document` is the contract."""
    return f"{_HEAD}\n## Scopes\n\n{_scopes()}\n## Operations\n\n{_operations(document)}"


def _scopes() -> str:
    return _table(("scope", *_COLUMNS), ((f"`{scope}`", *_whose([scope])) for scope in Scope))


def _operations(document: dict[str, Any]) -> str:
    rows = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needed, who = _needed(operation)
            rows.append((f"`{operation['operationId']}`", f"`{method.upper()} {path}`", needed, *who))
    return _table(("operation", "", "needs", *_COLUMNS), rows)


def _needed(operation: dict[str, Any]) -> tuple[str, list[str]]:
    """In words, and for each column whether it has that."""
    if "security" not in operation:
        return "nothing", ["yes"] * len(_COLUMNS)
    if all(_BEARER not in one for one in operation["security"]):
        of_followers = any(_FOLLOWERS in one for one in operation["security"])
        return "a signature", [_OWN if of_followers and role is Role.FOLLOWER else "" for role in Role] + [""]
    scopes = [scope for one in operation["security"] for scope in one.get(_BEARER, ())]
    if not scopes:
        return "a token", ["yes"] * len(_COLUMNS)
    return " or ".join(f"`{scope}`" for scope in scopes), _whose(scopes)


def _whose(any_of: Iterable[str]) -> list[str]:
    """For each column whether it has one of the scopes: what only a follower has is good for what is his own."""
    of = [*(SCOPES[role] for role in Role), GRANTABLE]
    names = set(any_of)
    return [(_OWN if have & names == {Scope.FOLLOWER_SELF} else "yes") if have & names else "" for have in of]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
