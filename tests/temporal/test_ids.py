import pytest

from temporal import ids
from temporal.ids import MirrorId, parse_mirror


@pytest.mark.parametrize(
    ("built", "written", "parts"),
    [
        (ids.mirror("M-1"), "mirror/M-1", MirrorId("M-1")),
        (ids.shard("M-1", 0), "mirror/M-1/s0", MirrorId("M-1", shard=0)),
        (ids.shard("M-1", 19), "mirror/M-1/s19", MirrorId("M-1", shard=19)),
        (ids.follower_order("M-1", "F_1"), "mirror/M-1/F_1", MirrorId("M-1", follower_id="F_1")),
        (ids.redrive("M-1", "F_1", 7), "mirror/M-1/F_1/r7", MirrorId("M-1", follower_id="F_1", dead_letter_id=7)),
        (ids.follower_order("M-1", "F_s1"), "mirror/M-1/F_s1", MirrorId("M-1", follower_id="F_s1")),
    ],
)
def test_an_id_is_built_and_read_back(built: str, written: str, parts: MirrorId):
    assert built == written
    assert parse_mirror(built) == parts


@pytest.mark.parametrize(
    "other", ["", "mirror", "ingest/os", "flip/1", "mirror/M-1/F_1/x", "mirror/M-1/F_1/r", "x/M-1/F_1/r7"]
)
def test_another_workflows_id_is_refused(other: str):
    with pytest.raises(ValueError, match="not a mirroring workflow id"):
        parse_mirror(other)
