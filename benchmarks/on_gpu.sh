#!/usr/bin/env bash
# Everything that wants a GPU and has no figure yet:
#
#   [OUT=DIR] benchmarks/on_gpu.sh
#
# Synthesis against PyTorch: ResNet-50 and EfficientNet-Lite0 at 224 pixels, and ResNet-20, batch
# 128, in float32 and bfloat16. Writes JSON files into OUT (benchmarks/results if unset) and prints
# the tables.
#
# Needs one NVIDIA GPU that both JAX and PyTorch can use, and the packages below; of the project
# itself nothing has to be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${OUT:-benchmarks/results}"
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # PyTorch wants memory, too

stop() {
    echo "error: $1" >&2
    exit 2
}

missing=$(python3 - <<'PYTHON'
from importlib.util import find_spec

packages = {
    "absl": "absl-py",
    "flax": "flax",
    "jax": "jax[cuda13]",
    "jaxtyping": "jaxtyping",
    "numpy": "numpy",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "rich": "rich",
    "torch": "torch",
}
print(*(package for module, package in packages.items() if find_spec(module) is None))
PYTHON
)
if [[ -n "$missing" ]]; then
    stop "packages are missing; pip install $missing"
fi
if ! python3 -c 'import jax; assert jax.default_backend() == "gpu"' 2>/dev/null; then
    stop "JAX sees no GPU here (see: python3 -c 'import jax; print(jax.devices())')"
fi
if ! python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    stop "PyTorch sees no GPU here; install a CUDA build of it"
fi

for dtype in float32 bfloat16; do
    for arch in resnet50 efficientnet_lite0 cifar_resnet20; do
        python3 -m benchmarks.synthesis --arch="$arch" --dtype="$dtype" --batch=128 \
            --iterations=20 --json="$out/synthesis_${arch}_${dtype}.json"
    done
done
