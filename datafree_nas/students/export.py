"""Files of a trained student that can be used without this package."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_names import state_dict
from datafree_nas.runtime import lowering
from datafree_nas.runtime.files import as_path, write_bytes, write_json
from datafree_nas.students import torch_source
from datafree_nas.students.student import CARD, Student, card

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(directory: str | Path, student: Student) -> None:
    """Writes `student.json`, `student.safetensors`, `student.py` and `student.stablehlo`.

    A space of one's own that has no PyTorch source leaves no `student.py`.

    Args:
        directory: existing directory for the files.
        student: student with trained variables.
    """
    directory = as_path(directory)
    here = jax.tree.map(jnp.asarray, jax.device_get(student.variables))  # on one device, no mesh
    student = student._replace(variables=here)
    write_json(directory / CARD, card(student))
    _write_safetensors(directory / "student.safetensors", student)
    if source := torch_source.source(student):
        write_bytes(directory / "student.py", source.encode())
    program = exported(student.logits, image_batch(student))
    write_bytes(directory / "student.stablehlo", bytes(program.serialize()))


def _write_safetensors(path: Path, student: Student) -> None:
    """Writes the weights under the names of the space's PyTorch release."""
    metadata = {
        "space": student.space.name,
        "architecture": student.space.encode(student.architecture),
        "mean": str(student.preprocessing.mean),
        "std": str(student.preprocessing.std),
    }
    torch_file.write(path, state_dict(student.variables, student.space.torch_name), metadata)


def exported(logits: Callable[[Array], Array], images: jax.ShapeDtypeStruct) -> jax.export.Exported:
    """Exports a network as StableHLO for all platforms, with its weights inside.

    Args:
        logits: function `images [b h w c] -> logits [b k]` whose weights are on one device.
        images: shape and type of a batch, of any number of images.
    """

    # The file has two forms of the network, because XLA:CPU runs plain depthwise convolutions up to
    # 17 times slower (a Proxyless network of width 0.5, 64 images of 32x32), while an accelerator
    # should get them. The weights are in the file once, and compiling keeps one of the two forms.
    def lowered_for(cpu: bool, images: UInt8[Array, "b h w c"]) -> Float[Array, "b k"]:
        with lowering.target(cpu):
            return logits(images)

    def on_any(images: UInt8[Array, "b h w c"]) -> Float[Array, "b k"]:
        return jax.lax.platform_dependent(
            images, cpu=lambda x: lowered_for(True, x), default=lambda x: lowered_for(False, x)
        )

    with _no_source_locations():
        return jax.export.export(jax.jit(on_any), platforms=PLATFORMS)(images)


@contextmanager
def _no_source_locations() -> Iterator[None]:
    """Keeps paths of this machine's source files out of the programs that are built inside."""
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)


def image_batch(student: Student) -> jax.ShapeDtypeStruct:
    """Returns the input of a student: bytes of its image size, for any number of images."""
    height, width, channels = student.space.image_size
    shape = jax.export.symbolic_shape(f"b, {height}, {width}, {channels}")
    return jax.ShapeDtypeStruct(shape, jnp.uint8)
