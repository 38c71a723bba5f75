"""Which teacher a config means, before anything is run."""

import json
import os

import pytest

from configs import cifar10_spos
from datafree_nas.experiment import complete, resolve
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import configured
from tests import tiny

CARD = {
    "arch": "wrn40_2",
    "num_classes": 10,
    "image_size": [32, 32, 3],
    "mean": [0.4914, 0.4822, 0.4465],
    "std": [0.2023, 0.1994, 0.2010],
    "class_names": [*"abcdefghij"],
}


@pytest.fixture
def ported(tmp_path):
    folder = tmp_path / "ported"
    folder.mkdir()
    (folder / "teacher.json").write_text(json.dumps(CARD))
    return folder


def test_a_ported_folder_names_its_network_itself(ported, tmp_path, capsys):
    """README's second command: the config's own architecture is another one."""
    config = cifar10_spos.get_config()
    config.teacher.checkpoint = str(ported)
    assert config.teacher.arch == "cifar_resnet20"
    found = resolve(config, tmp_path / "run")
    assert (found.teacher.arch, found.teacher.mean) == ("wrn40_2", tuple(CARD["mean"]))
    assert found.class_names() == CARD["class_names"]
    configured._say_what_is_not_used(config.teacher, found.teacher)
    said = capsys.readouterr().out
    assert "holds a teacher with arch wrn40_2; config.teacher.arch=cifar_resnet20 is not" in said
    assert said.count("\n") == 1


def test_the_teacher_of_the_workdir_counts_once_it_is_there(ported, tmp_path):
    config = tiny.get_config()
    assert resolve(config, tmp_path / "run").teacher.arch == "cifar_resnet8"
    ported.rename(tmp_path / "teacher")
    assert resolve(config, tmp_path).teacher.arch == "cifar_resnet8", "it is not done"
    (tmp_path / "teacher" / "done.json").touch()
    assert resolve(config, tmp_path).teacher.arch == "wrn40_2"


@pytest.mark.parametrize(("count", "objective"), [(1, "score"), (2, "pareto")])
def test_a_search_is_for_several_sizes_where_several_are_trained(count, objective):
    config = tiny.get_config()
    config.student.count = count
    assert complete(config).search.objective == objective
    config.search.objective = "score"
    assert complete(config).search.objective == "score"


def test_home_is_expanded(monkeypatch, ported, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tiny.get_config()
    config.teacher.checkpoint = "~/ported"
    config.data.data_dir = "~/tfds"
    whole = complete(config)
    assert whole.teacher.checkpoint == str(ported)
    assert whole.data.data_dir == os.path.join(tmp_path, "tfds")
    assert config.teacher.checkpoint == "~/ported", "the config itself stays as it is"


def test_a_plan_needs_no_checkpoint(tmp_path):
    config = cifar10_spos.get_config()
    config.teacher.checkpoint = str(tmp_path / "none.pth")
    assert resolve(config, planned=True).teacher.arch == "cifar_resnet20"
    config.teacher.arch = "auto"
    with pytest.raises(UserError, match=r"needs to look at .*none\.pth, which does not exist"):
        _ = resolve(config, planned=True).teacher
