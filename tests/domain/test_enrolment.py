import pytest

from domain.enrolment import NewFollower
from domain.errors import InvalidInput
from domain.sizing import Mode


@pytest.mark.parametrize("follower_id", ["s0", "s12", "X_1", "f_1"])
def test_a_followers_id_cannot_be_taken_for_a_page_of_an_order(follower_id: str):
    with pytest.raises(InvalidInput, match="must start with F_"):
        NewFollower("V_1", "One", mode=Mode.SHADOW, follower_id=follower_id).check()


def test_a_readable_id_of_ones_own_is_taken():
    NewFollower("V_1", "One", mode=Mode.SHADOW, follower_id="F_1").check()
