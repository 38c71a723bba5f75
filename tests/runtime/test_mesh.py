import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from datafree_nas.runtime import backend, mesh, processes
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


SMALL, LARGE = (64, (8, 8, 1)), (64, (32, 32, 3))  # batches


@pytest.fixture
def second_of_two(monkeypatch):
    """This process is the second of two; the devices of both are its own, twice."""
    here = jax.local_devices()
    monkeypatch.setattr(processes, "is_alone", lambda: False)
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "index", lambda: 1)
    monkeypatch.setattr(jax, "devices", lambda: [*here, *here])


def test_a_small_batch_belongs_to_each_process_whole(second_of_two):
    with mesh.for_batches(*LARGE):
        assert mesh.devices() == 2 * jax.local_devices()
        assert mesh.part() == (1, 2)
    with mesh.for_batches(*SMALL):
        assert mesh.devices() == jax.local_devices()
        assert mesh.part() == (0, 1)
        mesh.check_divisible(len(jax.local_devices()), "batch_size")
    assert mesh.part() == (1, 2)


def test_all_go_on_with_what_the_first_process_has(second_of_two, monkeypatch):
    def state(number):
        return {
            "key": jax.random.key(number),
            "step": jnp.int32(number),
            "weights": jnp.arange(6.0).reshape(2, 3) / (number + 3),
            "half": jnp.full(3, number / 3, jnp.bfloat16),
        }

    def broadcast(mine):
        sent.append(mine)
        return sent[0]

    sent = []
    monkeypatch.setattr(mesh.multihost_utils, "broadcast_one_to_all", broadcast)
    with mesh.for_batches(*SMALL):
        mesh.from_first(state(0))  # as the first process does
        found = mesh.from_first(state(1))
    jax.tree.map(np.testing.assert_array_equal, mesh.on_host(found), mesh.on_host(state(0)))
    assert [leaf.dtype for leaf in jax.tree.leaves(found)] == [
        leaf.dtype for leaf in jax.tree.leaves(state(0))
    ]
    with mesh.for_batches(*LARGE):
        mine = state(1)
        assert mesh.from_first(mine) is mine


@pytest.mark.parametrize(
    ("batch_size", "image_size", "splits"),
    [
        (64, (8, 8, 1), False),  # the digits
        (255, (8, 8, 1), False),
        (256, (8, 8, 1), True),
        (16, (32, 32, 3), True),
        (64, (32, 32, 3), True),  # the quick runs on CIFAR-10
    ],
)
def test_processes_of_cpus_split_batches_that_take_longer_than_messages(
    batch_size, image_size, splits, monkeypatch
):
    assert mesh.worth_splitting(batch_size, image_size) == splits
    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert mesh.worth_splitting(batch_size, image_size)
