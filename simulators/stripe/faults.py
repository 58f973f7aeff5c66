"""What goes wrong on purpose: declined payments, and times in which nothing is answered."""

import time
from dataclasses import dataclass, field


@dataclass
class Faults:
    """`declines`: payments that fail, by customer or for everybody (""). `lose`: work is done and the answer lost."""

    declines: dict[str, int] = field(default_factory=dict)
    down_until: float = 0.0
    lose: int = 0

    def take_decline(self, customer: str | None) -> bool:
        for who in (customer or "", ""):
            if self.declines.get(who, 0) > 0:
                self.declines[who] -= 1
                return True
        return False

    @property
    def down(self) -> bool:
        return time.monotonic() < self.down_until

    def take_loss(self) -> bool:
        if self.lose < 1:
            return False
        self.lose -= 1
        return True


faults = Faults()
