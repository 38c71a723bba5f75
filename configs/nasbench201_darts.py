r"""CIFAR-10: a cell of NAS-Bench-201 by DARTS, from a ResNet-20 without its training data.

    python -m datafree_nas.main --config=configs/nasbench201_darts.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `nasbench201_darts.py:quick,data=real,seed=1`.

The training is that of the benchmark for DARTS with fewer steps, with a larger learning rate of the
alphas, and with Beta-DARTS, at the weight of its paper. In the benchmark, plain DARTS ends at a
cell of skip connections, with 54.30 % in the table; this finds cells of 93.5 % with a smaller
supernet (docs/results.md). Another remedy is `--config.search.darts.sdarts_rs=0.3`.

The full size needs an accelerator and has not been run yet. `:quick` runs all stages in miniature
on two CPU cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("nasbench201_darts", arg)
    config.search.strategy = "darts"
    config.search.held_out = 0.5
    config.search.darts.beta_darts = 50.0
    config.search.alphas.learning_rate = 1e-2
    config.search.train.update(
        steps=7_800,
        batch_size=64,
        learning_rate=0.025,
        final_learning_rate=0.001,
        clip=5.0,
    )
    for block in (config.student.train, config.student.real_train):
        block.update(steps=20_000)
    if quick:
        cifar10.quick_search(config)
        config.search.space.update(channels=8, cells=1)
    return config
