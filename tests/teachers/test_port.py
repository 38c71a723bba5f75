import json
import re

import jax
import numpy as np
import pytest
import torch

from datafree_nas import teachers
from datafree_nas.interop.torch_file import Tensor
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import checks, port, registry
from tests.teachers import originals

ARCH = "cifar_resnet8"
MODEL = originals.randomize(originals.build(ARCH, (32, 32), 10))
STATE = MODEL.state_dict()


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Each `auto` traces one architecture after the other; here the first one does it for all."""
    trace, traced = port.shapes, {}

    def shapes(teacher):
        key = (teacher.arch, teacher.num_classes, teacher.image_size)
        if key not in traced:
            traced[key] = trace(teacher)
        return traced[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(port, "shapes", shapes)
        yield


def _port(content, tmp_path, arch=ARCH, **settings):
    torch.save(content, tmp_path / "a.pth")
    return port.port(arch, tmp_path / "a.pth", **settings)


def _under(prefix, state=STATE):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        _under("module."),
        {"state_dict": _under("model.") | {"criterion.weight": torch.ones(3)}},  # Lightning
        {"state_dict": _under("_orig_mod.module.")},
        {key: value.half() for key, value in STATE.items()},
    ],
    ids=["bare", "state_dict", "model", "DataParallel", "Lightning", "compiled", "half"],
)
def test_wrappings(content, tmp_path):
    teacher, variables, source = _port(content, tmp_path)
    assert teacher.num_classes == 10
    kernel = variables["params"]["linear"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel.T, STATE["linear.weight"], atol=1e-3)
    assert source["file"] == "a.pth"
    assert len(source["sha256"]) == 64


def test_every_variable_is_there(tmp_path):
    teacher, variables, _ = _port(STATE, tmp_path)
    shapes = port.shapes(teacher)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, shapes)


EMA = {key: value + 1 if value.is_floating_point() else value for key, value in STATE.items()}


@pytest.mark.parametrize(("prefix", "added"), [("model", 0), ("model_ema", 1), ("model_ema.", 1)])
def test_a_prefix_says_which_of_two(prefix, added, tmp_path):
    content = {"model": STATE, "model_ema": {"module": EMA}}
    with pytest.raises(UserError, match=r"at model, model_ema\.module; choose by --prefix"):
        _port(content, tmp_path)
    _, variables, _ = _port(content, tmp_path, prefix=prefix)
    np.testing.assert_array_equal(
        variables["params"]["linear"]["bias"], STATE["linear.bias"] + added
    )


def test_nothing_under_that_prefix(tmp_path):
    with pytest.raises(UserError, match="nothing under --prefix=ema"):
        _port(STATE, tmp_path, prefix="ema")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (ARCH, ARCH),
        pytest.param("resnet18", "resnet18", marks=pytest.mark.slow),
        pytest.param("wide_stem_resnet18", "wide_stem_resnet18", marks=pytest.mark.slow),
        pytest.param("wrn16_2", "wrn16_2", marks=pytest.mark.slow),
        pytest.param("resnet50", "resnet50", marks=pytest.mark.slow),
        # the same keys and shapes: the newer kind is taken
        pytest.param("resnet50_v1", "resnet50", marks=pytest.mark.full),
        pytest.param("mobilenet_v2", "mobilenet_v2", marks=pytest.mark.slow),
        ("efficientnet_lite0", "efficientnet_lite0"),  # in another spelling than timm's
    ],
)
def test_auto(name, found):
    match = port.match("auto", _tensors(originals.build(name, (224, 224), 7).state_dict()))
    assert (match.teacher.arch, match.teacher.num_classes) == (found, 7)
    assert match.also_fit == (["resnet50_v1"] if found == "resnet50" else [])


def _tensors(state):
    return {key: Tensor(tuple(v.shape), "float32", v.numpy) for key, v in state.items()}


@pytest.fixture
def among(monkeypatch):
    """Lets `auto` try a few architectures alone, as each takes a second."""
    return lambda *names: monkeypatch.setattr(registry, "originals", lambda: list(names))


@pytest.mark.full
@pytest.mark.parametrize("pooled", [False, True])
def test_a_small_stem_with_torchvisions_keys(pooled, among, tmp_path):
    """Somebody replaced the stem of torchvision's; the keys do not show the pooling."""
    model = originals.randomize(originals.build("wide_stem_resnet18_pool", (32, 32), 7))
    if not pooled:
        model.maxpool = torch.nn.Identity()
    among("resnet18", "wide_stem_resnet18")
    with pytest.raises(
        UserError, match=r"say --arch=wide_stem_resnet18 or --arch=wide_stem_resnet1"
    ):
        port.match("auto", _tensors(model.state_dict()))
    arch = "wide_stem_resnet18_pool" if pooled else "wide_stem_resnet18"
    teacher, variables, source = _port(model.state_dict(), tmp_path, arch=arch)
    assert ("also_fits" in source) is not pooled  # who names the variant has chosen
    _same_logits(model, teacher, variables)


