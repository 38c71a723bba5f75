r"""Compares gradients of the distillation loss with those of a cross-entropy, on the same logits.

    python -m benchmarks.distillation_scale --config=FILE --workdir=DIR --steps=0,100,1000

DIR is that of a run whose stages teacher and synthesize are done. A random architecture of
`config.search.space` is trained with `config.student.train` on the synthetic images, for each
number of steps anew. Then a batch of images is taken as in training, and for each loss the gradient
with respect to the logits is computed: of the cross-entropy with hard labels, and of the KL
divergence from the teacher at the recipe's temperature T, times 1 (whose gradient is that of the
release's loss), T, T², and `trainer.gradient_scale`.

Columns: `ce` and `loss`, the values of the cross-entropy and of the default loss, in nats;
`ce_norm`, the mean norm of the cross-entropy's gradient per image; `x1`, `xT`, `xT2` and `default`,
the same norm of the KL divergence with the four factors, relative to it; `value`, the quotient of
the default loss's value and gradient, relative to that of the cross-entropy. By so much a factor of
the loss, such as ProxylessNAS' cost, is stronger than beside a cross-entropy.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jaxtyping import Array, Float
from ml_collections import config_flags

from benchmarks import results
from benchmarks.json_flag import JSON
from datafree_nas.data.images import ImageSet
from datafree_nas.experiment import Experiment, resolve
from datafree_nas.layers import initial
from datafree_nas.runtime import seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.spaces.space import Architecture
from datafree_nas.synthesis import store
from datafree_nas.training import fit, trainer
from datafree_nas.training.trainer import Batch

_DEFAULT = Path(__file__).parents[1] / "configs" / "digits_spos.py"
_IMAGES = 512

_CONFIG = config_flags.DEFINE_config_file("config", None, "default: configs/digits_spos.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
_STEPS = flags.DEFINE_list("steps", ["0", "100", "1000"], "numbers of training steps")


def scales(
    logits: Float[Array, "b k"], batch: Batch, temperature: float
) -> dict[str, Float[Array, ""]]:
    """Compares the losses on a batch.

    Args:
        logits: logits of the network.
        batch: images with hard labels and the teacher's logits.
        temperature: temperature of the distillation.

    Returns:
        The columns that the module describes.
    """
    assert batch.soft is not None
    soft = batch.soft
    factor = trainer.gradient_scale(jax.nn.softmax(soft / temperature), temperature)

    def cross_entropy(z: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(z, batch.labels).mean()

    def divergence(z: Array) -> Array:
        return trainer.distillation(z, soft, temperature)

    size = _norm(jax.grad(cross_entropy)(logits))
    default = _norm(jax.grad(divergence)(logits)) / size
    ce, loss = cross_entropy(logits), divergence(logits)
    return {
        "ce": ce,
        "loss": loss,
        "ce_norm": size,
        "x1": default / factor,
        "xT": default / factor * temperature,
        "xT2": default / factor * temperature**2,
        "default": default,
        "value": loss / default / ce,
    }


def _norm(gradient: Float[Array, "b k"]) -> Float[Array, ""]:
    """Returns the mean norm of the gradient of one image's loss."""
    return jnp.mean(jnp.linalg.norm(gradient * len(gradient), axis=-1))


def _run() -> None:
    keep_memory()
    path = results.destination(JSON.value)
    experiment = resolve(_CONFIG.value, _WORKDIR.value)
    images = store.load(experiment.workdir.synthetic)
    space, key = experiment.space, seeds.key_for(experiment.config.seed, "scale")
    architecture = np.asarray(space.sample(key))
    rows = [_row(experiment, images, architecture, int(steps)) for steps in _STEPS.value]
    recipe = experiment.config.student.train
    settings = {"architecture": space.encode(architecture), "temperature": recipe.temperature}
    results.report(rows, settings, path)


def _row(
    experiment: Experiment, images: ImageSet, architecture: Architecture, steps: int
) -> dict[str, Any]:
    recipe = experiment.config.student.train.copy_and_resolve_references()
    recipe.update(steps=steps, calibration_batches=0)
    variables = _trained(experiment, images, architecture, recipe)
    labeller, model = experiment.labeller(), experiment.space.network(architecture)
    recipe.batch_size = _IMAGES
    data = trainer.data_of(images, labeller.variables, recipe)
    batch = trainer.make_batch_sampler(labeller, recipe)(jax.random.key(0), data)
    logits, _ = model.apply(variables, batch.x, train=True, mutable=["batch_stats"])
    found = scales(logits, batch, recipe.temperature)
    return {"name": f"{steps} steps", **{name: float(value) for name, value in found.items()}}


def _trained(
    experiment: Experiment, images: ImageSet, architecture: Architecture, recipe: Config
) -> Any:
    model, rule = experiment.space.network(architecture), experiment.space.initial
    key = seeds.key_for(experiment.config.seed, "student")
    if not recipe.steps:
        image = jax.ShapeDtypeStruct((1, *images.image_size), jnp.float32)
        return initial.variables(model, key, image, rule=rule)
    with tempfile.TemporaryDirectory() as directory:
        return fit.fit(
            model,
            images,
            experiment.labeller(),
            recipe,
            key,
            label=f"train {recipe.steps} steps",
            directory=Path(directory),
            rule=rule,
        )


def main(_argv: list[str]) -> None:
    """Compares what the flags name."""
    exit_cleanly(_run)


def _parse(argv: list[str]) -> list[str]:
    return parse(argv, default_config=str(_DEFAULT))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
