r"""CIFAR-10: a ShuffleNetV2 by SPOS, from a ResNet-20 without its training data.

    python -m datafree_nas.main --config=configs/cifar10_spos.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `cifar10_spos.py:quick,data=real,seed=1`.

The search space and the training are those of the release for ImageNet, with stride 1 in the first
convolution, for small images; batches of 256 instead of 1024, with a quarter of its learning rate;
and a distillation loss whose gradients are as large as those of hard labels.

The full size needs an accelerator and has not been run yet. `:quick` runs all stages in miniature
on two CPU cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10, common


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("cifar10_spos", arg)
    config.search.space = common.space(
        "shufflenet", stem_stride=1, channels=(16, 64, 160, 320, 640, 1024), repeats=(4, 4, 8, 4)
    )
    shared = {
        "batch_size": 256,
        "learning_rate": 0.125,
        "schedule": "linear",
        "nesterov": False,
        "weight_decay": 4e-5,
    }
    config.search.train.update(steps=20_000, **shared)
    config.search.evolution.max_macs = 27_000_000
    for block in (config.student.train, config.student.real_train):
        block.update(steps=40_000, calibration_batches=100, **shared)
    if quick:
        cifar10.quick_search(config)
        config.search.space.update(channels=(8, 16, 32, 64, 128), repeats=(2, 2, 2))
    return config
