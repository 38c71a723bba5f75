r"""Runs model-compression-toolkit (MCT) for benchmarks.mct, in an environment of MCT's own.

    python -m benchmarks.mct_worker generate --network=FILE.pt --images=200 --batch=100 \
        --side=32 --extra_pixels=4 --iterations=500 --seed=0 --out=FILE.npz
    python -m benchmarks.mct_worker quantize --network=FILE.pt --calibration=FILE.npz \
        --test=FILE.npz --out=FILE.npz

benchmarks.mct starts it; it needs only PyTorch, torchvision, numpy and MCT. A network is a
`torch.fx.GraphModule` saved whole, whose class need not be there. `images` in .npz files are
normalized as the network takes them, float32 `[n c h w]`. A file of `generate` has `images`, one of
`quantize` has `logits` of the test images; both have `seconds`, without start and loading.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import torch_libraries

SETTINGS = ("batch", "side", "extra_pixels", "iterations")  # of `generate`
_BATCH = 50  # images, where their number does not matter


def generate(
    network: Any, images: int, *, batch: int, side: int, extra_pixels: int, iterations: int
) -> np.ndarray:
    """Generates normalized images `[n c h w]`, with MCT's defaults for all other settings.

    Args:
        network: network with BatchNorm layers, in evaluation mode.
        images: number of images.
        batch: number of images that are optimized together.
        side: height and width of an image in pixels.
        extra_pixels: pixels by which the optimized image is larger.
        iterations: number of iterations, in each of which all batches make one step.
    """
    from model_compression_toolkit import data_generation

    config = data_generation.get_pytorch_data_generation_config(
        n_iter=iterations, data_gen_batch_size=batch, extra_pixels=extra_pixels
    )
    found = data_generation.pytorch_data_generation_experimental(
        network, n_images=images, output_image_size=side, data_generation_config=config
    )
    return np.concatenate([each.cpu().numpy() for each in found])


def quantize(network: Any, calibration: np.ndarray) -> Any:
    """Quantizes weights and activations to int8, by MCT's post-training quantization as it comes.

    Args:
        network: network in evaluation mode.
        calibration: normalized images `[n c h w]`.
    """
    from model_compression_toolkit import ptq

    def batches() -> Iterator[list[np.ndarray]]:
        for part in _batches(calibration):
            yield [part]

    return ptq.pytorch_post_training_quantization(network, batches)[0]


def logits(network: Any, images: np.ndarray) -> np.ndarray:
    """Computes logits `[n k]` of normalized images `[n c h w]`."""
    import torch

    with torch.no_grad():
        parts = [network(torch.from_numpy(x).to(_device())).cpu() for x in _batches(images)]
    return torch.cat(parts).numpy()


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]


def _device() -> str:
    """Returns PyTorch's name of the device that MCT chooses."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _network(path: str) -> Any:
    import torch

    return torch.load(path, weights_only=False, map_location=_device()).eval()


def _images(path: str) -> np.ndarray:
    with np.load(path) as file:
        return file["images"]


def _generate(flags: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.manual_seed(flags.seed)
    network = _network(flags.network)
    settings = {name: getattr(flags, name) for name in SETTINGS}
    began = time.perf_counter()
    images = generate(network, flags.images, **settings)
    return {"images": images, "seconds": time.perf_counter() - began}


def _quantize(flags: argparse.Namespace) -> dict[str, Any]:
    network, calibration = _network(flags.network), _images(flags.calibration)
    began = time.perf_counter()
    quantized = quantize(network, calibration)
    seconds = time.perf_counter() - began
    return {"logits": logits(quantized, _images(flags.test)), "seconds": seconds}


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mct_worker")
    commands = parser.add_subparsers(required=True)
    for name, run, texts, numbers in (
        ("generate", _generate, (), ("images", *SETTINGS, "seed")),
        ("quantize", _quantize, ("calibration", "test"), ()),
    ):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        for text in ("network", "out", *texts):
            command.add_argument(f"--{text}", required=True)
        for number in numbers:
            command.add_argument(f"--{number}", required=True, type=int)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Does what the arguments say, and writes the result to the file `--out`."""
    flags = _flags(arguments)
    warnings.simplefilter("ignore")  # MCT uses names that PyTorch has deprecated
    torch_libraries.torchvision()  # MCT imports it
    np.savez(flags.out, **flags.run(flags))


if __name__ == "__main__":
    main(sys.argv[1:])
