"""What a kill answers once no send in its scope can begin any more."""

from pydantic import Field

from api.schemas.common import Answer


class KillAcknowledgement(Answer):
    """`in_flight` sends had begun before; after this answer none begins."""

    kill_id: int | None
    in_flight: int
    senders: int = Field(description="Processes that send, each of which has stopped.")
    via: str = Field(description="`redis`: all of them have said so. `postgres`: each has looked, or has run out.")
    waited_ms: int
