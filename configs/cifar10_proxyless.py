r"""CIFAR-10: a chain of MBConv blocks by ProxylessNAS, from a ResNet-20 without its data.

    python -m datafree_nas.main --config=configs/cifar10_proxyless.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `cifar10_proxyless.py:quick,data=real,seed=1`.

The search space and the training are those of the release, with strides for small images. A quarter
of the steps train only weights; then one step of the alphas, with the expected MACs in their loss,
follows every fifth step of the weights. `--config.search.hardware.cost=latency` uses times measured
on your device instead of MACs (docs/latency.md).

The full size needs an accelerator and has not been run yet. `:quick` runs all stages in miniature
on two CPU cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10, common


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("cifar10_proxyless", arg)
    config.search.strategy = "proxyless"
    config.search.held_out = 0.5
    config.search.space = common.space(
        "proxyless", width=1.0, stem_stride=1, cells=(4, 4, 4, 4, 4, 1), strides=(1, 2, 2, 1, 2, 1)
    )
    shared = {"batch_size": 256, "learning_rate": 0.05, "weight_decay": 4e-5}
    config.search.train.update(steps=20_000, decay_all=True, **shared)
    config.search.proxyless.warmup = 5_000
    config.search.alphas.update(learning_rate=1e-3, betas=(0.0, 0.999), weight_decay=0.0)
    config.search.hardware.update(cost="macs", reference=100e6)
    for block in (config.student.train, config.student.real_train):
        block.update(steps=60_000, dropout=0.2, **shared)
    if quick:
        cifar10.quick_search(config)
        config.search.space.update(width=0.25, cells=(1, 1, 1, 1, 1, 1))
        config.search.proxyless.update(warmup=20, every=2)
        config.search.hardware.reference = 5e6
    return config
