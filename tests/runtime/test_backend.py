import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime import backend


def _step(state, data):
    key = jax.random.fold_in(state["key"], state["step"])
    x = state["x"] * 0.9 + data + jax.random.normal(key, state["x"].shape)
    new = {"key": state["key"], "step": state["step"] + 1, "x": x}
    return new, {"step": state["step"], "sum": jnp.sum(x)}


def _state():
    return {"key": jax.random.key(1), "step": jnp.zeros((), jnp.int32), "x": jnp.zeros(3)}


@pytest.mark.parametrize("on_cpu", [True, False], ids=["calls", "scan"])
def test_repeat_is_one_step_many_times(on_cpu, monkeypatch):
    state, data = _state(), jnp.arange(3.0)
    for _ in range(5):
        state, metrics = _step(state, data)

    monkeypatch.setattr(backend, "on_cpu", lambda: on_cpu)
    repeated, last = backend.repeat(_step)(_state(), data, 5)
    assert int(repeated["step"]) == 5
    assert repeated["key"] == state["key"]
    np.testing.assert_allclose(repeated["x"], state["x"], rtol=1e-6)
    assert last["sum"].shape == ()
    assert int(last["step"]) == 4
    np.testing.assert_allclose(last["sum"], metrics["sum"], rtol=1e-6)


@pytest.mark.parametrize("on_cpu", [True, False], ids=["calls", "scan"])
def test_the_state_is_donated(on_cpu, monkeypatch):
    monkeypatch.setattr(backend, "on_cpu", lambda: on_cpu)
    state = _state()
    backend.repeat(_step)(state, jnp.zeros(3), 2)
    assert state["x"].is_deleted()


@pytest.mark.parametrize(("cores", "devices", "changed"), [(1, 1, 0), (2, 1, 1), (2, 2, 0)])
def test_convolutions_take_all_cores_that_a_device_has(cores, devices, changed, monkeypatch):
    monkeypatch.setenv("NPROC", str(cores))
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    assert len(backend._compiler_options.__wrapped__()) == changed  # XLA still knows the option


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
    assert backend.worth_splitting(batch_size, image_size) == splits
    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert backend.worth_splitting(batch_size, image_size)


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: No such compile option")

    monkeypatch.setenv("NPROC", "2")
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "jit", refuse)
    assert backend._compiler_options.__wrapped__() == {}


def test_gradients_in_a_switch_are_canonical_on_a_cpu_only(monkeypatch):
    assert backend.canonical_in_switch()  # the tests run on a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert not backend.canonical_in_switch()


@pytest.mark.parametrize("on_cpu", [True, False])
def test_alternate_does_the_other_thing_after_every_period(on_cpu, monkeypatch):
    monkeypatch.setattr(backend, "on_cpu", lambda: on_cpu)

    def step(state, data):
        count, log = state
        return (count + 1, log + data), {"count": count + 1}

    def other(state, data):
        return state[0], 10 * state[1]

    advance = backend.alternate(step, other, lambda state: state[0] % 3 == 0)
    state, metrics = advance((jnp.zeros((), jnp.int32), jnp.float32(0)), jnp.float32(1), 4)
    assert int(metrics["count"]) == 4
    assert float(state[1]) == 31  # ((1 + 1 + 1) · 10) + 1
    state, _ = advance(state, jnp.float32(1), 2)
    assert float(state[1]) == 330, "periods go on from call to call"


_FAULTS = """\
import resource, sys
import jax, jax.numpy as jnp
from datafree_nas.runtime import backend
if sys.argv[1] == "keep":
    backend.keep_memory()
if sys.argv[1] == "small":
    backend.keep_memory((8, 8, 1))
step = jax.jit(lambda x: jnp.sin(jnp.outer(x, x)) @ x)  # 100 MB between the two
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(jnp.ones(5000)).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))  # what was freed may at first be a few bytes short of what is wanted next
"""


@pytest.mark.full
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc has no such setting")
def test_memory_of_one_step_is_that_of_the_next():
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", _FAULTS, how], env=environment))
        for how in ("keep", "give back", "small")
    }
    assert 10 * faults["keep"] < min(faults["give back"], faults["small"])
