import jax

from datafree_nas.runtime import lowering


def test_gradients_in_a_switch_are_canonical_on_a_cpu_only(monkeypatch):
    assert lowering.canonical_in_switch()  # the tests run on a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert not lowering.canonical_in_switch()
