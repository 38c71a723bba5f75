import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime import backend
from datafree_nas.runtime.repeat import _compiler_options, alternate, repeat


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
    repeated, last = repeat(_step)(_state(), data, 5)
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
    repeat(_step)(state, jnp.zeros(3), 2)
    assert state["x"].is_deleted()


@pytest.mark.parametrize(("cores", "devices", "changed"), [(1, 1, 0), (2, 1, 1), (2, 2, 0)])
def test_convolutions_take_all_cores_that_a_device_has(cores, devices, changed, monkeypatch):
    monkeypatch.setenv("NPROC", str(cores))
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    assert len(_compiler_options.__wrapped__()) == changed  # XLA still knows the option


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: No such compile option")

    monkeypatch.setenv("NPROC", "2")
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "jit", refuse)
    assert _compiler_options.__wrapped__() == {}


@pytest.mark.parametrize("on_cpu", [True, False])
def test_alternate_does_the_other_thing_after_every_period(on_cpu, monkeypatch):
    monkeypatch.setattr(backend, "on_cpu", lambda: on_cpu)

    def step(state, data):
        count, log = state
        return (count + 1, log + data), {"count": count + 1}

    def other(state, data):
        return state[0], 10 * state[1]

    advance = alternate(step, other, lambda state: state[0] % 3 == 0, "other")
    state, metrics = advance((jnp.zeros((), jnp.int32), jnp.float32(0)), jnp.float32(1), 4)
    assert int(metrics["count"]) == 4
    assert float(state[1]) == 31  # ((1 + 1 + 1) · 10) + 1
    state, _ = advance(state, jnp.float32(1), 2)
    assert float(state[1]) == 330, "periods go on from call to call"
