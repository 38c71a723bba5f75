"""docs/teachers.md knows every architecture, and its example works."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

from datafree_nas import teachers
from datafree_nas.teachers import port, registry

PAGE = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text()


def test_the_table_has_every_architecture():
    table = PAGE.partition("## Architectures")[2].partition("### What was verified")[0]
    names = re.findall(
        r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines() if "|" in row)
    )
    assert sorted(names) == sorted(registry.names())


def test_the_example_of_a_model_of_ones_own(tmp_path, monkeypatch):
    code = re.search(r"```python\n# mypkg/mymodel\.py\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "mymodel.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    teacher = teachers.create_teacher("mypkg.mymodel:create", num_classes=10)
    image = jnp.zeros((1, *teacher.image_size))
    variables = teacher.model.init(jax.random.key(0), image)
    teachers.save(tmp_path / "teacher", teacher, variables, {"trained_on": "my data"})
    assert teachers.load(tmp_path / "teacher", teacher.arch)[0] == teacher
    teachers.export(tmp_path / "model.safetensors", teacher, variables)
    assert port.port(teacher.arch, tmp_path / "model.safetensors")[0] == teacher
