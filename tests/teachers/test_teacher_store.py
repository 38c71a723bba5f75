import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import teachers
from datafree_nas.runtime import checkpoint
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import port, registry, store


@pytest.fixture
def saved(tiny_teacher, tmp_path):
    teacher, variables = tiny_teacher
    source = {"trained_on": "digits"}
    teachers.save(tmp_path / "teacher", teacher, variables, source)
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
    assert card["macs"] == 747_136
    assert card["input_range"] == pytest.approx([-0.75, 1.75])
    assert all(check["passed"] for check in card["checks"])
    assert card["source"] == {"trained_on": "digits"}


def test_an_earlier_teacher_stays_until_the_new_one_is_whole(saved, tiny_teacher, monkeypatch):
    teacher, variables = tiny_teacher
    more = jax.tree.map(lambda leaf: leaf + 1, variables)
    before = checkpoint.digest(teachers.load(saved)[1])
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.replace(saved, teacher, more, {})
    assert checkpoint.digest(teachers.load(saved)[1]) == before
    assert sorted(path.name for path in saved.iterdir()) == ["teacher.json", "variables"]
    store.replace(saved, teacher, more, {})
    assert checkpoint.digest(teachers.load(saved)[1]) == checkpoint.digest(more)
    assert sorted(path.name for path in saved.iterdir()) == ["teacher.json", "variables"]


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
        teachers.create_teacher("cifar_resnet2")


def test_create_takes_changes():
    teacher = teachers.create_teacher(
        "cifar_resnet8", 4, image_size=(8, 12, 2), mean=(0.5, 0.4), std=(0.25, 0.2)
    )
    variables = jax.eval_shape(teacher.model.init, jax.random.key(0), jnp.zeros((1, 8, 12, 2)))
    assert variables["params"]["conv1"]["kernel"].shape == (3, 3, 2, 16)
    assert variables["params"]["linear"]["kernel"].shape == (64, 4)
    assert (teacher.mean, teacher.std) == ((0.5, 0.4), (0.25, 0.2))


def test_mean_and_std_belong_to_the_channels():
    with pytest.raises(UserError, match=r"mean=.* is not one number for each channel"):
        teachers.create_teacher("cifar_resnet20", image_size=(28, 28, 1))


# a model of one's own


OWN = """
import flax.linen as nn
import jax.numpy as jnp
from datafree_nas.teachers import Teacher


class Mine(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3), name="body.conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="body.norm")(x))
        return nn.Dense(self.classes, name="top")(jnp.mean(x, axis=(1, 2)))


def create(num_classes):
    classes = num_classes or 3
    return Teacher("mine", Mine(classes), classes, (8, 8, 1), (0.5,), (0.5,), head="top")


def wrong(num_classes):
    return Mine(3)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "model.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_package.model:create"


def test_a_model_of_ones_own(own, random_variables, tmp_path):
    teacher = teachers.create_teacher(own, 4)
    assert (teacher.arch, teacher.num_classes, teacher.head) == (own, 4, "top")
    variables = random_variables(teacher.model, jnp.zeros((1, 8, 8, 1)))
    teachers.save(tmp_path / "teacher", teacher, variables, {"trained_on": "nothing"})
    with pytest.raises(UserError, match=r"made by 'own_package\.model:create'; if you trust"):
        teachers.load(tmp_path / "teacher")
    loaded, _ = teachers.load(tmp_path / "teacher", factory=own)
    assert loaded == teacher


def test_a_card_runs_nothing(saved, tmp_path):
    """It once called `os.system` with what the card had for the number of classes."""
    card = json.loads((saved / "teacher.json").read_text())
    command = f"touch {tmp_path}/it_ran"
    for arch, num_classes in (("os:system", command), ("os:system", 10), ("cifar_resnet8", "10")):
        hostile = card | {"arch": arch, "num_classes": num_classes}
        (saved / "teacher.json").write_text(json.dumps(hostile))
        for factory in ("", "own_package.model:create"):
            with pytest.raises(UserError, match=r"teacher\.json"):
                teachers.load(saved, factory)
    assert not (tmp_path / "it_ran").exists()


def test_it_is_ported_like_the_others(own, random_variables, tmp_path):
    teacher = teachers.create_teacher(own, 4)
    variables = random_variables(teacher.model, jnp.zeros((1, 8, 8, 1)))
    teachers.export(tmp_path / "mine.safetensors", teacher, variables)
    found, ported, _ = port.port(own, tmp_path / "mine.safetensors")
    assert found.num_classes == 4
    for a, b in zip(jax.tree.leaves(ported), jax.tree.leaves(variables), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "own_package.modell:create",
            "no teacher architecture at 'own_package.modell:create' .*No module",
        ),
        ("own_package.model:make", "no teacher architecture at .* has no attribute 'make'"),
        ("own_package.model:wrong", "returned a Mine; it has to return a datafree_nas.teachers"),
        (":create", "no teacher architecture at ':create'"),
    ],
)
def test_a_place_where_no_teacher_is(place, message, own):
    with pytest.raises(UserError, match=message):
        teachers.create_teacher(place)
