r"""CIFAR-10: a network of NAS-Bench-Macro by SPOS, from a ResNet-20 without its data.

    python -m datafree_nas.main --config=configs/nasbench_macro_spos.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `nasbench_macro_spos.py:quick,data=real,seed=1`.

Paths are drawn from the half of the networks with more MACs, evenly over the MACs: with supernets
trained on all paths, evolution preferred identities to better blocks (docs/results.md).

The accuracy of the network that is found can be looked up in the benchmark's table. The full size
needs an accelerator and has not been run yet. `:quick` runs all stages in miniature on two CPU
cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10, common


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("nasbench_macro_spos", arg)
    config.search.space = common.space("nasbench_macro", channels=32)
    config.search.spos.update(sampling="binned", bins=(55e6, 107e6, 5))
    config.search.train.update(
        steps=10_000, batch_size=256, learning_rate=0.17, weight_decay=1.5e-3
    )
    for block in (config.student.train, config.student.real_train):
        block.update(steps=10_000, batch_size=256)
    if quick:
        cifar10.quick_search(config)
        config.search.space.channels = 8
        config.search.spos.bins = (5.2e6, 9.4e6, 5)
    return config
