"""The default experiment: handwritten digits of 8x8 pixels, from nothing to a table in minutes.

    python -m datafree_nas.main

A ResNet-8 teacher is trained on 1297 of scikit-learn's digits. After that, no real images are used
until the final test on the other 500. This takes about two minutes on two CPU cores. A student
that is trained only on synthetic images gets about 96 % of the test images right
(docs/results.md).
"""

from configs import common


def get_config():
    """Builds the experiment, small enough for two CPU cores."""
    config = common.get_config()
    config.name = "digits_spos"
    config.data.source = "digits"

    config.teacher.update(
        arch="cifar_resnet8", num_classes=10, image_size=(8, 8, 1), mean=(0.305,), std=(0.376,)
    )
    small = {"batch_size": 64, "crop_padding": 1, "flip": False}
    config.teacher.train.update(steps=1200, learning_rate=0.2, weight_decay=1e-3, **small)
    # Digits lie in the middle of their images. A teacher that was trained on moved ones sees a
    # digit in images that nobody else would recognize, and so does one that is always sure.
    config.teacher.train.update(crop_padding=0, label_smoothing=0.05, cutout=2)

    config.synthesis.update(
        images=1024,
        held_out=256,
        batch_size=256,
        rounds=2,
        margin=0,
        noise="pink",
        resolutions=((1, 80),),
        flip=False,
        learning_rate=0.2,
        warmup=10,
        betas=(0.5, 0.9),
        batch_norm=0.3,
        tv_l2=2e-3,
        l2=0.0,
    )

    config.search.space.update(channels=4, cells=1)
    config.search.train.update(steps=1000, learning_rate=0.2, weight_decay=1.5e-3, **small)
    config.search.train.batch_size = 32  # a step trains one path: many small steps
    # So few MACs leave one 1x1 convolution in a cell at most: what counts is how it is connected.
    config.search.evolution.update(
        population=20, generations=5, parents=5, mutations=10, crossovers=10, max_macs=36_000
    )
    config.search.calibration_batches = 4
    config.student.train.update(steps=400, learning_rate=0.17, weight_decay=1.5e-3, **small)
    config.student.real_train.update(steps=400, weight_decay=1.5e-3, **small)
    return config
