"""The search attributes operators filter by; registered at start-up from this list and nowhere else."""

from temporalio.common import SearchAttributeKey

TENANT = SearchAttributeKey.for_keyword("VantaTenant")
VAULT = SearchAttributeKey.for_keyword("VantaVault")
FOLLOWER = SearchAttributeKey.for_keyword("VantaFollower")
SYMBOL = SearchAttributeKey.for_keyword("VantaSymbol")
STATE = SearchAttributeKey.for_keyword("VantaState")

ALL = (TENANT, VAULT, FOLLOWER, SYMBOL, STATE)
