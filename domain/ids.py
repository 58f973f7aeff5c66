"""Business ids: derived from business identity, so that a repeat meets the first one (ARCHITECTURE, workflow tree)."""

import base64
import hashlib
import re

MAX_CLIENT_ORDER_ID = 48  # what Alpaca, Tradier and Coinbase all take
_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def _digest(*parts: str) -> str:
    """26 characters of base32: 130 bits of SHA-256 over length-prefixed parts, so that no two lists collide."""
    hasher = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        hasher.update(len(raw).to_bytes(4, "big") + raw)
    return base64.b32encode(hasher.digest()).decode()[:26]


def manager_order_id(tenant_id: str, idempotency_key: str) -> str:
    """`M-…` from tenant and idempotency key: the same request is the same order.

    Of requests to the API the key is the caller's own, see `domain.requests.owned_key`.
    """
    return f"M-{_digest('mo', tenant_id, idempotency_key)}"


def follower_order_id(mo_id: str, follower_id: str, leg: int = 0) -> str:
    """`FO-…`, also the broker's client order id: at most 48 characters of `[A-Za-z0-9-]`."""
    return f"FO-{_digest('fo', mo_id, follower_id, str(leg))}"


def reconciliation_id(vault: str, occasion: str) -> str:
    """`R-…` from the vault and what started the run: the same occasion is the same run."""
    return f"R-{_digest('reconciliation', vault, occasion)}"


def correction_id(run_id: str, follower: str, symbol: str) -> str:
    """`M-…`: a run corrects a follower's position in a symbol once."""
    return f"M-{_digest('correction', run_id, follower, symbol)}"


def flatten_id(halt_id: str, vault: str, symbol: str, number: int) -> str:
    """`M-…`: a flatten's exit of a vault's symbol, one for each round."""
    return f"M-{_digest('flatten', halt_id, vault, symbol, str(number))}"


def halt_id(tenant_id: str, idempotency_key: str) -> str:
    """`H-…`, a halt of the whole platform."""
    return f"H-{_digest('halt', tenant_id, idempotency_key)}"


def vault_id(tenant_id: str, label: str, idempotency_key: str) -> str:
    return f"V_{_slug(label)}_{_digest('vault', tenant_id, idempotency_key)[:8].lower()}"


def follower_id(tenant_id: str, label: str, idempotency_key: str) -> str:
    return f"F_{_slug(label)}_{_digest('follower', tenant_id, idempotency_key)[:8].lower()}"


def overlay_id(tenant_id: str, idempotency_key: str) -> str:
    """`OV-…` from tenant and idempotency key: the same request is the same overlay."""
    return f"OV-{_digest('overlay', tenant_id, idempotency_key)}"


def invitation_id(tenant_id: str, idempotency_key: str) -> str:
    return f"INV-{_digest('invitation', tenant_id, idempotency_key)}"


def service_account_id(tenant_id: str, idempotency_key: str) -> str:
    return f"SA-{_digest('service_account', tenant_id, idempotency_key)}"


def api_key_id(tenant_id: str, idempotency_key: str) -> str:
    """Names the key in lists; it has nothing to do with the key itself."""
    return f"KEY-{_digest('api_key', tenant_id, idempotency_key)}"


def subscription_id(tenant_id: str, idempotency_key: str) -> str:
    """`SUB-…` from tenant and idempotency key: the same checkout is the same subscription."""
    return f"SUB-{_digest('subscription', tenant_id, idempotency_key)}"


def invoice_id(subscription: str, occasion: str) -> str:
    """`IN-…`: of an invoice by what it is for, or by its id at the payment system that made it."""
    return f"IN-{_digest('invoice', subscription, occasion)}"


def refund_id(tenant_id: str, idempotency_key: str) -> str:
    """`RF-…` from tenant and idempotency key: the same request gives back once."""
    return f"RF-{_digest('refund', tenant_id, idempotency_key)}"


def billing_difference_id(subscription: str, kind: str, ref: str) -> str:
    """`BD-…`: one as long as it lasts."""
    return f"BD-{_digest('billing_difference', subscription, kind, ref)}"


def webhook_key_ref(follower: str) -> str:
    return f"whk/{follower}"


def is_readable_id(value: str) -> bool:
    return _ID.fullmatch(value) is not None


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:32] or "x"
