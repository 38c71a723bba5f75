import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime import checkpoint
from datafree_nas.runtime.errors import UserError


def _state(value):
    return {
        "key": jax.random.key(value),
        "step": jnp.asarray(value, jnp.int32),
        "layers": (jnp.full((2, 3), value, jnp.float32), {"x": jnp.arange(4.0) * value}),
    }


def _assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_variables_come_back_as_they_were(tmp_path):
    variables = {"params": {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}}
    checkpoint.save_variables(tmp_path / "v", {"params": {"old": np.zeros(2)}})
    checkpoint.save_variables(tmp_path / "v", variables)
    loaded = checkpoint.load_variables(tmp_path / "v")
    _assert_same(loaded, variables)
    assert isinstance(loaded["params"]["a"]["kernel"], np.ndarray)


def test_variables_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="no variables at"):
        checkpoint.load_variables(tmp_path / "none")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="other cannot be read"):
        checkpoint.load_variables(tmp_path / "other")


def test_progress_gives_back_the_newest_state_with_its_keys(tmp_path):
    progress = checkpoint.Progress(tmp_path / "working")
    assert progress.restore(_state(7))[0] == 0
    _assert_same(progress.restore(_state(7))[1], _state(7))
    progress.save(3, _state(3))
    progress.save(5, _state(5))
    progress.close()

    reopened = checkpoint.Progress(tmp_path / "working")
    done, state = reopened.restore(_state(0))
    reopened.close()
    assert done == 5
    _assert_same(state, _state(5))
    assert jax.random.normal(state["key"]) == jax.random.normal(jax.random.key(5))
    assert [p.name for p in (tmp_path / "working").iterdir() if p.name.isdigit()] == ["3", "5"]


def test_discard(tmp_path):
    progress = checkpoint.Progress(tmp_path / "working")
    progress.save(1, _state(1))
    progress.close()
    checkpoint.discard(tmp_path / "working")
    checkpoint.discard(tmp_path / "working")  # nothing there: nothing to do
    assert list(tmp_path.iterdir()) == []
