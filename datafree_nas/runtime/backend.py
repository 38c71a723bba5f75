"""Which backend the computations run on."""

import jax


def on_cpu() -> bool:
    """Tells whether computations run on XLA:CPU."""
    return jax.default_backend() == "cpu"
