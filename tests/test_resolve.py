"""Which teacher a config means, before anything is run."""

import json
import os

import pytest

from configs import cifar10_spos
from datafree_nas import resolve
from datafree_nas.runtime.errors import UserError
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
    found = resolve.teacher(config, tmp_path / "run")
    assert (found.arch, found.mean) == ("wrn40_2", tuple(CARD["mean"]))
    assert resolve.class_names(config, tmp_path / "run") == CARD["class_names"]
    resolve.say_what_is_not_used(config, found)
    said = capsys.readouterr().out
    assert "holds a teacher with arch wrn40_2; config.teacher.arch=cifar_resnet20 is not" in said
    assert said.count("\n") == 1


def test_the_teacher_of_the_workdir_counts_once_it_is_there(ported, tmp_path):
    config = tiny.get_config()
    assert resolve.teacher(config, tmp_path / "run").arch == "cifar_resnet8"
    ported.rename(tmp_path / "teacher")
    assert resolve.teacher(config, tmp_path).arch == "cifar_resnet8", "it is not done"
    (tmp_path / "teacher" / "done.json").touch()
    assert resolve.teacher(config, tmp_path).arch == "wrn40_2"


def test_home_is_expanded(monkeypatch, ported, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tiny.get_config()
    config.teacher.checkpoint = "~/ported"
    config.data.data_dir = "~/tfds"
    whole = resolve.expanded(config)
    assert whole.teacher.checkpoint == str(ported)
    assert whole.data.data_dir == os.path.join(tmp_path, "tfds")
    assert config.teacher.checkpoint == "~/ported", "the config itself stays as it is"


def test_a_plan_needs_no_checkpoint(tmp_path):
    config = cifar10_spos.get_config()
    config.teacher.checkpoint = str(tmp_path / "none.pth")
    assert resolve.planned_teacher(config).arch == "cifar_resnet20"
    config.teacher.arch = "auto"
    with pytest.raises(UserError, match=r"needs to look at .*none\.pth, which does not exist"):
        resolve.planned_teacher(config)
