"""From a checked NewVault or NewFollower to its row, and what of it may be told."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from adapters.secretbox import SecretBox
from domain import ids
from domain.credentials import line_of, to_seal
from domain.enrolment import (
    CONVERTING_VENUES,
    NO_CONVERSION,
    BrokerAccount,
    ConfirmBy,
    FollowerSettings,
    NewFollower,
    NewVault,
    VaultSettings,
    public_url,
)
from domain.errors import InvalidInput
from domain.ports import BrokerCredentials
from domain.reconciliation import Policy
from domain.sizing import Mode, plain
from models import Follower, Vault

_S = TypeVar("_S", FollowerSettings, VaultSettings)


def credential_ref(follower_id: str, venue: str) -> str:
    return f"cred/{follower_id}/{venue}"


def credentials_of(ref: str, account: BrokerAccount) -> BrokerCredentials:
    return BrokerCredentials(
        ref, account.key_id, account.secret, account.environment, account.refresh_token, account.expires_at
    )


def sealed_columns(box: SecretBox, credentials: BrokerCredentials) -> dict[str, Any]:
    """The columns of a credential that follow from its value."""
    key_id, sealed = box.seal(to_seal(credentials), aad=credentials.ref)
    return {
        "key_id": key_id,
        "sealed": sealed,
        "line": line_of(credentials),
        "expires_at": credentials.expires_at,
        "refreshes": credentials.refresh_token is not None,
    }


def vault_row(tenant_id: str, new: NewVault, key: str) -> Vault:
    return Vault(
        vault_id=new.vault_id or ids.vault_id(tenant_id, new.label, key),
        tenant_id=UUID(tenant_id),
        label=new.label,
        rails=list(new.rails),
        personas=list(new.personas),
        risk_profile=exact(new.risk_profile),
        public=new.public,
        nav_usd=new.nav_usd,
        cash_usd=new.nav_usd,
        nav_told_usd=new.nav_usd,
        nav_asof=None if new.nav_usd is None else datetime.now(UTC),
    )


def follower_row(tenant_id: str, new: NewFollower, key: str) -> Follower:
    follower_id = new.follower_id or ids.follower_id(tenant_id, new.label, key)
    bridged: dict[str, Any] = {
        f"{rail}_ref": credential_ref(follower_id, account.venue)
        for rail, account in (("equities", new.equities), ("crypto", new.crypto))
        if account is not None
    }
    if new.crypto is not None and new.crypto.convert:
        bridged["crypto_convert"] = True
    webhook: dict[str, Any] | None = None
    if new.webhook_url is not None:
        webhook = {"url": new.webhook_url, "hmac_key_ref": ids.webhook_key_ref(follower_id)}
        if new.confirm_by is not ConfirmBy.ACK:
            webhook["confirm_by"] = new.confirm_by.value
    return Follower(
        follower_id=follower_id,
        tenant_id=UUID(tenant_id),
        subscriber_tenant_id=UUID(new.subscriber_tenant_id or tenant_id),
        vault_id=new.vault_id,
        mode=new.mode.value,
        scale=new.scale,
        max_pos_usd=new.max_pos_usd,
        kill_switch=new.kill_switch,
        fractional=new.fractional,
        persona=new.persona,
        allow_short=new.allow_short,
        webhook=webhook,
        bridged_brokers=bridged or None,
    )


def follower_event(follower: Follower) -> dict[str, Any]:
    payload = follower.model_dump(mode="json", exclude={"tenant_id"})
    if follower.webhook is not None:
        payload["webhook"] = {**follower.webhook, "url": public_url(follower.webhook["url"])}
    return payload


def follower_settings(follower: Follower) -> FollowerSettings:
    return FollowerSettings(
        Mode(follower.mode),
        follower.scale,
        follower.max_pos_usd,
        follower.kill_switch,
        follower.persona,
        follower.allow_short,
        Policy(follower.reconcile_policy),
        convert=bool((follower.bridged_brokers or {}).get("crypto_convert")),
        confirm_by=ConfirmBy((follower.webhook or {}).get("confirm_by", ConfirmBy.ACK)),
    )


def check_route(follower: Follower, after: FollowerSettings) -> None:
    """Raises InvalidInput for settings of a webhook or an account that the follower does not have."""
    if after.confirm_by is ConfirmBy.CALLBACK and follower.webhook is None:
        raise InvalidInput("confirm_by", "is for followers with a webhook")
    check_convert(follower, after)


def check_convert(follower: Follower, after: FollowerSettings) -> None:
    """Raises InvalidInput where there is no account that could change money."""
    venue = str((follower.bridged_brokers or {}).get("crypto_ref", "")).rpartition("/")[2]
    if after.convert and venue not in CONVERTING_VENUES:
        raise InvalidInput("convert", NO_CONVERSION)


def settings_columns(follower: Follower, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The changed settings by the columns that they are kept in."""
    kept = {name: value.value if isinstance(value, Enum) else value for name, value in changed.items()}
    if "convert" in kept:
        kept["bridged_brokers"] = {**(follower.bridged_brokers or {}), "crypto_convert": kept.pop("convert")}
    if "confirm_by" in kept:
        kept["webhook"] = {**(follower.webhook or {}), "confirm_by": kept.pop("confirm_by")}
    return kept


def vault_settings(vault: Vault) -> VaultSettings:
    return VaultSettings(vault.label, tuple(vault.personas), vault.risk_profile, vault.public)


def changed_settings(before: _S, after: _S) -> dict[str, Any]:
    """The settings that are not what they were, by name, in the form in which they are stored."""
    names = [f.name for f in fields(after) if getattr(after, f.name) != getattr(before, f.name)]
    return {name: getattr(after, name) for name in names}


def settings_changes(before: FollowerSettings | VaultSettings, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Each changed setting with what it was and what it is."""
    return {name: {"from": exact(getattr(before, name)), "to": exact(value)} for name, value in changed.items()}


def exact(value: Any) -> Any:
    """Decimals as strings at any depth: a JSON number would pass through a float in somebody's parser."""
    if isinstance(value, Mapping):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return plain(value) if isinstance(value, Decimal) else value
