r"""CIFAR-10: a cell of NAS-Bench-201 by SPOS, from a ResNet-20 without its training data.

    python -m datafree_nas.main --config=configs/nasbench201_spos.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `nasbench201_spos.py:quick,data=real,seed=1`.

Paths are drawn evenly over the MACs of all but the smallest cells, so that more of them have
convolutions, which must learn, than ops without weights. This was chosen by Kendall's tau on the
half of the benchmark's table that is for tuning (docs/results.md).

The accuracy of the cell that is found can be looked up in the benchmark's table. The full size
needs an accelerator and has not been run yet. `:quick` runs all stages in miniature on two CPU
cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("nasbench201_spos", arg)
    config.search.train.update(steps=5000, learning_rate=0.17, weight_decay=1.5e-3)
    config.search.spos.update(sampling="binned", bins=(54e6, 209e6, 5))
    config.search.evolution.max_macs = 100_000_000
    for block in (config.student.train, config.student.real_train):
        block.update(steps=20_000)
    if quick:
        cifar10.quick_search(config)
        config.search.space.update(channels=8, cells=1)
        config.search.spos.bins = (4.4e6, 12.1e6, 5)
    return config
