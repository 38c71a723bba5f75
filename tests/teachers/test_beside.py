"""Tensors beside the network: left out where that is certain, asked about where it is not."""

import re

import numpy as np
import pytest
import torch

from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import port
from tests.teachers import originals

ARCH = "cifar_resnet8"
STATE = originals.randomize(originals.build(ARCH, (32, 32), 10)).state_dict()
MODULES = {"", *(key.rpartition(".")[0] for key in STATE)}
ONE = torch.ones(1)


def _port(content, tmp_path, **settings):
    torch.save(content, tmp_path / "a.pth")
    return port.port(ARCH, str(tmp_path / "a.pth"), **settings)


def _under(prefix, state=STATE):
    return {prefix + key: value for key, value in state.items()}


COUNTED = {
    f"{module}.{name}".lstrip("."): ONE
    for module in MODULES
    for name in ("total_ops", "total_params")
}


@pytest.mark.parametrize(
    ("content", "ignored"),
    [
        ({"state_dict": STATE | COUNTED}, r"\d+ total_ops, \d+ total_params"),
        (STATE | {"criterion.weight": torch.ones(10)}, "criterion.weight"),
        (_under("net.") | {"loss_fn.weight": torch.ones(10)}, "loss_fn.weight"),
        (_under("net.") | {"train_acc.tp": ONE, "val_acc.tp": ONE}, "train_acc.tp, val_acc.tp"),
        (STATE | {"confmat": torch.ones(10, 10)}, "confmat"),
        (_under("module.") | {"n_averaged": ONE}, "n_averaged"),
        (_under("model.") | _under("module.model."), r"module\.model\.\*"),
        ({"model": STATE, "ema": {k: v.clone() for k, v in STATE.items()}}, r"ema\.\*"),
        ({"model": STATE, "optimizer": {"state": {"0": ONE}}, "best_acc": ONE}, None),
    ],
)
def test_what_is_certain(content, ignored, tmp_path):
    _, variables, source = _port(content, tmp_path)
    np.testing.assert_array_equal(variables["params"]["linear"]["bias"], STATE["linear.bias"])
    if ignored is None:
        assert "ignored" not in source
    else:
        assert re.fullmatch(ignored, source["ignored"])


@pytest.mark.parametrize(
    ("content", "unexpected"),
    [
        (
            _under("0.") | {"1.weight": torch.ones(3, 10), "1.bias": torch.ones(3)},
            "1.bias, 1.weight",
        ),
        (STATE | {"layer1.0.se.fc.weight": torch.ones(4, 4)}, r"layer1\.0\.se\.fc\.weight"),
        (STATE | {"logit_scale": ONE}, "logit_scale"),
        ({"state_dict": _under("net.") | {"projector.weight": ONE}}, "state_dict.projector.weight"),
        (STATE | {"bn0.running_mean": torch.ones(3)}, "bn0.running_mean"),
    ],
)
def test_what_may_be_part_of_the_network(content, unexpected, tmp_path):
    """A second head behind the first, for example: without it the logits would be others."""
    message = f"may be part of the network: .* unexpected: {unexpected}; .* --ignore=PATTERN"
    with pytest.raises(UserError, match=message):
        _port(content, tmp_path)


@pytest.mark.parametrize("pattern", ["projector.*", "state_dict.projector.*", "*.weights"])
def test_ignore(pattern, tmp_path):
    beside = {"projector.weights": torch.ones(3, 10)}
    _, _, source = _port({"state_dict": _under("net.") | beside}, tmp_path, ignore=[pattern])
    assert source["ignored"] == "state_dict.projector.weights"


def test_copies_that_differ_are_asked_about(tmp_path):
    other = STATE | {"linear.bias": STATE["linear.bias"] + 1}
    with pytest.raises(UserError, match=r"at ema, model; choose by --prefix"):
        _port({"model": STATE, "ema": other}, tmp_path)


MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.2, 0.1])


@pytest.mark.parametrize(
    "content",
    [
        _under("1.") | {"0.mean": MEAN[None, :, None, None], "0.std": STD[None, :, None, None]},
        STATE | {"mean": MEAN, "std": STD},
        _under("model.")
        | {"normalize.mean": MEAN.reshape(3, 1, 1), "normalize.std": STD.reshape(3, 1, 1)},
        _under("net.") | {"pixel_mean": MEAN * 255, "pixel_std": STD * 255},
        _under("model.") | {"normalizer.new_mean": MEAN, "normalizer.new_std": STD},
    ],
)
def test_a_normalizer(content, tmp_path):
    message = r"seems to normalize .* say --mean=0\.5,0\.4,0\.3 --std=0\.25,0\.2,0\.1 \(of pixels"
    with pytest.raises(UserError, match=message):
        _port(content, tmp_path)
    given = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.1)}
    teacher, _, source = _port(content, tmp_path, **given)
    assert teacher.std == given["std"]
    assert "mean" in source["ignored"]


def test_one_output(tmp_path):
    state = STATE | {"linear.weight": torch.ones(1, 64), "linear.bias": torch.ones(1)}
    message = r"has one output, as for a sigmoid; .* put a row of zeros before the head's weight"
    with pytest.raises(UserError, match=r"linear " + message):
        _port(state, tmp_path)
    with pytest.raises(UserError, match=message):
        teachers.create_teacher(ARCH, 1)
    with pytest.raises(UserError, match="-3 classes; say two or more"):
        teachers.create_teacher(ARCH, -3)


def test_the_advice_for_one_output_is_right():
    weight, bias, x = torch.randn(1, 8), torch.randn(1), torch.randn(5, 8)
    two = x @ torch.cat([torch.zeros_like(weight), weight]).T + torch.cat([torch.zeros(1), bias])
    expected = torch.sigmoid(x @ weight.T + bias)[:, 0]
    np.testing.assert_allclose(torch.softmax(two, 1)[:, 1], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_weights_that_are_no_floats(kind, tmp_path):
    state = STATE | {"conv1.weight": STATE["conv1.weight"].to(kind)}
    with pytest.raises(UserError, match=r"conv1\.weight has values of type (int8|complex64)"):
        _port(state, tmp_path)


def test_a_head_that_would_fill_the_memory(tmp_path):
    """Its number of classes comes from a shape, which a stride of 0 makes as large as it likes."""
    state = STATE | {"linear.weight": torch.zeros(1, 64).expand(1 << 40, 64)}
    state["linear.bias"] = torch.zeros(1).expand(1 << 40)
    with pytest.raises(
        UserError, match=r"linear\.\w+ cannot be read \(the file holds fewer values"
    ):
        _port(state, tmp_path)
