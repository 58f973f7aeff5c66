"""People to log in as on the embedded stack: what the mock provider says of them, and who each of them is to us."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from domain.access import Role

TENANT = "6f1d0c52-4c1e-4f7b-9a57-d3a0de300002"
VAULT, FOLLOWER = "V_trial", "F_trial"
_DOMAIN = "trial.example"  # reserved, so that no mail reaches anybody


@dataclass(frozen=True, slots=True)
class Person:
    """`subject` is his name at the provider: what is typed or clicked there to become him."""

    subject: str
    role: Role

    @property
    def email(self) -> str:
        return f"{self.subject}@{_DOMAIN}"

    @property
    def user_id(self) -> UUID:
        return uuid5(UUID(TENANT), self.subject)

    def claims(self) -> dict[str, object]:
        """What the provider says of him."""
        return {"sub": self.subject, "email": self.email, "email_verified": True, "name": self.subject.capitalize()}


PEOPLE: Sequence[Person] = tuple(Person(role.value, role) for role in Role)
