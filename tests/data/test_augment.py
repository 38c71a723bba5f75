import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.data import augment

PIXELS = np.random.default_rng(0).integers(1, 256, (64, 5, 6, 3), dtype=np.uint8)  # none is black
IMAGES = jnp.asarray(PIXELS)


def test_normalize():
    images = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 1, 3)
    mean, std = (0.5, 0.1, 0.0), (0.25, 0.5, 2.0)
    x = augment.normalize(images, mean, std)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x.ravel(), [-2.0, 0.2, 0.5], rtol=1e-6)


def _window(padded, cropped):
    """Where a crop lies in a padded image; it lies in one place only."""
    height, width, _ = cropped.shape
    places = [
        (i, j)
        for i in range(padded.shape[0] - height + 1)
        for j in range(padded.shape[1] - width + 1)
        if np.array_equal(padded[i : i + height, j : j + width], cropped)
    ]
    assert len(places) == 1
    return places[0]


def test_a_crop_is_a_window_of_the_padded_image():
    cropped = np.asarray(augment.random_crop(jax.random.key(0), IMAGES, padding=2))
    assert cropped.dtype == np.uint8
    assert cropped.shape == IMAGES.shape
    padded = np.pad(PIXELS, ((0, 0), (2, 2), (2, 2), (0, 0)))
    corners = [_window(p, c) for p, c in zip(padded, cropped, strict=True)]
    assert {i for i, _ in corners} == {j for _, j in corners} == set(range(5))
    assert len(set(corners)) > 12  # of 25: each image has its own place, in both directions


def test_no_padding_changes_nothing():
    np.testing.assert_array_equal(augment.random_crop(jax.random.key(0), IMAGES, 0), IMAGES)


def test_flips_half_of_the_images():
    images = np.tile(PIXELS, (16, 1, 1, 1))
    flipped = np.asarray(augment.random_flip(jax.random.key(0), jnp.asarray(images)))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(images))


@pytest.mark.parametrize("flip", [True, False])
def test_augment_flips_only_if_wanted(flip):
    out = np.asarray(augment.augment(jax.random.key(0), IMAGES, padding=0, flip=flip))
    assert (out != PIXELS).any() == flip


def test_other_keys_other_crops():
    one, other = (augment.augment(jax.random.key(k), IMAGES, 2, True) for k in (0, 1))
    assert (np.asarray(one) != np.asarray(other)).any()
