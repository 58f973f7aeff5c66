"""Tokens that say nothing by themselves: random, shown once, and kept as their SHA-256 alone."""

import hashlib
import secrets

_BYTES = 32
# So that people, and scanners for leaked secrets, can tell a key from other tokens.
API_KEY = "vk_"


def new_token(prefix: str = "") -> str:
    """256 random bits, fit for URLs."""
    return prefix + secrets.token_urlsafe(_BYTES)


def digest(token: str) -> str:
    """What is stored: SHA-256 of the whole token, prefix included, in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
