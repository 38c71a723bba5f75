"""What comparisons with PyTorch share: the same device and the same products on both sides.

No command of its own.
"""

import contextlib
import importlib.util
from collections.abc import Iterator

import jax

from datafree_nas.runtime import backend
from datafree_nas.runtime.errors import UserError


def check() -> None:
    """Both see one device, the same, before anything is timed.

    Raises:
        UserError: they do not, or there is no PyTorch.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError("this compares with PyTorch; install it: pip install 'datafree_nas[torch]'")
    import torch

    if jax.device_count() > 1:
        raise UserError("this compares on one device; set CUDA_VISIBLE_DEVICES=0")
    if jax.default_backend() != ("gpu" if torch.cuda.is_available() else "cpu"):
        raise UserError(
            f"JAX runs on {jax.default_backend()}, and torch.cuda.is_available() is "
            f"{torch.cuda.is_available()}; let both see the same (JAX_PLATFORMS=cpu and "
            "CUDA_VISIBLE_DEVICES= for the CPU)"
        )


def device() -> str:
    """What PyTorch calls the device that both run on."""
    return "cpu" if backend.on_cpu() else "cuda"


def kinds() -> tuple[str, ...]:
    """The kinds of `products` that the device has; a CPU has no TF32."""
    return ("float32",) if backend.on_cpu() else ("float32", "tf32")


@contextlib.contextmanager
def products(kind: str) -> Iterator[None]:
    """Makes convolutions and matrix products `float32` or `tf32` on all sides.

    PyTorch alone would take TF32 for convolutions and float32 for matrix products.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "tf32"
    torch.backends.cudnn.benchmark = True  # XLA tries its algorithms out, too
    with jax.default_matmul_precision("highest" if kind == "float32" else "tensorfloat32"):
        yield
