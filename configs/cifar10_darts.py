r"""CIFAR-10: cells by DARTS, from a ResNet-20 without its training data.

    python -m datafree_nas.main --config=configs/cifar10_darts.py --workdir=DIR \
        --config.teacher.checkpoint=cifar10_resnet20.th

The checkpoint is akamaster/pytorch_resnet_cifar10's, or a directory that port_torch wrote. The
test images come from TFDS (`--config.data.source=tfds:cifar10`, `--config.data.data_dir=DIR`).
Options follow the file name: `cifar10_darts.py:quick,data=real,seed=1`.

The search space and the training are those of the DARTS paper: as many steps of search as 50 epochs
of CIFAR-10, with half of the images for the alphas; as many steps of training as 600 epochs, with
36 channels, 20 cells, cutout, auxiliary head and drop path. Two things differ: labels are the
teacher's, and students see random resized crops in changed colours instead of shifted images, as
in all CIFAR-10 experiments here. `--config.search.darts.order=second` is the second-order search.

The full size needs an accelerator and has not been run yet. `:quick` runs all stages in miniature
on two CPU cores (docs/results.md has its time); its accuracies mean nothing.
"""

from configs import cifar10, common


def get_config(arg=""):
    """Builds the experiment, sized for one accelerator."""
    config, quick = cifar10.start("cifar10_darts", arg)
    config.search.strategy = "darts"
    config.search.held_out = 0.5
    config.search.space = common.space(
        "darts", channels=16, cells=8, network_channels=36, network_cells=20
    )
    shared = {"nesterov": False, "weight_decay": 3e-4, "decay_all": True, "clip": 5.0}
    config.search.train.update(
        steps=19_550,
        batch_size=64,
        learning_rate=0.025,
        final_learning_rate=0.001,
        **shared,
    )
    for block in (config.student.train, config.student.real_train):
        block.update(
            steps=312_600,
            batch_size=96,
            learning_rate=0.025,
            cutout=16,
            auxiliary=0.4,
            drop_path=0.2,
            **shared,
        )
    if quick:
        cifar10.quick_search(config)
        config.search.train.update(steps=30, batch_size=16)
        config.search.space.update(channels=4, cells=3, network_channels=8, network_cells=3)
    return config
