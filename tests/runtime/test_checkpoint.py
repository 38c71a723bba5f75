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


def test_whether_variables_are_as_they_were_written(tmp_path):
    place = tmp_path / "v"
    assert not checkpoint.is_intact(place)
    checkpoint.save_variables(place, {"params": {"a": np.zeros(2)}})
    assert checkpoint.is_intact(place)
    (tmp_path / "link").symlink_to(place)
    assert not checkpoint.is_intact(tmp_path / "link")
    for name, make in (
        ("file", lambda path: path.touch()),
        ("link", lambda path: path.symlink_to("nowhere")),
        ("seal.json", lambda path: path.write_text("{}")),
    ):
        (place / "inner").mkdir(exist_ok=True)
        make(place / "inner" / name)
        assert not checkpoint.is_intact(place), name
        (place / "inner" / name).unlink()
    assert checkpoint.is_intact(place)


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


def _truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _files(folder):
    """The largest file holds the arrays."""
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


DAMAGES = {
    "truncated": lambda folder: _truncate(_files(folder)[-1]),
    "a bit flipped": lambda folder: _flip_a_bit(_files(folder)[-1]),
    "a file gone": lambda folder: _files(folder)[-1].unlink(),
    "never finished": lambda folder: (folder / "seal.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_left_out_for_the_one_before(damage, tmp_path, capsys):
    progress = checkpoint.Progress(tmp_path)
    progress.save(3, _state(3))
    progress.save(5, _state(5))
    progress.close()
    DAMAGES[damage](tmp_path / "5")
    for expected in (3, 0):
        reopened = checkpoint.Progress(tmp_path)
        done, state = reopened.restore(_state(0))
        reopened.close()
        assert done == expected
        _assert_same(state, _state(expected))
        assert f"{tmp_path}/{5 if expected else 3} is unfinished" in capsys.readouterr().err
        if expected:
            DAMAGES[damage](tmp_path / "3")


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit])
def test_damaged_variables(damage, tmp_path):
    checkpoint.save_variables(tmp_path / "v", {"params": {"kernel": np.arange(100.0)}})
    damage(_files(tmp_path / "v")[-1])
    with pytest.raises(UserError, match=r"variables at .* are damaged; their checksums differ"):
        checkpoint.load_variables(tmp_path / "v")


def test_a_checkpoint_is_written_in_the_background(tmp_path):
    progress = checkpoint.Progress(tmp_path)
    state = {"x": jnp.ones((1000, 1000))}
    for step in range(1, 6):
        progress.save(step, jax.tree.map(lambda x, s=step: x * s, state))
    progress.close()
    reopened = checkpoint.Progress(tmp_path)
    assert reopened.restore(state)[0] == 5
    assert float(reopened.restore(state)[1]["x"][0, 0]) == 5
    reopened.close()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["4", "5"]


@pytest.mark.parametrize("name", ["run [1]", "a*b", "why?", "back\\slash"])
def test_a_path_that_orbax_takes_for_a_pattern(name, tmp_path):
    """Weights could be written there, and not be read again."""
    with pytest.raises(UserError, match="checkpoints cannot be kept below a path with"):
        checkpoint.save_variables(tmp_path / name / "v", {"a": np.zeros(2)})
    with pytest.raises(UserError, match="choose another name"):
        checkpoint.Progress(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_what_cannot_be_read_back_is_not_sealed(tmp_path, monkeypatch, capsys):
    def fail(directory):
        raise ValueError("nothing there\nat all")

    monkeypatch.setattr(checkpoint, "_read", fail)
    with pytest.raises(UserError, match=r"checkpoint at .*v cannot be read: nothing there$"):
        checkpoint.save_variables(tmp_path / "v", {"a": np.zeros(2)})
    assert not (tmp_path / "v" / "seal.json").exists()
    progress = checkpoint.Progress(tmp_path / "working")
    progress.save(1, _state(1))
    progress.close()
    assert "working/1/default cannot be read: nothing there" in capsys.readouterr().err
    assert not (tmp_path / "working" / "1" / "seal.json").exists()


def _saved(directory, state):
    progress = checkpoint.Progress(directory)
    progress.save(1, state)
    progress.close()


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"more": jnp.zeros(2)}, "this version has more, which it has not"),
        ({"step": None}, "it has step, which this version has not"),
        ({"step": jnp.zeros(3)}, r"step: int32\(\) cannot take the place of float32\(3,\)"),
    ],
)
def test_a_state_of_another_version_is_named(changed, difference, tmp_path):
    _saved(tmp_path, _state(1))
    progress = checkpoint.Progress(tmp_path)
    with pytest.raises(UserError, match=rf"1 was saved by another version .*\({difference}\)"):
        progress.restore(_state(0) | changed)
    progress.close()


def test_leaves_are_found_by_their_paths_not_by_their_order(tmp_path):
    _saved(tmp_path, {"a": jnp.ones(2), "b": jnp.zeros(2)})
    progress = checkpoint.Progress(tmp_path)
    file = tmp_path / "1" / "state.json"
    file.write_text(file.read_text().replace('"a"', '"c"'))
    checkpoint._seal(tmp_path / "1")
    _, state = progress.restore({"b": jnp.full(2, 5.0), "c": jnp.full(2, 5.0)})
    progress.close()
    np.testing.assert_array_equal(state["b"], [0, 0])
    np.testing.assert_array_equal(state["c"], [1, 1])


def test_a_checkpoint_without_paths_is_of_an_older_version(tmp_path):
    """It is read by the order of its leaves, or named."""
    _saved(tmp_path, _state(3))
    (tmp_path / "1" / "state.json").unlink()
    checkpoint._seal(tmp_path / "1")
    progress = checkpoint.Progress(tmp_path)
    _assert_same(progress.restore(_state(0))[1], _state(3))
    with pytest.raises(UserError, match="it has 4 arrays, not 5"):
        progress.restore(_state(0) | {"more": jnp.zeros(2)})
    progress.close()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    """Of another seed, for instance, whose state has the same structure."""
    with checkpoint.of_stage(tmp_path, "one config"):
        _saved(tmp_path / "working", _state(3))
    for made_from, known in (("one config", True), ("another config", False)):
        with checkpoint.of_stage(tmp_path, made_from):
            progress = checkpoint.Progress(tmp_path / "working")
            if known:
                assert progress.restore(_state(0))[0] == 1
            else:
                with pytest.raises(UserError, match="working/1 is the checkpoint of another run"):
                    progress.restore(_state(0))
            progress.close()


def test_variables_that_are_not_those_of_the_card(tmp_path):
    checkpoint.save_variables(tmp_path / "v", {"a": np.zeros(2)})
    card = {"weights": checkpoint.digest({"a": np.zeros(2)})}
    checkpoint.load_variables(tmp_path / "v", card)
    checkpoint.save_variables(tmp_path / "v", {"a": np.ones(2)})
    with pytest.raises(UserError, match="v are not those of the card beside them"):
        checkpoint.load_variables(tmp_path / "v", card)


def test_processes_other_than_the_first_keep_no_state(tmp_path, monkeypatch):
    """Of NumPy arrays Orbax writes there no more than a folder, which cannot be read."""
    progress = checkpoint.Progress(tmp_path)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    progress.save(1, _state(1))
    progress.close()
    assert list(tmp_path.iterdir()) == []
