import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from datafree_nas.data import color
from tests.teachers.originals import torch, torchvision

KEY = jax.random.key(0)


def _pixels():
    """Random colours; greys, pure colours and black among them, where hue has its cases."""
    pixels = np.random.default_rng(0).random((3, 6, 7, 3), dtype=np.float32)
    pixels[0, 0] = pixels[0, 0, :, :1]
    pixels[1, 0] = np.resize(np.eye(3), (7, 3))
    pixels[2, 0] = 0
    return pixels


PIXELS = _pixels()
_jitter = jax.jit(color.jitter, static_argnums=2)
FACTORS = {
    "brightness": (0.0, 0.6, 1.4),
    "contrast": (0.0, 0.6, 1.9),
    "saturation": (0.0, 0.6, 1.9),
    "hue": (-0.5, -0.1, 0.37),
}


def _torchvision(name, image, factor):
    adjust = getattr(torchvision.transforms.functional, f"adjust_{name}")
    return adjust(torch.from_numpy(image).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()


def _ours(name, images, factors):
    adjust = jax.jit(getattr(color, f"adjust_{name}"))
    return adjust(jnp.asarray(images), jnp.array(factors).reshape(-1, 1, 1, 1))


@pytest.mark.parametrize("name", FACTORS)
def test_adjustments_are_torchvisions(name):
    """Up to its luma on tensors, whose weights add up to 0.9999."""
    expected = [_torchvision(name, *pair) for pair in zip(PIXELS, FACTORS[name], strict=True)]
    np.testing.assert_allclose(_ours(name, PIXELS, FACTORS[name]), expected, atol=2e-4)


def test_hue_is_the_same_compiled_into_a_warp():
    """Where XLA fuses the two, a formula with equalities gives some pixels another colour."""
    images = np.random.default_rng(0).random((3, 6, 7, 3), dtype=np.float32)
    at = np.meshgrid(np.linspace(0.3, 4.1, 6), np.linspace(0.2, 5.7, 7), indexing="ij")
    at, turn = jnp.array(at), jnp.full((3, 1, 1, 1), 0.1)

    def warp(images, at):
        def plane(channel):
            return map_coordinates(channel, list(at), order=1, mode="nearest")

        return jax.vmap(jax.vmap(plane, -1, -1))(images)

    both = jax.jit(lambda images, at: color.adjust_hue(warp(images, at), turn))(images, at)
    one_by_one = jax.jit(color.adjust_hue)(jax.jit(warp)(images, at), turn)
    np.testing.assert_allclose(both, one_by_one, atol=1e-5)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_adjustments_of_grey_images(name):
    grey = PIXELS[..., :1]
    expected = [_torchvision(name, *pair) for pair in zip(grey, FACTORS[name], strict=True)]
    np.testing.assert_allclose(_ours(name, grey, FACTORS[name]), expected, atol=1e-5)


def test_jitter_adjusts_in_order():
    jittered = _jitter(KEY, PIXELS, (0.3, 0.0, 0.4, 0.1))
    brightness, _, saturation, hue = (
        jax.random.uniform(key, (3, 1, 1, 1), minval=-1.0) for key in jax.random.split(KEY, 4)
    )
    expected = _ours("brightness", PIXELS, 1 + 0.3 * brightness)
    expected = _ours("saturation", expected, 1 + 0.4 * saturation)
    np.testing.assert_allclose(jittered, _ours("hue", expected, 0.1 * hue), atol=1e-5)


def test_no_strength_no_change():
    np.testing.assert_array_equal(_jitter(KEY, PIXELS, (0, 0, 0, 0)), PIXELS)


def _drawn(strengths, *pixels):
    """What 4000 draws make of one image with two pixels, `[4000 2 3]`."""
    images = jnp.tile(jnp.array(pixels, jnp.float32), (4000, 1, 1, 1))
    return np.asarray(_jitter(KEY, images, strengths))[:, 0]


def _assert_uniform(values, low, high):
    assert low - 1e-6 <= values.min()
    assert values.max() <= high + 1e-6
    quantiles = np.quantile(values, (0.01, 0.25, 0.5, 0.75, 0.99))
    expected = low + (high - low) * np.array([0.01, 0.25, 0.5, 0.75, 0.99])
    np.testing.assert_allclose(quantiles, expected, atol=0.04 * (high - low))
    assert len(np.unique(values)) > 0.9 * len(values)  # every image has its own


def test_factors_are_uniform():
    dark, light, purple, green = [0.4] * 3, [0.6] * 3, [0.6, 0.4, 0.6], [0.2, 0.8, 0.2]
    brightness = _drawn((0.5, 0, 0, 0), dark, light)
    _assert_uniform(brightness[:, 0, 0] / 0.4, 0.5, 1.5)
    contrast = _drawn((0, 0.5, 0, 0), dark, light)
    _assert_uniform((contrast[:, 1, 0] - contrast[:, 0, 0]) / 0.2, 0.5, 1.5)
    saturation = _drawn((0, 0, 0.5, 0), purple, green)
    _assert_uniform((saturation[:, 0, 0] - saturation[:, 0, 1]) / 0.2, 0.5, 1.5)
    hue = _drawn((0, 0, 0, 0.1), purple, green)[:, 1]  # a sixth of a turn leads to pure yellow
    _assert_uniform((hue[:, 2] - hue[:, 0]) / 0.6 / 6, -0.1, 0.1)


def test_lighting_adds_colours_along_the_principal_components():
    images = jnp.full((4000, 1, 2, 3), 0.5)
    lit = np.asarray(jax.jit(color.lighting, static_argnums=2)(KEY, images, 0.1))
    added = lit - 0.5
    np.testing.assert_array_equal(added[:, :, 0], added[:, :, 1])  # one colour for each image
    eigenvalues, vectors = np.linalg.eigh(np.cov(added[:, 0, 0].T))
    order = [2, 1, 0]  # NumPy sorts them upwards
    deviations = np.sqrt(eigenvalues[order])
    np.testing.assert_allclose(deviations, 0.1 * np.array([0.2175, 0.0188, 0.0045]), rtol=0.06)
    expected = [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.814, 0.4203]]
    cosines = np.abs(np.sum(vectors[:, order].T * expected, axis=1))
    np.testing.assert_allclose(cosines, 1, atol=0.01)
    assert np.abs(added.mean(axis=(0, 1, 2))).max() < 4 * 0.02175 / np.sqrt(4000)


def test_lighting_stays_in_range():
    images = jnp.tile(jnp.array([0.0, 1.0])[:, None, None, None], (8, 1, 1, 3))
    lit = np.asarray(color.lighting(KEY, images, 0.5))
    assert lit.min() == 0
    assert lit.max() == 1
