"""Parts that all comparisons with PyTorch share: the same device and products on both sides.

This module is not a command.
"""

import contextlib
import importlib.util
from collections.abc import Iterator

import jax

from datafree_nas.runtime import backend
from datafree_nas.runtime.errors import UserError

_PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}  # JAX's names


def check() -> None:
    """Checks that both sides see the same single device, before anything is timed.

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
    """Returns PyTorch's name of the device that both run on."""
    return "cpu" if backend.on_cpu() else "cuda"


def kinds(dtype: str = "float32") -> list[str]:
    """Lists the kinds of `products` that are timed for layers of a type; a CPU has no TF32."""
    return ["float32", "tf32"] if dtype == "float32" and not backend.on_cpu() else [dtype]


@contextlib.contextmanager
def products(kind: str) -> Iterator[None]:
    """Makes convolutions and matrix products of float32 full ones or TF32 ones, on all sides.

    By default PyTorch would use TF32 for convolutions and float32 for matrix products. With
    bfloat16 layers, it uses TF32 for both.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind != "float32"
    torch.backends.cudnn.benchmark = True  # XLA tries out its algorithms, too
    with jax.default_matmul_precision(_PRECISION[kind]):
        yield
