"""Workflow ids are built and parsed here only."""

import re
from dataclasses import dataclass

INGEST = "ingest/os"
MARKS = "marks/prices"
REFRESH = "refresh/credentials"
REFERENCE = "reference/data"
BILLING = "reconcile-billing/all"


def mirror(mo_id: str) -> str:
    return f"mirror/{mo_id}"


def shard(mo_id: str, number: int) -> str:
    return f"mirror/{mo_id}/s{number}"


def follower_order(mo_id: str, follower_id: str, leg: int = 0) -> str:
    """A hedge (leg 1) stands below the order that it goes with."""
    return f"mirror/{mo_id}/{follower_id}" + (f"/l{leg}" if leg else "")


def overlay(kind: str, overlay_id: str) -> str:
    """`flip/{overlay_id}` or `boost/{overlay_id}`; the other kinds have no workflow."""
    return f"{kind}/{overlay_id}"


def flatten(halt_id: str, tenant_id: str) -> str:
    """A halt of the whole platform flattens tenant by tenant."""
    return f"flatten/{halt_id}/{tenant_id}"


def redrive(mo_id: str, follower_id: str, dead_letter_id: int) -> str:
    """The owner of an order that was sent again; its dead letter is the order's own, whichever leg that is."""
    return f"mirror/{mo_id}/{follower_id}/r{dead_letter_id}"


def streams(venue: str) -> str:
    """The venue's schedule; the server appends the time at which the workflow was started."""
    return f"streams/{venue}"


def reconcile(vault_id: str) -> str:
    """The vault's schedule; the server appends the time that a run was due."""
    return f"reconcile/{vault_id}"


def parse_reconcile(schedule_id: str) -> str | None:
    """The vault of a schedule; None for a schedule of something else."""
    kind, _, vault_id = schedule_id.partition("/")
    return vault_id if kind == "reconcile" else None


def subscription(subscription_id: str) -> str:
    return f"subscription/{subscription_id}"


def reconcile_now(vault_id: str, run_id: str) -> str:
    return f"reconcile/{vault_id}/{run_id}"


@dataclass(frozen=True, slots=True)
class MirrorId:
    """The parts of an id below `mirror/`; exactly one of `shard` and `follower_id` is set below the root.

    `leg` is 1 for a hedge, `dead_letter_id` is set for the owner of a redriven order.
    """

    mo_id: str
    shard: int | None = None
    follower_id: str | None = None
    dead_letter_id: int | None = None
    leg: int = 0


_BELOW_FOLLOWER = re.compile(r"([rl])([0-9]+)")


def parse_mirror(workflow_id: str) -> MirrorId:
    """Raises ValueError for an id that is not one of ours."""
    head, *parts = workflow_id.split("/")
    below = _BELOW_FOLLOWER.fullmatch(parts[2]) if len(parts) == 3 else None
    if head != "mirror" or not (len(parts) in {1, 2} or below is not None):
        raise ValueError(f"not a mirroring workflow id: {workflow_id!r}")
    if len(parts) == 1:
        return MirrorId(parts[0])
    # Follower ids start with F_, so a shard's s{n} cannot be one.
    if parts[1].startswith("s") and parts[1][1:].isdigit():
        return MirrorId(parts[0], shard=int(parts[1][1:]))
    if below is None:
        return MirrorId(parts[0], follower_id=parts[1])
    number = int(below[2])
    if below[1] == "r":
        return MirrorId(parts[0], follower_id=parts[1], dead_letter_id=number)
    return MirrorId(parts[0], follower_id=parts[1], leg=number)
