"""Every mistake ends in one line that says what to fix, and status 2; never in a traceback."""

import json
import os
import re

import filelock
import pytest
import torch
from PIL import Image

from tests import forks
from tests.teachers import originals


def _fails(module, *flags):
    """Runs a program that has to fail as it should; its line."""
    done = forks.run(f"datafree_nas.{module}", *flags)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def _main(*flags):
    return _fails("main", *flags)


def _port(checkpoint, out, arch="cifar_resnet8"):
    return _fails("port_torch", f"--arch={arch}", f"--checkpoint={checkpoint}", f"--out={out}")


# the command line: before anything is imported or touched


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.synthesis.roundss=2"], r"config\.synthesis has no field 'roundss'; .*'rounds'"),
        (
            ["--config=configs/cifar10_spos.py:quick", "--config.sed=1"],
            "'sed'; did you mean 'seed'",
        ),
        (["--config.synthesis.rounds=many"], r"--config\.synthesis\.rounds=many: invalid literal"),
        (["--wrokdir=x"], "'wrokdir'. Did you mean: workdir"),
        (["--config=nowhere.py"], "--config: cannot read nowhere.py"),
        (["--config=nowhere.py", "--config.seed=1"], "--config: cannot read nowhere.py"),
        (["--config=configs/cifar10_spos.py:quik"], "quik is unknown; known: quick"),
        (["--config.synthesis.rounds=0"], r"config\.synthesis\.rounds=0 must be an integer from 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags(flags, message):
    assert re.search(message, _main(*flags))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no stage 'nothing'"),  # settings of the file's space do not count for another one
        (["--config.search.space.width=0.5"], "no stage 'nothing'"),
        (["--config.search.space.channels=8"], "channels: proxyless has no such setting"),
        (["--config.search.space.cells=8"], "cells=8 must be one number a stage"),
    ],
)
def test_another_space_on_the_command_line(flags, message):
    assert message in _main("--config.search.space.name=proxyless", "--stages=nothing", *flags)


def test_an_unknown_stage():
    line = _main("--stages=teacher,serach")
    assert "no stage 'serach'; did you mean 'search'" in line


def test_an_architecture_of_that_name_is_not_known(tmp_path):
    line = _main(f"--workdir={tmp_path}/run", "--config.teacher.arch=cifar_resnt20")
    assert "no teacher architecture 'cifar_resnt20'; did you mean 'cifar_resnet20'" in line
    assert list(tmp_path.iterdir()) == []


def test_auto_has_to_have_something_to_look_at(tmp_path):
    line = _main(f"--workdir={tmp_path}/run", "--config.teacher.arch=auto")
    assert "config.teacher.arch=auto needs config.teacher.checkpoint" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --out=DIR to write, or --check to look only"),
        (["--out=x", "--factory=mine.create"], "--factory=mine.create is not package.module:func"),
        (["--out=x", "--factory=a:b", "--arch=resnet18"], "give --arch or --factory, not both"),
        (["--out=x", "--mean=0.5"], "give both --mean and --std, or neither"),
        (
            ["--out=x", "--image_size=32,32"],
            r"--image_size=\(32, 32\) is not height,width,channels",
        ),
        (["--out=x", "--image_size=32,32,x"], "--image_size=32,32,x is no list of numbers"),
    ],
)
def test_flags_of_port_torch(flags, message, tmp_path):
    assert re.search(message, _fails("port_torch", f"--checkpoint={tmp_path}/a.pth", *flags))


def test_port_torch_needs_its_flags():
    assert re.search("--checkpoint", _fails("port_torch", "--out=x"))


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("latency_table=none.json", "none.json does not exist"),
        ("evolution.max_latency=3", "max_latency needs config.search.latency_table"),
        ("hardware.cost=latency", "hardware.cost=latency needs config.search.latency_table"),
        ("front_cost=latency", "front_cost=latency needs config.search.latency_table"),
    ],
)
def test_a_latency_table_that_is_not_there(flag, message, tmp_path):
    assert message in _main(f"--workdir={tmp_path}/run", f"--config.search.{flag}")
    assert list(tmp_path.iterdir()) == []


def test_a_word_where_numbers_belong(tmp_path):
    line = _main(f"--workdir={tmp_path}/run", "--config.teacher.mean=dark")
    assert "config.teacher.mean=['dark'] must be one number a channel" in line
    assert list(tmp_path.iterdir()) == []


# the workdir


def test_a_second_process_on_the_same_workdir(tmp_path):
    with filelock.FileLock(tmp_path / ".lock"):
        line = _main("--stages=teacher", f"--workdir={tmp_path}")
    assert f"another run is at work in {tmp_path}" in line


