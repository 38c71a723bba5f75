import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.data import resized_crop
from tests.teachers.originals import torch, torchvision

KEY = jax.random.key(0)
COUNT = 2000


def _torchvision_resized(image, window, antialias):
    planes = torch.from_numpy(image).permute(2, 0, 1)
    crop = torchvision.transforms.functional.resized_crop
    return crop(planes, *window, image.shape[:2], antialias=antialias).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("antialias", [True, False])  # nothing shrinks, so it changes nothing
def test_windows_are_resized_as_by_torchvision(channels, antialias):
    windows = [(0, 0, 8, 11), (3, 5, 5, 6), (7, 10, 1, 1), (2, 0, 4, 11), (0, 4, 8, 3)]
    images = np.random.default_rng(0).random((5, 8, 11, channels), dtype=np.float32)
    resized = jax.jit(resized_crop.resize_windows)(jnp.asarray(images), jnp.array(windows))
    for image, window, found in zip(images, windows, resized, strict=True):
        expected = _torchvision_resized(image, window, antialias)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_whole_image_is_itself():
    images = jnp.asarray(np.random.default_rng(0).random((2, 5, 6, 3), dtype=np.float32))
    whole = jnp.array([[0, 0, 5, 6]] * 2)
    np.testing.assert_allclose(resized_crop.resize_windows(images, whole), images, atol=1e-6)


def _windows(size, scale):
    draw = jax.jit(resized_crop.random_windows, static_argnums=(1, 2))
    return np.asarray(draw(KEY, (COUNT, *size), scale))


def _torchvision_windows(size, scale):
    torch.manual_seed(0)
    draw = torchvision.transforms.RandomResizedCrop.get_params
    return np.array([draw(torch.zeros(1, *size), scale, (3 / 4, 4 / 3)) for _ in range(COUNT)])


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (12, 60), (60, 12)])
def test_windows_are_distributed_as_torchvisions(size):
    """Kolmogorov and Smirnov's distance, at a level of one in a thousand for each."""
    ours, theirs = _windows(size, (0.08, 1.0)), _torchvision_windows(size, (0.08, 1.0))
    both = np.sort(np.concatenate([ours, theirs]), axis=0)
    for axis in range(4):
        share = [
            np.searchsorted(np.sort(w[:, axis]), both[:, axis], "right") / COUNT
            for w in (ours, theirs)
        ]
        assert np.abs(share[0] - share[1]).max() < 1.95 * np.sqrt(2 / COUNT)


@pytest.mark.parametrize(("size", "scale"), [((32, 32), (0.08, 1.0)), ((20, 30), (0.5, 0.6))])
def test_windows_keep_to_their_ranges(size, scale):
    top, left, height, width = _windows(size, scale).T
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() == size[0]
    assert (left + width).max() == size[1]
    area = np.prod(size)  # sides are whole pixels, so that each may be off by half a pixel
    assert ((height + 0.5) * (width + 0.5) >= scale[0] * area).all()
    assert ((height - 0.5) * (width - 0.5) <= scale[1] * area).all()
    assert ((width + 0.5) / (height - 0.5) >= 3 / 4).all()
    assert ((width - 0.5) / (height + 0.5) <= 4 / 3).all()
    windows = np.stack([top, left, height, width], axis=1)
    assert len(np.unique(windows, axis=0)) > COUNT / 4  # every image has its own


@pytest.mark.parametrize(
    ("size", "window"),
    [((12, 60), (0, 22, 12, 16)), ((60, 12), (22, 0, 16, 12)), ((10, 12), (0, 0, 10, 12))],
)
def test_where_none_fits_the_largest_in_the_middle(size, window):
    torch.manual_seed(0)
    draw = torchvision.transforms.RandomResizedCrop.get_params
    for scale in ((30.0, 40.0), (20.0, 20.0)):  # no such window lies in its image
        assert draw(torch.zeros(1, *size), scale, (3 / 4, 4 / 3)) == window
        assert (_windows(size, scale) == window).all()


def test_the_fallback_is_as_frequent_as_torchvisions():
    size, window = (12, 60), (0, 22, 12, 16)
    ours, theirs = (
        (draw(size, (0.08, 1.0)) == window).all(axis=1).mean()
        for draw in (_windows, _torchvision_windows)
    )
    assert theirs > 0.1
    assert abs(ours - theirs) < 4 * np.sqrt(2 * theirs * (1 - theirs) / COUNT)
