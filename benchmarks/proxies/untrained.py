"""A network before training, looked into while it runs on noise."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.extend import core
from jaxtyping import Array, Float

from datafree_nas.layers import initial
from datafree_nas.spaces.space import Architecture, Space

_RELUS = ("relu", "relu6")


def create(
    space: Space, architecture: Architecture, key: jax.Array, rule: initial.Rule = initial.fan_in
) -> tuple[nn.Module, Any]:
    """The architecture's network and initial variables."""
    network = space.network(architecture)
    image = jax.ShapeDtypeStruct((1, *space.image_size), "float32")
    return network, initial.variables(network, key, image, rule=rule)


def noise(space: Space, images: int, key: jax.Array) -> Float[Array, "b h w c"]:
    """Standard normal images."""
    return jax.random.normal(key, (images, *space.image_size))


def apply(network: nn.Module, variables: Any, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
    """Logits, with the statistics of this batch in every BatchNorm."""
    return network.apply(variables, x, train=True, mutable=["batch_stats"])[0]


def with_relu_inputs(function: Callable[..., Any], *args: Any) -> tuple[Any, list[Array]]:
    """`function(*args)`, and the inputs of all its ReLUs in the order of the calls.

    ReLU is a function, not a module that could be intercepted, but has a name in the program.
    """
    program, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    jaxpr, own = program.jaxpr, len(program.jaxpr.outvars)
    relus = [equation.invars[0] for equation in jaxpr.eqns if _is_relu(equation)]
    seen = core.ClosedJaxpr(jaxpr.replace(outvars=[*jaxpr.outvars, *relus]), program.consts)
    found = core.jaxpr_as_fun(seen)(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shapes), found[:own]), found[own:]


def _is_relu(equation: core.JaxprEqn) -> bool:
    inner = equation.params.get("call_jaxpr")  # it has a derivative of its own
    return inner is not None and inner.eqns[0].params.get("name") in _RELUS
