"""PyTorch: a program of torch.export, which needs nothing but PyTorch.

The source of a student, `student.py`, lies beside its weights already.
"""

import warnings
from pathlib import Path

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches

_FILE = "model.pt2"


def _write(network: Network, folder: Path) -> None:
    import torch

    from datafree_nas.exports import torch_module

    module = torch_module.module(network.logits, network.batch())
    images = torch.zeros((2, *network.image_size), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = ({0: torch.export.Dim("b")},)
        torch.export.save(
            torch.export.export(module, (images,), dynamic_shapes=sizes), folder / _FILE
        )


def _run(folder: Path, images: Images) -> Logits:
    import torch

    module = torch.export.load(folder / _FILE).module()
    with torch.no_grad():
        return in_batches(lambda batch: module(torch.from_numpy(batch)).numpy(), images)


_USAGE = """\
import torch

model = torch.export.load("model.pt2").module()
with torch.no_grad():
    logits = model(torch.from_numpy(images)).numpy()
"""
FORMAT = Format(
    name="torch",
    requires=["torch"],
    install="pip install torch",
    runtime="pip install torch",
    batch="b",
    write=_write,
    run=_run,
    usage=_USAGE,
)
