"""Every teacher against the original implementation, through a checkpoint file and back."""

import jax
import numpy as np
import pytest
import safetensors.torch
import torch

from datafree_nas import teachers
from datafree_nas.teachers import port, registry
from tests.teachers import originals

CLASSES = 7
IN_EVERY_RUN = {"cifar_resnet20"}
# of the families; the others, DenseNet and ResNeXt among them, take longest and are slow
IN_FULL_RUNS = {
    *("resnet18", "resnet50_v1", "wide_stem_resnet18", "wrn16_1", "mobilenet_v2"),
    *("efficientnet_lite0", "vgg11_bn"),
}


def _tier(name):
    if name in IN_EVERY_RUN:
        return ()
    return pytest.mark.full if name in IN_FULL_RUNS else pytest.mark.slow


TIMM = [f"timm:tf_efficientnet_lite{i}" for i in range(5)]
NAMES = [pytest.param(name, marks=_tier(name)) for name in [*registry.names(), *TIMM]]


def _style(name):
    """Which of the teacher's key styles that original has."""
    return 1 if name.startswith("timm:") else 0


def _close(found, expected):
    """Within 1e-4 of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_statistics_are_those_of_the_original(name, tmp_path):
    arch = name.removeprefix("timm:tf_")
    height, width, _ = registry.create_teacher(arch).image_size
    sizes = [(height, width), (51, 75)]  # the published one, and odd ones
    model = originals.randomize(originals.build(name, sizes[0], CLASSES))
    torch.save(model.state_dict(), tmp_path / "model.pth")
    teacher, variables, _ = port.port(arch, tmp_path / "model.pth")
    assert teacher.num_classes == CLASSES

    run = jax.jit(lambda v, x: teachers.apply_with_taps(teacher.model, v, x))
    for size in sizes:
        original = originals.build(name, size, CLASSES).eval()
        original.load_state_dict(model.state_dict())
        x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
        expected, expected_taps = originals.logits_and_taps(original, x)
        logits, taps = run(variables, x)
        _close(logits, expected)
        assert len(taps) == len(expected_taps) == len(originals.batch_norms(model))
        for tap, (mean, var) in zip(taps, expected_taps, strict=True):
            _close(tap.mean[0], mean)
            _close(tap.var[0], var)

    teachers.export(tmp_path / "back.safetensors", teacher, variables, _style(name))
    back = originals.build(name, sizes[0], CLASSES)
    back.load_state_dict(safetensors.torch.load_file(tmp_path / "back.safetensors"))
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(back.state_dict()[key], value), key
