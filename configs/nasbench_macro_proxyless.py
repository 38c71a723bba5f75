r"""CIFAR-10: a network of NAS-Bench-Macro by ProxylessNAS, from a ResNet-20 without its data.

    python -m datafree_nas.main --config=configs/nasbench_macro_proxyless.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `nasbench_macro_proxyless.py:quick,data=real,seed=1`.

The accuracy of the network that is found can be looked up in the benchmark's table. The loss does
not contain the cost of the network; to add it, use
`--config.search.hardware.cost=macs --config.search.hardware.reference=50e6`.

The full size needs an accelerator and has not been run yet. `:quick` runs all stages in miniature
on two CPU cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10, common


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("nasbench_macro_proxyless", arg)
    config.search.strategy = "proxyless"
    config.search.held_out = 0.5
    config.search.space = common.space("nasbench_macro", channels=32)
    config.search.train.update(steps=10_000, batch_size=256)
    config.search.proxyless.warmup = 2_500
    config.search.alphas.update(learning_rate=1e-3, betas=(0.0, 0.999), weight_decay=0.0)
    for block in (config.student.train, config.student.real_train):
        block.update(steps=10_000, batch_size=256)
    if quick:
        cifar10.quick_search(config)
        config.search.space.channels = 8
        config.search.proxyless.update(warmup=20, every=2)
    return config
