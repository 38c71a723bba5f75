import pytest
from ml_collections import ConfigDict

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.flags import check_field, stages_from

CONFIG = ConfigDict({"seed": 0, "synthesis": {"rounds": 2, "images": 10}})
STAGES = ["teacher", "synthesize", "search"]


@pytest.mark.parametrize("name", ["seed", "synthesis", "synthesis.rounds"])
def test_a_field_that_is_there(name):
    check_field(CONFIG, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sed", r"^config has no field 'sed'; did you mean 'seed'\?$"),
        ("synthesis.round", r"^config\.synthesis has no field 'round'; did you mean 'rounds'\?$"),
        ("synthesis.xyz", r"has no field 'xyz'; known: images, rounds$"),
        ("seed.x", r"^config\.seed has no field 'x'"),
    ],
)
def test_a_field_that_is_not(name, message):
    with pytest.raises(UserError, match=message):
        check_field(CONFIG, name)


def test_stages_come_in_the_order_of_the_pipeline():
    assert stages_from("", STAGES) == STAGES
    assert stages_from("search, teacher", STAGES) == ["teacher", "search"]
    with pytest.raises(UserError, match=r"no stage 'sintesize'; did you mean 'synthesize'\?"):
        stages_from("teacher,sintesize", STAGES)
