"""Settings that the CIFAR-10 experiments share: a ResNet-20, and images made from it."""

from configs import common


def start(name, arg):
    """Calls `common.start`; sets teacher and synthesis for an accelerator, or for two CPU cores."""
    config, quick = common.start(name, arg)
    config.data.source = "tfds:cifar10"
    config.teacher.arch = "cifar_resnet20"
    config.synthesis.update(
        images=5000,
        held_out=100,
        batch_size=100,
        rounds=4,
        margin=4,
        noise="pink",
        resolutions=((2, 100), (1, 40)),
        learning_rate=0.4,
        warmup=10,
        betas=(0.5, 0.9),
        batch_norm=0.1,
        tv_l2=2e-3,
        l2=0.0,
    )
    # Strong augmentation, with labels from the teacher: without it, a student knows only these
    # images.
    config.student.train.update(
        crop_padding=0, crop_scale=(0.25, 1.0), color_jitter=(0.4, 0.4, 0.4, 0.1)
    )
    if quick:
        config.synthesis.update(images=200, rounds=2, resolutions=((2, 40), (1, 20)), log_every=10)
    return config, quick


def quick_search(config):
    """Sets a few steps and architectures: all stages run, but the accuracies mean nothing."""
    config.search.train.update(steps=60, batch_size=32, warmup=0, log_every=10)
    config.search.alphas.learning_rate = 0.03
    config.search.calibration_batches = 4
    config.search.evolution.update(
        population=8, generations=2, parents=4, mutations=4, crossovers=2, max_macs=0
    )
    for block in (config.student.train, config.student.real_train):
        block.update(steps=100, batch_size=32, warmup=0, log_every=10, calibration_batches=0)
    config.student.random_networks = 1
    if config.student.rows is None:
        config.student.rows = ("synthetic", "random")
