r"""CIFAR-10: from a PyTorch ResNet-20 to a cell of NAS-Bench-201, without its data.

    python -m datafree_nas.main --config=configs/cifar10_spos.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).

The full size wants an accelerator and has not been run yet.

`:quick` is the same path in miniature, six minutes on one CPU core; its accuracies mean nothing:
`--config=configs/cifar10_spos.py:quick`.
"""

from configs import common


def get_config(arg=""):
    """Sized for one accelerator; `arg` is empty or `quick`."""
    if arg not in ("", "quick"):
        raise ValueError(f"cifar10_spos.py:{arg} is unknown; known: quick")
    config = common.get_config()
    config.name = "cifar10_spos" + ("_quick" if arg else "")
    config.data.source = "tfds:cifar10"
    config.teacher.arch = "cifar_resnet20"
    config.synthesis.update(
        images=5000,
        batch_size=100,
        rounds=4,
        margin=4,
        resolutions=((2, 500), (1, 1000)),
        learning_rate=0.1,
        warmup=20,
        betas=(0.9, 0.999),
        batch_norm=0.1,
        tv_l2=2e-3,
        l2=0.0,
    )
    config.search.train.update(steps=5000)
    config.search.evolution.max_macs = 100_000_000
    config.student.train.update(steps=20_000)
    return _quick(config) if arg else config


def _quick(config):
    config.synthesis.update(images=200, rounds=2, resolutions=((2, 40), (1, 60)), log_every=10)
    config.search.space.update(channels=8, cells=1)
    config.search.train.update(steps=100, batch_size=64, log_every=10)
    config.search.calibration_batches = 4
    config.search.evolution.update(
        population=10, generations=2, parents=4, mutations=5, crossovers=5, max_macs=6_000_000
    )
    config.student.train.update(steps=150, batch_size=64, log_every=10)
    return config
