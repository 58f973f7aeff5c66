"""Why this size: the sizing trace, one sentence a step, and what bent it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from domain.explain_words import number, reason_words, words

Row = Mapping[str, Any]
# With `value`, `result` and `why` of the step; a rule that is not here speaks for itself.
_SENTENCES = {
    "manager_qty": "The manager's order is for {value}.",
    "scale": "Your scale of {value} makes it {result}.",
    "persona": "The persona {value} weighs it by {result} to begin with.",
    "override": "Overrides and boosts of its trait add up to {value}: the weight is {result}.",
    "conviction": "The manager's conviction of {value} makes the weight {result}, as the persona {why}.",
    "flip": "{why}: the weight is {result}.",
    "clamp": "The weight is {why}: {result}.",
    "inverted": "The persona takes the other side, so that it is a {value} of {result}.",
    "residue": "{value} left over from rounding earlier orders make it {result}.",
    "step": "Rounded toward zero to the quantity step of {value}: {result}.",
    "no_crossing": "No order crosses zero: it {why}: {result}.",
    "held": "You hold {value}, of which {result} are free to be closed.",
    "full_exit": "{why}: {result}.",
    "fraction": "{value} is {why}: {result}.",
    "correction": "{why}: {result}.",
    "hedged": "The order that it hedges is worth {value} USD.",
    "hedge_ratio": "{why}: {result}.",
    "hedge_held": "{result} are held as the hedge of the position.",
}
_LIMITS = {
    "max_pos_usd": "Your position may be worth {value} USD, persona counted",
    "funds_usd": "Your account has {value} USD to spend",
}


def sentences(order: Row, snapshot: Row) -> Iterator[tuple[str, str]]:
    """Each step's rule with its sentence; then the carry, and the overlays that bent it."""
    trace: Sequence[Row] = order["trace"]
    for before, step in zip([None, *trace], trace, strict=False):
        yield step["rule"], _sentence(before, step)
    carry = Decimal(str(order.get("carry") or 0))
    if carry != 0:
        yield "carry", f"{number(carry)} are carried to your next order in {order['symbol']}, as rounding left them."
    for overlay in _overlays(order, snapshot):
        until = overlay["expires_at"]
        kind = "The flip" if overlay["kind"] == "flip" else "The persona boost"
        yield "overlay", f"{kind} {overlay['overlay_id']} was active, until {until}."


def share(order: Row) -> str:
    """The size in one sentence, for the follower's paragraph."""
    steps = {step["rule"]: step for step in order["trace"]}
    if "skip" in steps or order["state"] == "skipped":
        reason = order["reason"] or steps.get("skip", {}).get("value")
        return f"Your share comes to nothing: {reason_words(reason)}."
    return f"Your share is to {order['side']} {number(order['qty'])} {order['symbol']}: {_made_of(order, steps)}."


def _made_of(order: Row, steps: Mapping[str, Row]) -> str:
    if "full_exit" in steps:
        return "all that you held"
    if "fraction" in steps:
        return f"{steps['fraction']['value']} of what you held"
    if "manager_qty" not in steps or "scale" not in steps:
        return words(next(iter(steps), "as given"))
    parts = [f"{number(steps['manager_qty']['value'])} × your scale {number(steps['scale']['value'])}"]
    weight = steps.get("multiplier")
    if weight is not None and Decimal(weight["value"]) != 1:
        persona = steps.get("persona")
        name = "" if persona is None else f" of persona {persona['value']}"
        parts.append(f" × the weight {number(weight['value'])}{name}")
        parts.append(", under a flip" if "flip" in steps else "")
    return "".join(parts) + (", limited by your cap or your funds" if order["cap_applied"] else ", rounded down")


def _sentence(before: Row | None, step: Row) -> str:
    rule, value, result, why = step["rule"], step["value"], step["result"], step["why"]
    if rule == "skip":
        return f"Nothing: {reason_words(value)} ({why})."
    if rule == "multiplier":
        return "No persona bends it." if Decimal(value) == 1 else f"Weighted by {value}, that is {result}."
    if rule in _LIMITS:
        binds = before is not None and before["result"] != result
        effect = f"which leaves {result}" if binds else f"so it may stay {result}"
        return f"{_LIMITS[rule].format(value=value)}, {effect}."
    if rule not in _SENTENCES:
        return f"{why}: {result}."
    text = _SENTENCES[rule].format(value=value, result=result, why=why)
    return text[0].upper() + text[1:]


def _overlays(order: Row, snapshot: Row) -> list[Row]:
    """Those of the snapshot that the trace says it was bent by: the flip by its id, boosts by their persona."""
    steps = {step["rule"]: step for step in order["trace"]}
    persona = steps["persona"]["value"] if "persona" in steps else None
    flip = steps["flip"]["why"].split() if "flip" in steps else []
    found = []
    for overlay in snapshot.get("overlays") or []:
        mine = overlay["follower_id"] in {None, order["follower_id"]}
        boosts = overlay["kind"] == "boost" and "override" in steps and overlay["params"].get("persona") == persona
        if overlay["overlay_id"] in flip or (mine and boosts):
            found.append(overlay)
    return found
