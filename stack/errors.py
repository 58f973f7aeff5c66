"""Operational errors of the stack: each message is one line that a person can act on."""

from domain.errors import VantaError


class StackError(VantaError):
    """A server, port, disk or package problem. The message says what failed, why, and what to do or read."""

    code = "stack-error"
