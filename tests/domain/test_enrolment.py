import pytest

from domain.enrolment import BrokerAccount, NewFollower
from domain.errors import InvalidInput
from domain.sizing import Mode


@pytest.mark.parametrize("follower_id", ["s0", "s12", "X_1", "f_1"])
def test_a_followers_id_cannot_be_taken_for_a_page_of_an_order(follower_id: str):
    with pytest.raises(InvalidInput, match="must start with F_"):
        NewFollower("V_1", "One", mode=Mode.SHADOW, follower_id=follower_id).check()


def test_a_readable_id_of_ones_own_is_taken():
    NewFollower("V_1", "One", mode=Mode.SHADOW, follower_id="F_1").check()


PEM = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"


def test_a_private_key_of_several_lines_is_taken_where_the_venue_has_such():
    BrokerAccount("coinbase", "key", PEM).check("bridged_brokers.crypto")
    for account in (BrokerAccount("alpaca", "key", PEM), BrokerAccount("coinbase", "key\n", PEM)):
        with pytest.raises(InvalidInput):
            account.check("bridged_brokers.crypto")


def test_a_follower_with_fractions_cannot_be_bridged_to_a_venue_of_whole_shares():
    account = BrokerAccount("tradier", "VA000000", "token")
    NewFollower("V_1", "One", equities=account).check()
    with pytest.raises(InvalidInput, match="tradier takes whole shares only"):
        NewFollower("V_1", "One", equities=account, fractional=True).check()
