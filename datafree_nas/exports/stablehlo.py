"""StableHLO: the whole function, for JAX on all platforms without this package."""

from pathlib import Path

import jax
import jax.export

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches
from datafree_nas.runtime.files import write_bytes
from datafree_nas.students.export import exported

_FILE = "model.stablehlo"


def _write(network: Network, folder: Path) -> None:
    program = exported(network.logits, network.batch())
    write_bytes(folder / _FILE, bytes(program.serialize()))


def _run(folder: Path, images: Images) -> Logits:
    loaded = jax.export.deserialize(bytearray((folder / _FILE).read_bytes()))
    return in_batches(jax.jit(loaded.call), images)


_USAGE = """\
import jax
import jax.export

with open("model.stablehlo", "rb") as file:
    model = jax.jit(jax.export.deserialize(file.read()).call)
logits = model(images)
"""
FORMAT = Format(
    name="stablehlo",
    requires=["jax"],
    install="pip install jax flatbuffers",
    runtime="pip install jax flatbuffers",
    batch="b",
    write=_write,
    run=_run,
    usage=_USAGE,
)
