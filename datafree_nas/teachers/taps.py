"""Statistics at the input of every BatchNorm, with no change to the model."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.runtime import mesh

_SAMPLED = 4  # every fourth row and column gives a first guess of the mean


class Tap(NamedTuple):
    """What one BatchNorm layer sees and what it remembers.

    Attributes:
        mean: of the input over images and positions, for each group of images, `[g c]`.
        var: likewise, biased (divided by the count).
        running_mean: of the training data, `[c]`.
        running_var: likewise.
    """

    mean: Float[Array, "g c"]
    var: Float[Array, "g c"]
    running_mean: Float[Array, "c"]
    running_var: Float[Array, "c"]


def apply_with_taps(
    model: nn.Module, variables: Any, x: Float[Array, "b h w c"], groups: int = 1
) -> tuple[Float[Array, "b k"], list[Tap]]:
    """Runs a model in evaluation mode and taps its BatchNorm layers.

    Works on any Linen model: its `nn.BatchNorm` calls are intercepted.

    Args:
        model: called as `model.apply(variables, x, train=False)`.
        variables: with the collections `params` and `batch_stats`.
        x: normalized images.
        groups: over how many equal groups of consecutive images statistics are taken apart.

    Returns:
        The logits, and one tap a BatchNorm layer in the order of the calls.
    """
    taps: list[Tap] = []

    def tap(next_call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            running = variables["batch_stats"]
            for name in context.module.path:
                running = running[name]
            mean, var = _statistics(args[0], groups)
            taps.append(Tap(mean, var, running["mean"], running["var"]))
        return next_call(*args, **kwargs)

    with nn.intercept_methods(tap):
        logits = model.apply(variables, x, train=False)
    return logits, taps


def _statistics(x: Float[Array, "b *s c"], groups: int) -> tuple[Array, Array]:
    """Mean and variance in one pass over the activations.

    `E[d²] − E[d]²` cancels badly far from zero, so d is taken from about the mean: that of a part
    of the positions. Mathematically the result does not depend on it, nor do gradients. In float32,
    whatever the activations are in.
    """
    x = x.astype(jnp.float32)
    part = x[:, *[slice(None, None, _SAMPLED)] * (x.ndim - 2)]
    near = jax.lax.stop_gradient(jnp.mean(part, axis=range(x.ndim - 1)))
    shifted = x.reshape(_rows(x.shape[0], groups), -1, x.shape[-1]) - near
    first = _of_groups(jnp.mean(shifted, axis=1), groups)
    second = _of_groups(jnp.mean(jnp.square(shifted), axis=1), groups)
    return near + first, second - jnp.square(first)


def _rows(images: int, groups: int) -> int:
    """Into how many parts a batch is cut to be averaged: groups, if devices hold whole ones or
    several share one; else images. Any other cut would gather all activations on all devices.
    """
    devices = len(mesh.devices())
    return images if groups % devices and devices % groups else groups


def _of_groups(means: Float[Array, "r c"], groups: int) -> Float[Array, "g c"]:
    """Means of groups out of those of images; the sum is taken where the images are."""
    size = len(means) // groups
    if size == 1:
        return means
    member = jnp.repeat(jnp.eye(groups) / size, size, axis=1)
    return jnp.matmul(member, means, precision="highest")
