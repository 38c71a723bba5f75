"""A network trained on its own: averages of weights and statistics, regularizers, resumption."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import without_labels
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.errors import UserError
from datafree_nas.training import fit

LABELLER = without_labels(Preprocessing((0.5,), (0.5,)))
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
IMAGES = ImageSet(PIXELS, (PIXELS.mean(axis=(1, 2, 3)) > 127).astype(np.int32))


class Net(nn.Module):
    """One normalized linear layer, and an auxiliary one that says what it was asked for."""

    auxiliary: bool = False

    @nn.compact
    def __call__(self, x, train=False, drop_path=0.0):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x.reshape(len(x), -1))
        if self.auxiliary and train:
            self.sow("auxiliary", "logits", nn.Dense(2, name="aux")(x))
        elif self.auxiliary:
            nn.Dense(2, name="aux")(x)
        return nn.Dense(2, name="head")(x * (1 - drop_path))


def _fit(directory, model=None, **changes):
    settings = {"steps": 30, "batch_size": 20, "crop_padding": 0, "flip": False, "log_every": 10}
    recipe = common.recipe(**{"labels": "hard", "learning_rate": 0.05, **settings, **changes})
    return fit.fit(
        model or Net(),
        IMAGES,
        LABELLER,
        recipe,
        jax.random.key(0),
        label="test",
        directory=directory,
    )


@pytest.mark.full
def test_the_average_of_weights_is_kept(tmp_path):
    """Against weights of every step, which runs of every length give (no schedule, no decay)."""
    constant = {"final_learning_rate": 0.05, "weight_decay": 0.0}
    each = [_fit(tmp_path / str(n), steps=n, **constant) for n in range(1, 5)]
    found = _fit(tmp_path / "ema", steps=4, ema=0.7, **constant)
    first = jax.tree.map(jnp.zeros_like, each[0])
    weights = [0.7**3 * 0.3, 0.7**2 * 0.3, 0.7 * 0.3, 0.3]
    for network, weight in zip(each, weights, strict=True):
        first = jax.tree.map(lambda total, v, w=weight: total + w * v, first, network)
    # what is left of the initial values, 0.7^4, is all that differs, and known for the statistics
    begun = {"mean": 0.0, "var": 1.0}
    for name, value in begun.items():
        expected = first["batch_stats"]["BatchNorm_0"][name] + 0.7**4 * value
        np.testing.assert_allclose(
            found["batch_stats"]["BatchNorm_0"][name], expected, rtol=1e-4, atol=1e-6
        )
    scale = first["params"]["BatchNorm_0"]["scale"] + 0.7**4
    np.testing.assert_allclose(found["params"]["BatchNorm_0"]["scale"], scale, rtol=1e-4)


@pytest.mark.full
def test_half_precision_keeps_weights_whole(tmp_path):
    half, whole = (_fit(tmp_path / d, dtype=d) for d in ("bfloat16", "float32"))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("float32")}
    for one, other in zip(jax.tree.leaves(half), jax.tree.leaves(whole), strict=True):
        assert (one != other).any()
        np.testing.assert_allclose(one, other, atol=0.02)


def test_calibration_is_the_average_over_batches(tmp_path):
    plain = _fit(tmp_path / "plain")
    found = _fit(tmp_path / "found", calibration_batches=400)
    for one, other in zip(
        jax.tree.leaves(plain["params"]), jax.tree.leaves(found["params"]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    x = LABELLER.preprocessing(jnp.asarray(PIXELS)).reshape(40, -1)
    stats = found["batch_stats"]["BatchNorm_0"]
    # the mean over batches of 20 drawn with replacement: that of all, and 19/20 of their variance
    np.testing.assert_allclose(stats["mean"], x.mean(0), atol=0.04)
    np.testing.assert_allclose(stats["var"], x.var(0) * 19 / 20, rtol=0.1)


def test_calibration_is_of_the_averaged_weights(tmp_path):
    averaged = _fit(tmp_path / "a", ema=0.9)
    calibrated = _fit(tmp_path / "b", ema=0.9, calibration_batches=2)
    for one, other in zip(
        jax.tree.leaves(averaged["params"]), jax.tree.leaves(calibrated["params"]), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_auxiliary_loss_trains_the_auxiliary_head(tmp_path):
    without = _fit(tmp_path / "a", Net(auxiliary=True), weight_decay=0.0)["params"]
    with_it = _fit(tmp_path / "b", Net(auxiliary=True), weight_decay=0.0, auxiliary=0.4)["params"]
    start = _fit(tmp_path / "c", Net(auxiliary=True), steps=1, learning_rate=1e-9)["params"]
    np.testing.assert_allclose(without["aux"]["kernel"], start["aux"]["kernel"], atol=1e-6)
    assert np.abs(with_it["aux"]["kernel"] - start["aux"]["kernel"]).max() > 0.01


def test_drop_path_grows_from_nothing(tmp_path):
    """The network sees the rate of every step: 0, r/n, 2r/n, ..."""
    seen = []

    class Spy(nn.Module):
        @nn.compact
        def __call__(self, x, train=False, drop_path=0.0):
            jax.debug.callback(lambda rate: seen.append(float(rate)), jnp.asarray(drop_path))
            return nn.Dense(2)(x.reshape(len(x), -1))

    _fit(tmp_path, Spy(), steps=4, drop_path=0.2, log_every=1)
    assert sorted(set(np.round(seen, 4))) == [0.0, 0.05, 0.1, 0.15]


@pytest.mark.full
def test_darts_networks_train_with_all_their_regularizers(tmp_path):
    """Both random streams, the auxiliary head and its loss, in a real network."""
    settings = {"channels": 4, "cells": 3, "network_channels": 4, "network_cells": 3}
    space = spaces.create_space("darts", num_classes=2, image_size=(32, 32, 1), **settings)
    recipe = common.recipe(
        steps=2, batch_size=4, labels="hard", auxiliary=0.4, drop_path=0.2, log_every=1
    )
    network = space.regularized(recipe).network(np.asarray(space.sample(jax.random.key(0))))
    pixels = np.repeat(np.repeat(PIXELS, 8, axis=1), 8, axis=2)
    found = fit.fit(
        network,
        IMAGES._replace(images=pixels),
        LABELLER,
        recipe,
        jax.random.key(0),
        label="test",
        directory=tmp_path,
        rule=space.initial,
    )
    assert "auxiliary_head" in found["params"]
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ("proxyless", {"auxiliary": 0.4}, "config.student.train.auxiliary=0.4: proxyless has no"),
        ("darts", {"dropout": 0.1}, "config.student.train.dropout=0.1: darts has no dropout"),
        ("nasbench201", {"drop_path": 0.2}, "nasbench201 has no drop_path; set it to 0"),
    ],
)
def test_a_regularizer_that_the_networks_do_not_have(space, changes, message):
    with pytest.raises(UserError, match=message):
        spaces.find(space).check(common.recipe(**changes), "student.train")
