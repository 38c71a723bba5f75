"""Settings that the ImageNet experiments share: an EfficientNet-Lite0, and images made from it."""

from configs import common


def start(name, arg):
    """Calls `common.start`; sets teacher and synthesis at full size, or for two CPU cores."""
    config, quick = common.start(name, arg)
    config.data.test_split = "validation"
    config.teacher.arch = "efficientnet_lite0"
    # the release has batches of 50, which cannot be split over four or eight devices
    config.synthesis.update(batch_size=40, learning_rate=0.1, batch_norm=1e-3, tv_l2=2e-2)
    for block in (config.search.train, config.student.train, config.student.real_train):
        block.update(crop_padding=0, crop_scale=(0.08, 1.0))
    config.student.real_train.label_smoothing = 0.1
    config.student.random_networks = 1
    if config.student.rows is None:  # training on real images takes as long as all others together
        config.student.rows = ("synthetic", "noise", "random")
    if quick:
        config.synthesis.update(
            images=20,
            held_out=20,
            batch_size=20,
            rounds=1,
            tv_l2=3e-2,
            resolutions=((2, 300), (1, 200)),
            warmup=20,
            log_every=10,
        )
    return config, quick


def quick_search(config):
    """Sets a few steps and architectures: all stages run, but their results mean nothing."""
    config.search.held_out = 0.5
    config.search.train.update(steps=4, batch_size=4, log_every=1)
    config.search.calibration_batches = 1
    config.search.evolution.update(
        population=2, generations=2, parents=2, mutations=1, crossovers=1, max_macs=0
    )
    for block in (config.student.train, config.student.real_train):
        block.update(steps=4, batch_size=4, log_every=1, calibration_batches=0)
    if config.student.rows != common.PAPER:
        config.student.rows = ("synthetic",)
