"""The terms of the synthesis loss as pure functions. Norms are not squared, as in the release."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from datafree_nas.teachers.taps import Tap

_TINY = 1e-8  # where a norm is smaller, its gradient is zero instead of NaN


def cross_entropy(logits: Float[Array, "b k"], targets: Float[Array, "b k"]) -> Float[Array, ""]:
    """Returns the mean over the batch of `−Σ targets · log softmax(logits)`."""
    return jnp.mean(optax.softmax_cross_entropy(logits, targets))


def batch_norm_matching(taps: Sequence[Tap], first_weight: float) -> Float[Array, ""]:
    """Returns `Σ_k w_k (‖mean_k − running_mean_k‖₂ + ‖var_k − running_var_k‖₂)` over layers k.

    The norms are averaged over the groups of images.

    Args:
        taps: statistics of each BatchNorm layer, in the order in which the layers are called.
        first_weight: w of the first layer, 10 in the release; w is 1 for the others.
    """
    total = jnp.float32(0)
    for layer, tap in enumerate(taps):
        mean_distance = optax.safe_norm(tap.mean - tap.running_mean, _TINY, axis=-1)
        var_distance = optax.safe_norm(tap.var - tap.running_var, _TINY, axis=-1)
        weight = first_weight if layer == 0 else 1.0
        total += weight * jnp.mean(mean_distance + var_distance)
    return total


def _neighbour_differences(x: Float[Array, "b h w c"]) -> list[Array]:
    """Returns differences to the neighbours on the right, below, below right and below left."""
    return [
        x[:, :, 1:] - x[:, :, :-1],
        x[:, 1:] - x[:, :-1],
        x[:, 1:, 1:] - x[:, :-1, :-1],
        x[:, 1:, :-1] - x[:, :-1, 1:],
    ]


def tv_l1(x: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns the mean absolute difference of neighbouring pixels, summed over four directions."""
    return sum((jnp.mean(jnp.abs(d)) for d in _neighbour_differences(x)), jnp.float32(0))


def tv_l2(x: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns the norm of the differences of neighbouring pixels, summed over four directions.

    Each norm is taken over the whole batch.
    """
    return sum((optax.safe_norm(d, _TINY) for d in _neighbour_differences(x)), jnp.float32(0))


def l2(x: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Returns the mean over the images of the norm of an image."""
    return jnp.mean(optax.safe_norm(x.reshape(x.shape[0], -1), _TINY, axis=-1))


def competition(
    teacher_logits: Float[Array, "b k"], student_logits: Float[Array, "b k"], temperature: float
) -> Float[Array, ""]:
    """Returns `1 − JS(teacher, student)`, the loss term of Adaptive DeepInversion.

    P (student) and Q (teacher) are the softmax of the logits divided by `temperature`, and M is the
    mean of P and Q. As in the release, all three are then clipped to [0.01, 0.99]. JS is
    `½ KL(M‖P) + ½ KL(M‖Q)`, averaged over the batch and clipped to [0, 1].
    """
    p = jax.nn.softmax(student_logits / temperature)
    q = jax.nn.softmax(teacher_logits / temperature)
    p, q, m = (jnp.clip(d, 0.01, 0.99) for d in (p, q, 0.5 * (p + q)))

    def divergence(other: Array) -> Array:
        return jnp.mean(jnp.sum(m * (jnp.log(m) - jnp.log(other)), axis=-1))

    return 1 - jnp.clip(0.5 * divergence(p) + 0.5 * divergence(q), 0, 1)
