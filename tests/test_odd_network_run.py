"""A network that no library has, from its file or its function to the report."""

import json
import shutil

import pytest
import torch

from tests import forks, odd_network
from tests.odd_network import FLAGS
from tests.teachers import originals
from tests.tiers import full

RUN = (
    "--config=tests/tiny.py",
    "--config.data.source=",
    '--config.student.rows=("synthetic","noise")',
    "--config.search.evolution.max_macs=0",
)


def _of_file(folder):
    odd_network.export(odd_network.trained(), folder / "odd.pt2")
    return f"--model={folder}/odd.pt2", *FLAGS[1:]


def _of_function(folder):
    torch.save(odd_network.trained().state_dict(), folder / "odd.pth")
    return "--model=tests.odd_network:make_net", f"--checkpoint={folder}/odd.pth", *FLAGS


def _of_timm(folder):
    import timm

    net = originals.randomize(timm.create_model("test_resnet", num_classes=10))
    torch.save(net.state_dict(), folder / "net.pth")
    size = "--image_size=64,64,3"
    return "--model=timm:test_resnet", f"--checkpoint={folder}/net.pth", "--num_classes=10", size


def _succeeds(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def _main(teacher, workdir, *flags):
    """Runs the whole job where PyTorch cannot be imported."""
    main = ("tests.without", "torch", "datafree_nas.main", *RUN, *flags)
    return forks.run(*main, f"--config.teacher.checkpoint={teacher}", f"--workdir={workdir}")


@pytest.mark.parametrize(
    ("make", "name"),
    [(_of_file, "odd"), *full((_of_function, "make_net"), (_of_timm, "test_resnet"))],
)
def test_one_command_from_the_teacher_to_the_report(make, name, tmp_path):
    """In a copy of the ported folder, where PyTorch cannot be imported."""
    flags = make(tmp_path)
    ported, copy, workdir = (tmp_path / each for each in ("ported", "copy", "run"))
    after = "tests.with_torch" if make is not _of_file else ""
    _succeeds(forks.run("datafree_nas.port_torch", *flags, f"--out={ported}", after=after))
    shutil.copytree(ported, copy)
    shutil.rmtree(ported)
    said = _succeeds(_main(copy, workdir))
    assert f"teacher: {name}, 10 classes, images of " in said
    summary = json.loads((workdir / "report" / "summary.json").read_text())
    assert [row["name"] for row in summary["rows"]] == ["teacher", "student", "student"]
    for row in summary["rows"]:  # numbers, though there is no real image
        assert row["test_accuracy"] is None
        assert 0 <= row["agreement"] <= 1
        assert row["kl"] >= -1e-6
        assert f"{row['agreement']:.2%}".rstrip("%") in said
    assert "agrees with the teacher on" in summary["headline"]
    assert summary["headline"] in said
    assert summary["note"] in said
    assert summary["architecture"]
    page = (workdir / "report" / "report.html").read_text()
    assert f"<dt>architecture</dt><dd>{name}</dd>" in page


@pytest.mark.full
def test_it_can_be_planned(tmp_path):
    ported, workdir = tmp_path / "ported", tmp_path / "run"
    _succeeds(forks.run("datafree_nas.port_torch", *_of_file(tmp_path), f"--out={ported}"))
    plan = _succeeds(_main(ported, workdir, "--plan"))
    assert "compiling synthesis 1/1 (2 of 4); nothing is run" in plan
    assert not workdir.exists()
