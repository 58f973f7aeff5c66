"""Workflow ids are built and parsed here only."""

from dataclasses import dataclass

INGEST = "ingest/os"


def mirror(mo_id: str) -> str:
    return f"mirror/{mo_id}"


def shard(mo_id: str, number: int) -> str:
    return f"mirror/{mo_id}/s{number}"


def follower_order(mo_id: str, follower_id: str) -> str:
    return f"mirror/{mo_id}/{follower_id}"


def overlay(kind: str, overlay_id: str) -> str:
    """`flip/{overlay_id}` or `boost/{overlay_id}`; the other kinds have no workflow."""
    return f"{kind}/{overlay_id}"


def redrive(mo_id: str, follower_id: str, dead_letter_id: int) -> str:
    """The owner of an order that was sent again; its dead letter is the order's own, whichever leg that is."""
    return f"mirror/{mo_id}/{follower_id}/r{dead_letter_id}"


@dataclass(frozen=True, slots=True)
class MirrorId:
    """The parts of an id below `mirror/`; exactly one of `shard` and `follower_id` is set below the root.

    `dead_letter_id` is set for the owner of a redriven order.
    """

    mo_id: str
    shard: int | None = None
    follower_id: str | None = None
    dead_letter_id: int | None = None


def parse_mirror(workflow_id: str) -> MirrorId:
    """Raises ValueError for an id that is not one of ours."""
    parts = workflow_id.split("/")
    redriven = len(parts) == 4 and parts[3].startswith("r") and parts[3][1:].isdigit()
    if parts[0] != "mirror" or not (len(parts) in {2, 3} or redriven):
        raise ValueError(f"not a mirroring workflow id: {workflow_id!r}")
    if len(parts) == 2:
        return MirrorId(parts[1])
    if redriven:
        return MirrorId(parts[1], follower_id=parts[2], dead_letter_id=int(parts[3][1:]))
    # Follower ids start with F_, so a shard's s{n} cannot be one.
    if parts[2].startswith("s") and parts[2][1:].isdigit():
        return MirrorId(parts[1], shard=int(parts[2][1:]))
    return MirrorId(parts[1], follower_id=parts[2])
