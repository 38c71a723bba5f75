import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from datafree_nas.data import augment, color
from datafree_nas.runtime.errors import UserError

PIXELS = np.random.default_rng(0).integers(1, 256, (64, 5, 6, 3), dtype=np.uint8)  # none is black
IMAGES = jnp.asarray(PIXELS)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NORMALIZED = (PIXELS / 255 - MEAN) / STD
EVERYTHING = {
    "crop_scale": (0.3, 1.0),
    "flip": True,
    "color_jitter": (0.4, 0.3, 0.2, 0.1),
    "lighting": 0.2,
    "cutout": 3,
    "mixup": True,
}


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


def _augmented(key=0, images=IMAGES, **changes):
    recipe = common.recipe(**{"crop_padding": 0, "flip": False, **changes})
    channels = images.shape[-1]
    compiled = jax.jit(augment.make_augmentation(recipe, MEAN[:channels], STD[:channels]))
    return np.asarray(compiled(_key(key), images))


def _key(seed):
    return jax.random.key(seed)


@pytest.mark.parametrize("flip", [True, False])
def test_flips_only_if_wanted(flip):
    assert (np.abs(_augmented(flip=flip) - NORMALIZED) > 1e-5).any() == flip


def test_crop_and_flip_leave_bytes():
    crop, flip = jax.random.split(_key(0))
    images = augment.random_flip(flip, augment.random_crop(crop, IMAGES, 2))
    expected = jax.jit(lambda images: augment.normalize(images, MEAN, STD))(images)
    np.testing.assert_array_equal(_augmented(crop_padding=2, flip=True), expected)


def test_all_together_come_in_order(monkeypatch):
    """Each step is replaced by one that changes nothing and notes what it was called with."""
    calls = []

    def note(name):
        def step(key, images, *setting):
            calls.append((name, setting, np.asarray(images), key))
            return images

        return step

    for module, name in (
        *((augment, "random_flip"), (augment, "random_resized_crop"), (augment, "cutout")),
        *((augment, "mixup"), (color, "jitter"), (color, "lighting")),
    ):
        monkeypatch.setattr(module, name, note(name))
    augment.make_augmentation(common.recipe(crop_padding=0, **EVERYTHING), MEAN, STD)(
        _key(0), IMAGES
    )
    names, settings, images, keys = zip(*calls, strict=True)
    assert names == ("random_flip", "random_resized_crop", "jitter", "lighting", "cutout", "mixup")
    assert settings == ((), ((0.3, 1.0),), ((0.4, 0.3, 0.2, 0.1),), (0.2,), (3,), ())
    expected_images = [PIXELS, *[PIXELS / 255] * 3, *[NORMALIZED] * 2]
    for seen, expected in zip(images, expected_images, strict=True):
        np.testing.assert_allclose(seen, expected, atol=1e-5)
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == 6


@pytest.mark.parametrize("field", EVERYTHING)
def test_every_field_changes_images(field):
    changed = _augmented(**{field: EVERYTHING[field]})
    assert (np.abs(changed - NORMALIZED) > 1e-5).any(axis=(1, 2, 3)).mean() > 0.4


def test_a_key_decides_everything():
    first, again, other = (_augmented(key, **EVERYTHING) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()


def test_every_image_has_its_own_draws():
    found = _augmented(images=jnp.tile(IMAGES[:1], (64, 1, 1, 1)), **EVERYTHING)
    assert len(np.unique(found.reshape(64, -1), axis=0)) == 64


def test_grey_images():
    jittered = _augmented(images=IMAGES[..., :1], color_jitter=(0.4, 0.4, 0, 0), cutout=2)
    assert jittered.shape == (64, 5, 6, 1)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cutout_is_a_square_around_any_pixel(side):
    height, width, count = 5, 7, 3500
    images = jnp.ones((count, height, width, 2))
    cut = np.asarray(jax.jit(augment.cutout, static_argnums=2)(_key(0), images, side)) == 0
    np.testing.assert_array_equal(cut[..., 0], cut[..., 1])
    patterns, counts = np.unique(cut[..., 0], axis=0, return_counts=True)
    expected = set()
    for centre in np.ndindex(height, width):
        square = np.zeros((height, width), bool)
        top, left = (max(at - side // 2, 0) for at in centre)
        bottom, right = (at - side // 2 + side for at in centre)
        square[top:bottom, left:right] = True
        expected.add(square.tobytes())
    assert {pattern.tobytes() for pattern in patterns} == expected
    assert len(expected) == height * width  # so that every centre is as likely as any other
    assert np.abs(counts - 100).max() < 45


def test_mixup_averages_neighbours():
    ones = jnp.eye(500).reshape(500, 500, 1, 1)  # image i has a 1 at place i
    mixed = np.asarray(augment.mixup(_key(0), ones))[..., 0, 0]
    share = np.diag(mixed)
    np.testing.assert_allclose(mixed[np.arange(500), np.arange(500) - 1], 1 - share, atol=1e-6)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    assert np.abs(np.sort(share) - np.linspace(0, 1, 500)).max() < 0.08  # uniform (Kolmogorov)


@pytest.mark.parametrize(
    ("changes", "channels", "message"),
    [
        ({"lighting": 0.1}, 1, "lighting=0.1 .* images of 1 channel.* set it to 0"),
        ({"color_jitter": (0.1, 0, 0.5, 0)}, 1, "color_jitter=.* set saturation and hue"),
        ({"color_jitter": (0, 0, 0, 0.1)}, 1, "color_jitter=.* set saturation and hue"),
        ({"color_jitter": (0.4, 0.4, 0.4)}, 3, "color_jitter=.*: give brightness, contrast"),
        ({"color_jitter": (1.1, 0, 0, 0)}, 3, "color_jitter=.*: give brightness, contrast"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.6)}, 3, "color_jitter=.*: give brightness, contrast"),
        ({"color_jitter": (0, -0.1, 0, 0)}, 3, "color_jitter=.*: give brightness, contrast"),
        ({"crop_scale": (0.08,)}, 3, "crop_scale=.*: give the least and the greatest"),
        ({"crop_scale": (0.9, 0.5)}, 3, "crop_scale=.*: give the least and the greatest"),
        ({"crop_scale": (0.0, 1.0)}, 3, "crop_scale=.*: give the least and the greatest"),
        ({"crop_scale": (0.5, 1.5)}, 3, "crop_scale=.*: give the least and the greatest"),
        ({"crop_scale": (0.5, 1.0), "crop_padding": 4}, 3, "crop_padding=4 .* another kind"),
        ({"crop_padding": -1}, 3, "crop_padding=-1 .* cannot be negative"),
        ({"lighting": -0.1}, 3, "lighting=-0.1 .* cannot be negative"),
        ({"cutout": -1}, 3, "cutout=-1 .* cannot be negative"),
        ({"mixup": True, "labels": "stored"}, 3, "mixup=True .* only the teacher can label"),
    ],
)
def test_what_makes_no_sense(changes, channels, message):
    recipe = common.recipe(**{"crop_padding": 0, **changes})
    with pytest.raises(UserError, match=message):
        augment.make_augmentation(recipe, MEAN[:channels], STD[:channels])