def _same_logits(model, teacher, variables, side=32):
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    expected = originals.logits(model, x)
    found = jax.jit(lambda x: teacher.model.apply(variables, x, train=False))(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0"])
def test_timms_two_efficientnets_are_asked_about(name, among):
    among("mobilenet_v2", "efficientnet_lite0")
    tensors = _tensors(originals.build(f"timm:{name}", (224, 224), 7).state_dict())
    message = r"say --arch=efficientnet_lite0 or --arch=timm_efficientnet_lite0"
    with pytest.raises(UserError, match=message):
        port.match("auto", tensors)


@pytest.mark.slow  # traces every architecture
def test_all_architectures_with_the_same_keys_are_known():
    """As `auto` takes the first that fits, any other one has to be declared as its variant."""
    seen = {}
    for name in registry.names():
        teacher = registry.create_teacher(name, 7)
        leaves = port.shapes(teacher)
        for rename in teacher.torch_names:
            table = port.key_table(leaves, rename)
            shapes = frozenset((key, port.at(leaves, path).shape) for key, path in table.items())
            for other in seen.setdefault(shapes, []):
                assert other in (
                    *registry.variants_of(name),
                    registry.create_teacher(name).variant_of,
                )
            seen[shapes].append(name)


def test_timms_mobilenet():
    """Both releases have their layers in the same order, so key by key they are the same places."""
    tables = []
    for name in ("mobilenet_v2", "timm:mobilenetv2_100"):
        state = originals.build(name, (64, 64), 7).state_dict()
        table = port.match("mobilenet_v2", _tensors(state)).table
        tables.append([table[key] for key in state if not key.endswith("num_batches_tracked")])
    assert tables[0] == tables[1]


def test_option_b_with_torchvisions_names():
    """Those of chenyaofo/pytorch-cifar-models; a file without its shortcuts is option A."""
    state = originals.build("cifar_resnet8_b", (32, 32), 7).state_dict()

    def renamed(key):
        return key.replace("shortcut", "downsample").replace("linear", "fc")

    found = port.match("auto", _tensors({renamed(key): value for key, value in state.items()}))
    assert found.teacher.arch == "cifar_resnet8_b"
    usual = port.match("auto", _tensors(state))
    assert found.table == {renamed(key): path for key, path in usual.table.items()}


def test_hugging_faces_names():
    """Those of microsoft/resnet-50."""
    state = originals.build("resnet50", (224, 224), 7).state_dict()
    renamed = {_hugging_face(key): value for key, value in state.items()}
    found = port.match("resnet50", _tensors(renamed))
    assert found.head == "classifier.1"
    place = "resnet.encoder.stages.3.layers.1.layer.0.convolution.weight"
    assert found.table[place] == ("params", "layer4.1", "conv1", "kernel")


def _hugging_face(key):
    key = re.sub(r"^(conv|bn)1", r"resnet.embedder.embedder.\1", key)
    key = re.sub(r"^fc", "classifier.1", key)
    key = re.sub(r"downsample\.0", "shortcut.conv", key)
    key = re.sub(r"downsample\.1", "shortcut.bn", key)
    key = re.sub(
        r"^layer(\d)\.(\d+)",
        lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}",
        key,
    )
    key = re.sub(r"\.(conv|bn)(\d)", lambda m: f".layer.{int(m[2]) - 1}.{m[1]}", key)
    return re.sub(r"\.bn\.", ".normalization.", re.sub(r"\.conv\.", ".convolution.", key))


def test_a_head_behind_dropout(tmp_path):
    state = {re.sub(r"^linear\.", "linear.1.", key): value for key, value in STATE.items()}
    _, variables, source = _port(state, tmp_path)
    assert source["head"] == "linear.1"
    np.testing.assert_array_equal(variables["params"]["linear"]["bias"], STATE["linear.bias"])
    with pytest.raises(UserError, match=r"2 missing: .*linear\.weight; 4 unexpected: linear\.1"):
        _port(state | {"linear.3.weight": torch.ones(1), "linear.3.bias": torch.ones(1)}, tmp_path)


@pytest.mark.full
def test_auto_without_a_fit(tmp_path):
    state = dict(STATE)
    del state["layer2.0.conv1.weight"]
    with pytest.raises(UserError, match=f"fits no .*; {ARCH} is nearest: 1 missing: l"):
        _port(state, tmp_path, arch="auto")


def test_other_class_counts(tmp_path):
    state = originals.build(ARCH, (32, 32), 4).state_dict()
    assert _port(state, tmp_path)[0].num_classes == 4
    assert _port(state, tmp_path, num_classes=4)[0].num_classes == 4
    with pytest.raises(UserError, match=r"linear\.weight \(4, 64\) instead of \(5, 64\)"):
        _port(state, tmp_path, num_classes=5)


