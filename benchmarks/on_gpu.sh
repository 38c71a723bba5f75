#!/usr/bin/env bash
# What wants a GPU, in parts that can be asked for alone. `speed` is measured (docs/results.md):
#
#   [OUT=DIR] benchmarks/on_gpu.sh [speed] [found] [paper]
#
# speed  Synthesis against PyTorch: ResNet-20, ResNet-50 and EfficientNet-Lite0, the latter two at 224
#        pixels, batch 128, in bfloat16. Most of the time is torch.compile's: a minute a network.
# found  An architecture found and trained on 20 000 images of ResNet-56 alone, CIFAR-10: images,
#        DARTS on NAS-Bench-201, its cell at full size. Reads `teachers/cifar10_resnet56*.th` and
#        `tfds/cifar10_lite` in DATAFREE_NAS_DATA, and wants the project's requirements installed.
#        RUN names a folder that keeps its progress, build/on_gpu if unset: it can be interrupted.
# paper  The paper's comparison on CIFAR-10 with ShuffleNetV2 blocks, from the ResNet-20: found on
#        synthetic images, found on real ones, three random ones, each trained on the real images;
#        2000 steps each, of 256 images. Reads and keeps files as `found` does, in RUN/paper.
#
# All if none is named. Writes JSON files into OUT (benchmarks/results if unset) and prints the
# tables. Needs one NVIDIA GPU that both JAX and PyTorch can use, and the packages below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${OUT:-benchmarks/results}"
run="${RUN:-build/on_gpu}"
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # PyTorch wants memory, too

stop() {
    echo "error: $1" >&2
    exit 2
}

speed() {
    for arch in cifar_resnet20 resnet50 efficientnet_lite0; do
        python3 -m benchmarks.synthesis --arch="$arch" --dtype=bfloat16 --batch=128 \
            --iterations=10 --json="$out/synthesis_${arch}_bfloat16.json"
    done
}

found() {
    local images=(
        --config.synthesis.rounds=1 --config.synthesis.images=20000
        --config.synthesis.batch_size=1000 '--config.synthesis.resolutions=((2,200),(1,100))'
        --config.synthesis.tv_l2=6e-4 --config.synthesis.dtype=bfloat16
        --config.synthesis.log_every=100 --config.teacher.arch=auto
        --config.teacher.checkpoint="$(echo "$DATAFREE_NAS_DATA"/teachers/cifar10_resnet56*.th)"
    )
    local search=(
        --config.search.pool=2 --config.search.space.cells=1 --config.search.train.labels=stored
        --config.search.train.crop_padding=2 --config.search.train.steps=2000
    )
    local student=(
        --config.data.source=tfds:cifar10_lite --config.data.data_dir="$DATAFREE_NAS_DATA/tfds"
        --config.student.train.steps=6000 --config.student.train.batch_size=512
        --config.student.train.mixup=True --config.student.train.weight_decay=1e-4
        --config.student.train.dtype=bfloat16 --config.student.train.log_every=250
    )
    local config=--config=configs/nasbench201_darts.py
    python3 -m datafree_nas.main $config --workdir="$run" --stages=teacher,synthesize,search \
        "${images[@]}" "${search[@]}"
    python3 -m benchmarks.student $config --found="$run/search/architecture.json" \
        --dataset="$run/synthetic" --teacher="$run/teacher" --out="$run/found" "${student[@]}"
    cp "$run/found/result.json" "$out/student_found.json"
}

paper() {
    local data=(
        --config.data.source=tfds:cifar10_lite --config.data.data_dir="$DATAFREE_NAS_DATA/tfds"
        --config.teacher.checkpoint="$(echo "$DATAFREE_NAS_DATA"/teachers/cifar10_resnet20*.th)"
    )
    local sizes=(
        --config.synthesis.rounds=1 --config.synthesis.images=10000
        --config.synthesis.batch_size=500 --config.synthesis.dtype=bfloat16
        --config.search.train.steps=2000 --config.search.train.dtype=bfloat16
        --config.student.train.steps=2000 --config.student.train.dtype=bfloat16
        --config.student.real_train.steps=2000 --config.student.real_train.dtype=bfloat16
    )
    python3 -m datafree_nas.main --config=configs/cifar10_spos.py:paper --workdir="$run/paper" \
        "${data[@]}" "${sizes[@]}"
    cp "$run/paper/report/summary.json" "$out/paper_cifar10.json"
}

parts="${*:-speed found paper}"
for part in $parts; do
    case $part in
        speed) ;;
        found | paper)
            [[ -d ${DATAFREE_NAS_DATA:-} ]] || stop "$part: set DATAFREE_NAS_DATA to its data"
            ;;
        *) stop "there is no part $part; there are speed, found and paper" ;;
    esac
done
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

for part in $parts; do
    "$part"
done
