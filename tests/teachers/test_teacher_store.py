import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import registry


@pytest.fixture
def saved(tiny_teacher, tmp_path):
    teacher, variables = tiny_teacher
    source = {"trained_on": "digits"}
    teachers.save(tmp_path / "teacher", teacher, variables, source, macs=7)
    return tmp_path / "teacher"


def test_a_teacher_comes_back_as_it_was(saved, tiny_teacher):
    teacher, variables = tiny_teacher
    loaded, loaded_variables = teachers.load(saved)
    assert loaded == teacher
    assert jax.tree.structure(loaded_variables) == jax.tree.structure(variables)
    for a, b in zip(jax.tree.leaves(loaded_variables), jax.tree.leaves(variables), strict=True):
        assert isinstance(a, jax.Array)
        np.testing.assert_array_equal(a, b)
    card = json.loads((saved / "teacher.json").read_text())
    assert card["batch_norm_layers"] == 7
    assert card["params"] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert card["macs"] == 7
    assert card["source"] == {"trained_on": "digits"}


@pytest.mark.parametrize("field", ["arch", "num_classes", "image_size", "mean", "std"])
def test_a_card_that_lacks_a_field(field, saved):
    card = json.loads((saved / "teacher.json").read_text())
    del card[field]
    (saved / "teacher.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=rf"teacher\.json has no '{field}'"):
        teachers.load(saved)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"teacher\.json does not exist"):
        teachers.load(tmp_path)


def test_names():
    assert "cifar_resnet20" in registry.names()
    with pytest.raises(UserError, match=r"no teacher architecture 'cifar_resnet2'; did you mean"):
        teachers.create("cifar_resnet2")


def test_create_takes_changes():
    teacher = teachers.create(
        "cifar_resnet8", 4, image_size=(8, 12, 2), mean=(0.5, 0.4), std=(0.25, 0.2)
    )
    variables = jax.eval_shape(teacher.model.init, jax.random.key(0), jnp.zeros((1, 8, 12, 2)))
    assert variables["params"]["conv1"]["kernel"].shape == (3, 3, 2, 16)
    assert variables["params"]["linear"]["kernel"].shape == (64, 4)
    assert (teacher.mean, teacher.std) == ((0.5, 0.4), (0.25, 0.2))


def test_mean_and_std_belong_to_the_channels():
    with pytest.raises(UserError, match=r"mean=.* is not one number for each channel"):
        teachers.create("cifar_resnet20", image_size=(28, 28, 1))
