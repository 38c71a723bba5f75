import os

import jax
import pytest

from datafree_nas.runtime import compiled


@pytest.fixture
def place(monkeypatch):
    """Where programs are kept; the tests' own place again afterwards."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_are_kept_with_the_files_of_the_user(place, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.keep()
    assert os.path.dirname(place()) == str(tmp_path / "datafree_nas" / "compiled")
    assert os.path.isdir(place())


def test_the_programs_of_a_run_in_a_bucket_are_kept_there(place):
    compiled.keep("gs://b/run/")
    assert place().startswith("gs://b/run/.compiled/")


def test_a_place_of_the_users_own_choice(place, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    compiled.keep("gs://b/run")
    assert place() == str(tmp_path)


def test_a_place_that_cannot_be_written(place, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", "/sys")
    compiled.keep()
    assert place() is None
    assert "warning: compiled programs are not kept, since /sys/" in capsys.readouterr().err
