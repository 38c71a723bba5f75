"""Measures statistics at the input of every BatchNorm layer, with no change to the model."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.runtime import mesh

_SAMPLED = 4  # every fourth row and column gives a first guess of the mean


class Tap(NamedTuple):
    """Statistics of one BatchNorm layer: those of its input, and those that it has stored.

    Attributes:
        mean: mean of the input over images and positions, for each group of images, `[g c]`.
        var: variance of the input, for each group, `[g c]`; biased (divided by the count).
        running_mean: stored mean of the input in training, `[c]`.
        running_var: stored variance of the input in training, `[c]`.
    """

    mean: Float[Array, "g c"]
    var: Float[Array, "g c"]
    running_mean: Float[Array, "c"]
    running_var: Float[Array, "c"]


def apply_with_taps(
    model: nn.Module, variables: Any, x: Float[Array, "b h w c"], groups: int = 1
) -> tuple[Float[Array, "b k"], list[Tap]]:
    """Runs a model in evaluation mode and measures the input of its BatchNorm layers.

    Works on any Linen model: its `nn.BatchNorm` calls are intercepted.

    Args:
        model: Linen module, called as `model.apply(variables, x, train=False)`.
        variables: variables of the model, with the collections `params` and `batch_stats`.
        x: normalized images `[b h w c]`.
        groups: number of equal groups of consecutive images, each with statistics of its own.

    Returns:
        The logits, and one `Tap` for each BatchNorm layer, in the order of the calls.
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
    """Computes mean and variance in one pass over the activations, in float32.

    `E[d²] − E[d]²` loses precision far from zero, so d is the difference from an estimate of the
    mean, taken from a part of the positions. Mathematically neither the result nor its gradients
    depend on the estimate.
    """
    x = x.astype(jnp.float32)
    part = x[:, *[slice(None, None, _SAMPLED)] * (x.ndim - 2)]
    near = jax.lax.stop_gradient(jnp.mean(part, axis=range(x.ndim - 1)))
    shifted = x.reshape(_rows(x.shape[0], groups), -1, x.shape[-1]) - near
    first = _of_groups(jnp.mean(shifted, axis=1), groups)
    second = _of_groups(jnp.mean(jnp.square(shifted), axis=1), groups)
    return near + first, second - jnp.square(first)


def _rows(images: int, groups: int) -> int:
    """Returns into how many parts a batch is cut to be averaged.

    The parts are the groups, if each device holds whole groups or several devices share one; else
    they are the images. Any other cut would gather all activations on all devices.
    """
    devices = len(mesh.devices())
    return images if groups % devices and devices % groups else groups


def _of_groups(means: Float[Array, "r c"], groups: int) -> Float[Array, "g c"]:
    """Computes the means of groups from those of images; each device sums its own images."""
    size = len(means) // groups
    if size == 1:
        return means
    member = jnp.repeat(jnp.eye(groups) / size, size, axis=1)
    return jnp.matmul(member, means, precision="highest")
