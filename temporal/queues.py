"""Task queues: workflows, waves and each broker have their own, so that none waits behind another."""

ORCHESTRATION = "vanta-orchestration"
FOLLOWERS = "vanta-followers"
DISPATCH = "vanta-dispatch"
RECONCILIATION = "vanta-reconciliation"
STREAMS = "vanta-streams"
BILLING = "vanta-billing"
BROKER_PREFIX = "vanta-broker-"

WEBHOOK_ROUTE = "webhook"


def for_route(route: str) -> str:
    """The queue whose workers talk to that route: `webhook`, or a venue's name."""
    return DISPATCH if route == WEBHOOK_ROUTE else f"{BROKER_PREFIX}{route}"
