"""AZ-NAS (Lee & Ham 2024): four proxies of an untrained network, to be ranked together."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.proxies import untrained
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.space import Architecture, Space

_IMAGES = 16  # 64 in the release, for the same correlation with accuracy

# a method that is a block of the network, by its path
BLOCKS = {"nasbench201": r"_cell|reduce\d/__call__", "nasbench_macro": r"layer\d/__call__"}


def proxy(space: Space, architecture: Architecture, key: jax.Array) -> dict[str, float]:
    """Of the features before the first block and after every one

    - expressivity: the sum of the entropies of their principal components,
    - progressivity: the least that a block adds to the entropy,
    - trainability: the mean of `2 − σ − 1/σ`, σ from `spectral_norm`,
    - complexity: multiply-accumulates.

    Raises:
        UserError: it is not known what the space's blocks are.
    """
    of_weights, of_images, of_signs = jax.random.split(key, 3)
    if space.name not in BLOCKS:
        raise UserError(f"az_nas knows the blocks of {', '.join(BLOCKS)}, not of {space.name}")
    network, variables = untrained.create(space, architecture, of_weights)
    x = untrained.noise(space, _IMAGES, of_images)
    features, signs, gradients = through_blocks(
        network, variables, x, of_signs, re.compile(BLOCKS[space.name])
    )
    entropies = np.array([entropy(np.asarray(f)) for f in features])
    trained = [
        -np.inf if g.shape == s.shape and jnp.array_equal(g, s) else _near_one(spectral_norm(g, s))
        for g, s in zip(gradients, signs[1:], strict=True)
    ]
    return {
        "expressivity": float(np.sum(entropies)),
        "progressivity": float(np.min(np.diff(entropies))),
        "trainability": float(np.mean(trained)),
        "complexity": float(space.macs(architecture)),
    }


def through_blocks(
    network: nn.Module,
    variables: Any,
    x: Float[Array, "b h w c"],
    key: jax.Array,
    block: re.Pattern[str],
) -> tuple[list[Array], list[Array], list[Array]]:
    """Runs a network, and each of its blocks backwards on random signs.

    Args:
        network: as in `untrained.apply`.
        variables: its.
        x: images.
        key: of the signs.
        block: matches `path/of/module/method` of what a block is.

    Returns:
        Features before the first block and after every one; signs of the same shapes; for every
        block the gradient at its input, given the signs at its output.
    """

    def run(shifts: list[Array] | None) -> list[Array]:
        features: list[Array] = []

        def cut(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if not block.fullmatch("/".join((*context.module.path, context.method_name))):
                return next_call(*args, **kwargs)
            begin, *rest = args
            if not features:
                features.append(begin)
            if shifts is not None:
                # so that each shift is felt in its own block only
                begin = jax.lax.stop_gradient(begin) + shifts[len(features) - 1]
            features.append(next_call(begin, *rest, **kwargs))
            return features[-1]

        with nn.intercept_methods(cut):
            untrained.apply(network, variables, x)
        return features

    shapes = jax.eval_shape(lambda: run(None))
    shifts = [jnp.zeros(f.shape, f.dtype) for f in shapes[:-1]]
    features, backward = jax.vjp(run, shifts)
    keys = jax.random.split(key, len(features))
    pairs = zip(keys, features, strict=True)
    signs = [jax.random.rademacher(k, f.shape, f.dtype) for k, f in pairs]
    return features, signs, backward(signs)[0]


def entropy(features: Float[np.ndarray, "b h w c"]) -> float:
    """Of the variances along principal components, as parts of 1; 0 if nothing varies."""
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(flat, rowvar=False)).clip(0)
    if not np.any(variances):
        return 0.0
    parts = variances / np.sum(variances)
    return float(-np.sum(parts * np.log(parts + 1e-8)))


def spectral_norm(gradient: Float[Array, "b H W c"], signs: Float[Array, "b h w k"]) -> float:
    """σ of `E[g sᵀ]` over images and positions, an estimate of the block's Jacobian.

    Args:
        gradient: at the block's input; where that is larger, pixels become channels.
        signs: at its output.
    """
    b, h, w, k = signs.shape
    stride = gradient.shape[1] // h
    cut = gradient.reshape(b, h, stride, w, stride, -1).transpose(0, 1, 3, 2, 4, 5)
    product = cut.reshape(b * h * w, -1).T @ signs.reshape(-1, k) / (b * h * w)
    return float(np.linalg.norm(product, 2))


def _near_one(norm: float) -> float:
    """0 at 1, else less."""
    return 2 - norm - 1 / (norm + 1e-6)
