"""A follower order's sizing trace in a few words."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Step = Mapping[str, str]

_SKIPS = {
    "below_minimum": "below the minimum",
    "nothing_held": "nothing held",
    "kill_switch": "kill switch",
    "missing_price": "no price",
    "missing_cap": "no cap",
}
_REASONS = {"endpoint_disabled": "endpoint disabled after 410", "no_route": "nowhere to send it"}


def why(order: Mapping[str, Any]) -> str:
    """Why this size, or why none: `order` is a follower order of a DAG, with `trace` and `reason`."""
    steps = {step["rule"]: step for step in order["trace"]}
    skip = steps.get("skip", {}).get("value")
    if skip in _SKIPS and skip != "below_minimum":
        return _SKIPS[skip]
    if order["state"] == "skipped" and order["reason"] in _REASONS:
        return _REASONS[order["reason"]]
    if "held" in steps:
        return _reduction(steps)
    return _open(steps, skip)


def _open(steps: Mapping[str, Step], skip: str | None) -> str:
    raw = steps["multiplier"]["result"]
    text = f"{steps['manager_qty']['result']} × {steps['scale']['value']} = {raw}"
    whole = steps["step"]["result"]
    if whole not in {raw, "0"}:
        text += f" → {whole}"
    cap = steps.get("max_pos_usd")
    if skip == "at_cap" and cap:
        return f"at its cap of {_usd(cap['value'])}"
    if cap and cap["result"] != whole:
        text += f", capped at {_usd(cap['value'])}: {cap['result']}"
    return f"{text}, {_SKIPS[skip]}" if skip in _SKIPS else text


def _reduction(steps: Mapping[str, Step]) -> str:
    held = steps["held"]["result"]
    if "full_exit" in steps:
        return f"full exit: all {held} held"
    raw, whole = steps["fraction"]["result"], steps["step"]["result"]
    text = f"{steps['fraction']['value']} of {held} held = {raw}"
    return text if raw == whole else f"{text} → {whole}"


def _usd(value: str) -> str:
    return f"{Decimal(value):,} USD"
