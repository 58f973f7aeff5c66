"""Time as the simulator tells it: the machine's, moved on by hand as a test clock is."""

import time


class Clock:
    """Takes the place of the module `time` in localstripe."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def time(self) -> float:
        return time.time() + self.ahead_s

    def now(self) -> int:
        """Unix seconds."""
        return int(self.time())


clock = Clock()