@pytest.mark.parametrize("place", ["{tmp_path}/file/run", "/proc/run"])
def test_no_permission_to_write(place, tmp_path):
    (tmp_path / "file").touch()
    workdir = place.format(tmp_path=tmp_path)
    assert f"cannot write to {workdir}" in _main("--stages=teacher", f"--workdir={workdir}")


# checkpoints


def _weights():
    """A state dict that fits ResNet-8."""
    model = originals.randomize(originals.build("cifar_resnet8", (32, 32), 10))
    return {k: v for k, v in model.state_dict().items() if not k.endswith("tracked")}


def test_keys_and_shapes_that_do_not_fit(tmp_path):
    weights = _weights()
    weights["fc.bias"] = weights.pop("linear.bias")
    weights["conv1.weight"] = torch.zeros(16, 3, 7, 7)
    torch.save(weights, tmp_path / "a.th")
    line = _port(tmp_path / "a.th", tmp_path / "out")
    assert "1 missing: linear.bias" in line
    assert "1 unexpected: fc.bias" in line
    assert "1 mis-shaped: conv1.weight (16, 3, 7, 7) instead of (16, 3, 3, 3)" in line
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_batch_norm(tmp_path):
    torch.save({k: v for k, v in _weights().items() if "running" not in k}, tmp_path / "a.th")
    assert "no BatchNorm statistics" in _port(tmp_path / "a.th", tmp_path / "out")


class _Touch:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_code(tmp_path):
    torch.save({"state_dict": _weights(), "extra": _Touch(tmp_path / "touched")}, tmp_path / "a.th")
    line = _port(tmp_path / "a.th", tmp_path / "out")
    assert "damaged or no checkpoint of torch.save" in line
    assert not (tmp_path / "touched").exists()
    torch.load(tmp_path / "a.th", weights_only=False)  # it would have
    assert (tmp_path / "touched").exists()


def test_porting_to_an_unknown_architecture(tmp_path):
    line = _port(tmp_path / "none.th", tmp_path / "out", arch="cifar_resnet21")
    assert re.search(
        "no teacher architecture 'cifar_resnet21'; did you mean .*'cifar_resnet20'", line
    )


def test_a_teacher_without_its_mean(tmp_path):
    card = {"arch": "cifar_resnet8", "num_classes": 10, "image_size": [8, 8, 1]}
    (tmp_path / "teacher.json").write_text(json.dumps(card))
    flags = ["--stages=teacher", f"--workdir={tmp_path}/run"]
    line = _main(*flags, f"--config.teacher.checkpoint={tmp_path}")
    assert "teacher.json has no 'mean'" in line


def test_an_image_that_cannot_be_read(tmp_path):
    image = tmp_path / "images" / "0" / "0.png"
    image.parent.mkdir(parents=True)
    image.write_text("no image")
    flags = ["--stages=teacher", f"--workdir={tmp_path}/run"]
    line = _main(*flags, f"--config.data.source=folder:{tmp_path}/images")
    assert f"{image} is no readable image" in line


def test_an_image_of_200_megapixels(tmp_path):
    image = tmp_path / "images" / "0" / "0.png"
    image.parent.mkdir(parents=True)
    Image.new("1", (20_000, 10_000)).save(image)
    flags = ["--stages=teacher", f"--workdir={tmp_path}/run"]
    line = _main(*flags, f"--config.data.source=folder:{tmp_path}/images")
    assert f"{image} has more than 178 megapixels; resize or remove it" in line


# names that would be more than a name on a terminal


HOSTILE = "a\x1b[2J\nerror: b\u202e"
SHOWN = r"a\x1b[2J\nerror: b\u202e"


def test_names_from_the_command_line_and_of_files(tmp_path):
    assert f"--config: cannot read {SHOWN}" in _main(f"--config={HOSTILE}")
    (tmp_path / HOSTILE).mkdir()
    assert f"{SHOWN} is a folder" in _port(tmp_path / HOSTILE, tmp_path / "out")
    image = tmp_path / HOSTILE / "0" / "0.png"
    image.parent.mkdir()
    image.write_text("no image")
    flags = ["--stages=teacher", f"--workdir={tmp_path}/run"]
    line = _main(*flags, f"--config.data.source=folder:{tmp_path / HOSTILE}")
    assert f"{tmp_path}/{SHOWN}/0/0.png is no readable image" in line


def test_names_in_checkpoints(tmp_path):
    torch.save(_weights() | {HOSTILE: torch.ones(3)}, tmp_path / "a.pth")
    assert f"1 unexpected: {SHOWN}" in _port(tmp_path / "a.pth", tmp_path / "out")
    done = forks.run(
        "datafree_nas.port_torch",
        *("--check", "--arch=cifar_resnet8", f"--checkpoint={tmp_path}/a.pth", "--ignore=a*"),
    )
    assert f"{SHOWN}  " in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
