"""Our side of a comparison of synthesis: its step, run as the stage runs it.

This module is not a command.
"""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import floors
from benchmarks.floors import Work
from benchmarks.turns import Advance
from datafree_nas.interop.torch_file import Tensor
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.repeat import repeat
from datafree_nas.synthesis import synthesizer
from datafree_nas.teachers import Teacher
from datafree_nas.teachers import port as teacher_port

SCHEDULE = 3000  # iterations of the learning rate's schedule; nothing runs to its end


class Settings(dict[str, Any]):
    """A config without ml_collections, which may be missing on a machine for benchmarks."""

    __getattr__ = dict.__getitem__


def synthesis_config(side: int = 32, dtype: str = "float32") -> Settings:
    """Returns `config.synthesis` as in configs/common.py, for images of the given side."""
    return Settings(
        margin=side // 7,  # 4 for CIFAR, 32 for ImageNet
        roll=0,
        noise="white",
        flip=True,
        dtype=dtype,
        learning_rate=0.25,
        warmup=100,
        betas=(0.5, 0.9),
        cross_entropy=1.0,
        batch_norm=0.01,
        first_batch_norm=10.0,
        batch_norm_group=0,
        tv_l1=0.0,
        tv_l2=1e-4,
        l2=1e-5,
        competition=0.0,
    )


def ours(teacher: Teacher, variables: Any, config: Config, batch: int) -> tuple[Advance, Work]:
    """Builds our side, as the synthesis stage runs it, and counts the work of an iteration."""
    step = synthesizer.make_synthesis_step(
        teacher, config, batch=batch, pool=1, iterations=SCHEDULE
    )
    run = repeat(step)
    frozen = jax.device_put(synthesizer.Frozen(variables), mesh.replicated())
    labels = jnp.arange(batch) % teacher.num_classes
    state = synthesizer.create_synthesis_state(jax.random.key(0), labels, teacher, config)

    def advance(n: int) -> None:
        nonlocal state
        state, _ = jax.block_until_ready(run(state, frozen, n))

    return advance, floors.work(step, state, frozen)


def port(teacher: Teacher, model: Any) -> Any:
    """Converts the weights of a PyTorch model to variables of ours."""
    tensors = {
        name: Tensor(tuple(tensor.shape), "float32", tensor.numpy)
        for name, tensor in model.state_dict().items()
    }
    return teacher_port.convert(teacher_port.match(teacher.arch, tensors), tensors)
