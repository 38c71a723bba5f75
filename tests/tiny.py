"""The default experiment in miniature: every stage for real, seconds instead of minutes."""

from configs import digits_spos


def get_config():
    config = digits_spos.get_config()
    config.name = "tiny"
    # as in the runs of older versions in tests/workdirs
    config.teacher.train.update(crop_padding=1, label_smoothing=0.0, cutout=0)
    config.synthesis.update(margin=2, batch_norm=0.1)
    config.teacher.train.update(steps=60, log_every=20)
    config.synthesis.update(
        images=64, held_out=32, batch_size=32, rounds=2, resolutions=((2, 4), (1, 8)), log_every=4
    )
    config.search.space.update(channels=4)
    config.search.train.update(steps=10, batch_size=32, log_every=5)
    config.search.calibration_batches = 2
    config.search.evolution.update(
        population=4, generations=2, parents=2, mutations=2, crossovers=1, max_macs=200_000
    )
    config.student.random_networks = 2
    config.student.train.update(steps=20, batch_size=32, log_every=10)
    config.student.real_train.update(steps=20, batch_size=32, log_every=10)
    return config
