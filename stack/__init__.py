"""The embedded stack: the real servers that ship as wheels, and the product's own processes, under one supervisor."""

from stack.embedded import Stack
from stack.errors import StackError

__all__ = ["Stack", "StackError"]
