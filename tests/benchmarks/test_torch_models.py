"""The PyTorch networks that benchmarks.synthesis times are our teachers."""

import jax
import numpy as np
import pytest
import torch

from benchmarks import synthesis, torch_models
from datafree_nas import teachers
from tests.tiers import full


@pytest.mark.parametrize(
    ("arch", "side"),
    [
        ("cifar_resnet20", 32),
        *full(("resnet50", 64), ("efficientnet_lite0", 64), ("efficientnet_lite0", 45)),
    ],
)
def test_logits_are_ours(arch, side):
    """Of different images, too, which would be no test if all had the same."""
    teacher = teachers.create_teacher(arch, image_size=(side, side, 3))
    model = torch_models.random(arch, teacher.num_classes)
    variables = synthesis.port(teacher, model)
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    ours = jax.jit(teacher.model.apply)(variables, x)
    with torch.no_grad():
        theirs = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    largest = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * largest)
    assert np.abs(theirs[0] - theirs[1]).max() > 0.1 * largest


def test_a_network_is_the_same_every_time():
    one, two = (torch_models.random("cifar_resnet8", 10).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
