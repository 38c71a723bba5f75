"""Arrays with axes in another order than PyTorch's, against NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.teachers.graph.ops.shapes import permute, transpose
from datafree_nas.teachers.graph.tensor import Tensor, aligned, from_channels_last, plain, reshaped

SEEDS = range(10)


def permuted(array, generator):
    """Returns the tensor of an array, with its axes in a random order."""
    order = tuple(int(dim) for dim in generator.permutation(array.ndim))
    return Tensor(jnp.asarray(array.transpose(order)), order)


def numbered(shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def regrouped(factors, generator):
    """Returns a random shape of as many elements as the factors have: merged, and ones between."""
    cuts = np.flatnonzero(generator.integers(0, 2, len(factors) - 1)) + 1
    shape = [math.prod(map(int, part)) for part in np.split(factors, cuts)]
    for _ in range(generator.integers(0, 3)):
        shape.insert(generator.integers(0, len(shape) + 1), 1)
    return shape


@pytest.mark.parametrize("seed", SEEDS)
def test_reshaping_agrees_with_numpy(seed):
    generator = np.random.default_rng(seed)
    factors = generator.choice([2, 3, 5], size=generator.integers(2, 6))
    array = numbered(regrouped(factors, generator))
    for _ in range(2):
        shape = regrouped(factors, generator)
        x = permuted(array, generator)
        result = reshaped(x, shape)
        assert result.shape == tuple(shape)
        np.testing.assert_array_equal(result.plain(), array.reshape(shape))
        unknown = [*shape]
        unknown[generator.integers(len(shape))] = -1
        np.testing.assert_array_equal(reshaped(x, unknown).plain(), array.reshape(unknown))
        array = array.reshape(shape)


def test_reshaping_of_other_factors_agrees_with_numpy():
    """Runs of dimensions whose sizes agree only all together."""
    array = numbered((4, 6, 5))
    for seed in SEEDS:
        x = permuted(array, np.random.default_rng(seed))
        for shape in [(6, 4, 5), (6, 20), (8, 15), (3, 1, 40), (4, 5, 6), (120,), (1, 120, 1)]:
            np.testing.assert_array_equal(reshaped(x, shape).plain(), array.reshape(shape))


def test_reshaping_to_and_from_a_number():
    assert reshaped(plain(numbered((1, 1, 1))), ()).shape == ()
    assert reshaped(plain(numbered(())), (1, -1)).shape == (1, 1)


def test_reshaping_of_nothing():
    assert reshaped(plain(numbered((2, 0, 3))), (0, 5)).shape == (0, 5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((2, 3), (4,)),
        ((2, 3), (7, 1)),
        ((2, 3), (4, -1)),
        ((4, 6), (5, 5)),
        ((2, 3), (2, 3, 2)),
        ((2, 3), ()),
        ((2, 3), (0,)),
        ((2, 0), (3, 1)),
    ],
)
def test_a_shape_of_another_size_is_refused(old, new):
    with pytest.raises(ValueError, match="cannot be reshaped"):
        reshaped(permuted(numbered(old), np.random.default_rng(0)), new)


@pytest.mark.parametrize("seed", SEEDS)
def test_aligned_tensors_broadcast_as_in_numpy(seed):
    generator = np.random.default_rng(seed)
    shape = generator.integers(1, 4, size=generator.integers(1, 5))
    arrays = []
    for _ in range(3):
        kept = shape[generator.integers(0, len(shape) + 1) :]
        arrays.append(numbered([side if generator.integers(2) else 1 for side in kept]))
    arrays[1] = numbered(shape)
    (one, two, number, three), order = aligned(
        *(permuted(each, generator) for each in arrays[:2]), 5, permuted(arrays[2], generator)
    )
    assert number == 5
    expected = arrays[0] - arrays[1] * arrays[2]
    np.testing.assert_array_equal(Tensor(one - two * three, order).plain(), expected)


def test_the_largest_tensor_keeps_its_axes():
    image, vector = from_channels_last(jnp.zeros((2, 4, 4, 3))), plain(jnp.zeros((3, 1, 1)))
    for pair in [(image, vector), (vector, image)]:
        assert aligned(*pair)[1] == image.order


@pytest.mark.parametrize("seed", SEEDS)
def test_a_permutation_leaves_the_array_as_it_lies(seed):
    generator = np.random.default_rng(seed)
    array = numbered((2, 3, 4, 5))
    x, dims = permuted(array, generator), [int(dim) for dim in generator.permutation(4)]
    result = permute(x, [dim - 4 * int(generator.integers(2)) for dim in dims])
    assert result.array is x.array
    assert result.shape == array.transpose(dims).shape
    np.testing.assert_array_equal(result.plain(), array.transpose(dims))


def test_a_shuffle_of_channels_keeps_them_last():
    b, c, h, w, groups = 2, 6, 3, 4, 3
    array = numbered((b, c, h, w))
    x = from_channels_last(jnp.asarray(array.transpose(0, 2, 3, 1)))
    split = reshaped(x, (b, groups, c // groups, h, w))
    swapped = transpose(split, 1, 2)
    result = reshaped(swapped, (b, c, h, w))
    assert swapped.array is split.array
    assert split.order == (0, 3, 4, 1, 2)
    assert result.order == x.order
    expected = array.reshape(b, groups, c // groups, h, w).swapaxes(1, 2).reshape(b, c, h, w)
    np.testing.assert_array_equal(result.plain(), expected)


def test_pixels_become_tokens_where_they_lie():
    x = from_channels_last(jnp.asarray(numbered((2, 3, 4, 5))))
    tokens = transpose(reshaped(x, (2, 5, 12)), 1, 2)
    assert tokens.order == (0, 1, 2)
    np.testing.assert_array_equal(tokens.array, x.array.reshape(2, 12, 5))