def test_other_images(tmp_path):
    state = dict(STATE, **{"conv1.weight": torch.ones(16, 1, 3, 3)})
    with pytest.raises(UserError, match=r"conv1\.weight \(16, 1, 3, 3\) .*--image_size"):
        _port(state, tmp_path)
    grey = {"image_size": (28, 28, 1), "mean": (0.1307,), "std": (0.3081,)}
    teacher, variables, _ = _port(state, tmp_path, **grey)
    assert (teacher.image_size, teacher.mean) == ((28, 28, 1), (0.1307,))
    assert variables["params"]["conv1"]["kernel"].shape == (3, 3, 1, 16)


def test_missing_unexpected_and_mis_shaped(tmp_path):
    state = dict(STATE, **{"fc.bias": torch.zeros(10), "bn1.weight": torch.zeros(8)})
    del state["linear.bias"]
    message = (
        "1 missing: linear.bias; 1 unexpected: fc.bias; "
        "1 mis-shaped: bn1.weight (8,) instead of (16,)"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        _port(state, tmp_path)


def test_a_long_list_is_cut(tmp_path):
    with pytest.raises(UserError, match=r"30 missing: .* and 22 more; 1 unexpected"):
        _port({"bn1.running_mean": torch.ones(16), "x": torch.ones(1)} | _few(), tmp_path)


def _few():
    keys = [key for key in STATE if "num_batches" not in key and key != "bn1.running_mean"]
    return {key: STATE[key] for key in keys[: len(keys) - 30]}


def test_folded_batch_norm(tmp_path):
    state = {key: value for key, value in STATE.items() if "running" not in key}
    with pytest.raises(UserError, match="no BatchNorm statistics"):
        _port(state, tmp_path)


def test_values_that_are_not_finite(tmp_path):
    state = dict(STATE, **{"bn1.running_var": torch.full((16,), float("inf"))})
    with pytest.raises(UserError, match=r"bn1\.running_var has values that are not finite"):
        _port(state, tmp_path)


def test_a_tensor_too_large_to_be_true(tmp_path):
    """It claims a petabyte by repeating one number; its shape is refused before it is read."""
    huge = torch.zeros(1).expand(1 << 48)
    with pytest.raises(UserError, match=r"mis-shaped: bn1\.weight \(281474976710656,\)"):
        _port(dict(STATE, **{"bn1.weight": huge}), tmp_path)


# what the card says of a teacher


def _checks(state, tmp_path):
    teacher, variables, source = _port(state, tmp_path)
    teachers.save(tmp_path / "out", teacher, variables, source)
    card = json.loads((tmp_path / "out" / "teacher.json").read_text())
    return {check["name"]: (check["passed"], check["message"]) for check in card["checks"]}


def _changed(changes):
    return {
        key: next((torch.full_like(v, x) for end, x in changes.items() if key.endswith(end)), v)
        for key, v in STATE.items()
    }


def test_a_good_teacher_passes_all_checks(tmp_path):
    found = _checks(STATE, tmp_path)
    assert all(passed for passed, _ in found.values())
    assert found["BatchNorm layers"][1] == "7"


@pytest.mark.parametrize(
    ("changes", "check", "message"),
    [
        ({"running_mean": 0.0, "running_var": 1.0}, "statistics", "7 of 7 layers .* never saw"),
        ({"bn2.running_mean": 0.0, "bn2.running_var": 1.0}, "statistics", "3 of 7 layers"),
        ({"layer1.0.bn1.running_var": 0.0}, "variances", "16 channels in 1 layers"),
        ({"linear.weight": 0.0}, "predictions on noise", "the same for all images"),
        ({"linear.weight": 3e38}, "predictions on noise", "not finite"),
    ],
)
def test_what_is_wrong_with_a_teacher(changes, check, message, tmp_path):
    found = _checks(_changed(changes), tmp_path)
    passed, said = found[check]
    assert not passed
    assert re.search(message, said)
    assert [name for name, (passed, _) in found.items() if not passed] == [check]


def test_another_architecture_with_the_same_keys():
    """Said by a config's default, for instance, `--arch` is no proof; equal logits are."""
    teacher = registry.create_teacher(ARCH)
    source = {"also_fits": "other (with another padding)"}
    found = checks.architecture(teacher, source)
    assert not found.passed
    assert found.message.endswith(
        "as well: say which it is by --arch, or compare by --check_logits"
    )
    assert checks.architecture(teacher, source | {"logits": "logits differ by 1e-07"}).passed
    assert checks.architecture(teacher, {}) == ("architecture", True, ARCH)


def test_no_batch_norm_at_all(tiny_teacher):
    teacher, variables = tiny_teacher
    first = checks.run_checks(teacher, variables)[0]
    assert first.passed
    found = checks._has_layers(checks.statistics({"params": variables["params"]}))
    assert (found.passed, found.message[:1]) == (False, "0")


def test_keys_of_the_published_densenet():
    """Those of before torchvision 0.3: `norm.1` where it is `norm1` now."""
    model = originals.build("densenet121", (224, 224), 7)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): value
        for key, value in model.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    found = port.match("densenet121", _tensors(old))
    assert found.table["features.denseblock4.denselayer16.conv.2.weight"] == (
        *("params", "features.denseblock4.denselayer16", "conv2", "kernel"),
    )
