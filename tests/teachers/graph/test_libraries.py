"""Classifiers of PyTorch's libraries compute as teachers what they compute in PyTorch."""

import jax
import pytest

from benchmarks import torch_libraries, torch_parity
from tests.tiers import full

# a member of each family that has BatchNorm2d, the quickest first
EVERY_RUN = (
    *("test_resnet", "test_efficientnet", "test_byobnet", "test_coatnet", "resnetv2_18"),
    *("ese_vovnet19b_slim", "fasternet_t0", "starnet_s050"),
)
FULL = (
    *("cs3darknet_focus_s", "regnetx_002", "inception_next_atto", "dla46x_c", "lcnet_150"),
    *("legacy_seresnet18", "lcnetv2_small", "cspnext_tiny", "visformer_tiny", "lowformer_b0"),
    *("efficientformer_l1", "dpn48b", "swiftformer_xs", "selecsls42", "repvit_m1", "shvit_s1"),
    *("legacy_xception", "iformer_t", "vit_small_resnet50d_s16_224", "cpubone_nano"),
    *("hgnetv2_b0", "tresnet_m", "repghostnet_050", "hrnet_w18_small", "ghostnet_050"),
    *("nextvit_small", "volo_d1_224", "efficientformerv2_s0", "xception41p", "fastvit_t8"),
    *("convmixer_768_32", "rexnetr_100", "efficientvit_m1"),
)
LARGE = (
    *("inception_v3", "inception_v4", "efficientvim_m1", "vgg11_bn", "efficientvit_b0"),
    *("densenet121", "levit_128s", "tiny_vit_5m_224", "inception_resnet_v2"),
    *("xcit_nano_12_p16_384", "pnasnet5large", "nasnetalarge"),
)
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGE]


def _check(library, name):
    try:
        row = torch_parity.compare(*torch_libraries.build(library, name))
    finally:
        jax.clear_caches()
    assert torch_parity.passes(row), row


@pytest.mark.parametrize("name", [*EVERY_RUN, *full(*FULL), *SLOW])
def test_a_member_of_each_family_of_timm(name):
    _check("timm", name)


@pytest.mark.parametrize("name", full("shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf"))
def test_members_of_torchvision(name):
    _check("torchvision", name)


@pytest.mark.slow
@pytest.mark.parametrize("library", torch_libraries.NAMES)
def test_nearly_all_models_of_a_library(library):
    if library == "transformers":
        pytest.importorskip("transformers")
    rows = []
    for name in torch_libraries.with_batch_norm(library):
        rows.append(torch_parity.row(library, name))
        jax.clear_caches()
    assert sum(map(torch_parity.passes, rows)) >= 0.95 * len(rows)
