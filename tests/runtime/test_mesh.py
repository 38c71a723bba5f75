import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from datafree_nas.runtime import mesh
from datafree_nas.runtime.errors import UserError


def test_check_divisible(monkeypatch):
    monkeypatch.setattr(mesh, "devices", lambda: [None] * 4)
    mesh.check_divisible(12, "config.synthesis.batch_size")
    expected = r"config\.synthesis\.batch_size=10 does not divide over 4 devices; use a multiple"
    with pytest.raises(UserError, match=expected):
        mesh.check_divisible(10, "config.synthesis.batch_size")


def test_one_data_axis_over_all_devices():
    assert dict(mesh.data_mesh().shape) == {"data": jax.device_count()}
    assert mesh.data_mesh().axis_types == (AxisType.Auto,)
    batch = np.arange(6.0).reshape(2, 3)
    constrained = jax.jit(mesh.constrain_batch)({"x": batch})
    np.testing.assert_array_equal(constrained["x"], batch)
    assert constrained["x"].sharding.is_equivalent_to(mesh.split_over_data(), ndim=2)
