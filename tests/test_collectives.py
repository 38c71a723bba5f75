"""What devices tell each other in a step, from the compiled programs of eight of them.

A batch is split over the devices; weights, teacher and all images are on every one, so a device can
draw its part of a batch, label it and run the network on it without hearing of the others. What
they have to agree on are sums over the batch:

- BatchNorm's statistics where they are the batch's. Synthesis takes them with the teacher in
  evaluation mode, C numbers a layer three times: the mean of a part of the positions, to shift by,
  then mean and mean square. On the way back a statistic's gradient is the same on every device and
  a pixel's only its own, so there is nothing to add up.
- Losses, and the norms of the total variation: single numbers.
- In training, gradients of the weights, each once; C numbers a layer twice for the statistics, and
  once on the way back through them (scale and bias are weights). In a supernet candidate ops are
  computed once more on the way back, with their statistics, and have no scale and bias, so that the
  way back takes two.

No collective but a sum is needed, and none grows with the batch or the size of an image.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.plan import experiment_of
from datafree_nas.teachers import port
from tests import tiny_blocks

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[1]
SCALARS = 16  # losses and norms; more than there are


def _run(*command, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The plan of a small config for eight devices, and what it printed."""
    place = tmp_path_factory.mktemp("plan")
    flags = ["--config=tests/tiny_blocks.py", "--plan", "--plan_devices=8", "--plan_rate=0.5"]
    flags += [f"--workdir={place}/run", f"--plan_json={place}/new/plan.json"]
    output = _run("-m", "datafree_nas.main", *flags)
    assert [path.name for path in place.iterdir()] == ["new"], "no stage has been run"
    return {**json.loads((place / "new" / "plan.json").read_text()), "output": output}


def _sums(plan, name):
    """Count and number of floats of a program's sums, of which nothing else must be told."""
    (row,) = (row for row in plan["rows"] if row["name"] == name)
    assert row["collectives"].keys() == {"all-reduce"}
    found = row["collectives"]["all-reduce"]
    return found["count"], round(1e6 * found["MB"] / 4)


def _sizes(module, *inputs):
    """Numbers of weights, of BatchNorm channels and of BatchNorm layers."""
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    trees = (jax.tree.leaves(variables[name]) for name in ("params", "batch_stats"))
    params, statistics = ([math.prod(leaf.shape) for leaf in leaves] for leaves in trees)
    return sum(params), sum(statistics) // 2, len(statistics) // 2


@pytest.fixture(scope="module")
def config():
    return tiny_blocks.get_config()


def _image(teacher):
    return jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)


@pytest.mark.parametrize("name", ["synthesis 1/2", "synthesis 1/1"])
def test_synthesis_adds_up_statistics_and_nothing_else(plan, config, name):
    teacher = experiment_of(config).teacher
    _, channels, layers = _sizes(teacher.model, _image(teacher))
    count, floats = _sums(plan, name)
    assert 3 * channels < floats <= 3 * channels + SCALARS
    assert count <= 2 * layers + 4, "for each layer the shift, then the rest; and four norms"


def test_a_search_step_adds_up_gradients_and_statistics(plan, config):
    planned = experiment_of(config)
    teacher, space = planned.teacher, planned.space
    gates = jax.ShapeDtypeStruct((space.positions,), jnp.int32)
    weights, channels, _ = _sizes(space.supernet(), _image(teacher), gates)
    assert weights < _sums(plan, "search")[1] <= weights + 6 * channels + SCALARS


def test_training_adds_up_gradients_and_statistics(plan, config):
    planned = experiment_of(config)
    teacher, space = planned.teacher, planned.space
    student = space.network(np.asarray(space.sample(jax.random.key(0))))
    for name, model in (("teacher", teacher.model), ("student", student)):
        weights, channels, layers = _sizes(model, _image(teacher))
        count, floats = _sums(plan, name)
        assert weights < floats <= weights + 3 * channels + SCALARS
        assert count <= 2 * layers + 2, "a layer's statistics, forward and back; all gradients"


def test_the_plan_says_what_a_device_takes(plan, config):
    assert (plan["devices"], plan["processes"]) == (8, 1)
    assert [row["name"] for row in plan["rows"]] == [
        *("teacher", "synthesis 1/2", "synthesis 1/1", "search", "student"),
        "student on real images",
    ]
    assert [row["images"] for row in plan["rows"]] == [64 // 8, *[32 // 8] * 5]
    for row in plan["rows"]:
        parts = row["arguments_GB"] + row["temporaries_GB"]
        assert min(row["arguments_GB"], row["temporaries_GB"]) > 0
        assert parts <= row["total_GB"] < 1.1 * parts
        assert row["name"] in plan["output"]
    teacher = sum(x.size for x in jax.tree.leaves(port.shapes(experiment_of(config).teacher)))
    pixels = 3 * 4 * (8 + 2) ** 2  # and Adam's two moments
    assert 1e9 * plan["rows"][1]["arguments_GB"] == pytest.approx(4 * (teacher + pixels), rel=1e-3)


def test_the_plan_says_what_synthesis_makes(plan):
    assert plan["synthetic_set"]["work_units"] == 4
    assert plan["synthetic_set"]["hours"] == pytest.approx(128 * 12 / 0.5 / 3600)
    assert "4 work units, a shard each; 128 images" in plan["output"]
    assert "1536 image-iterations, 0.853 hours at the given rate" in plan["output"]
    assert "natural images are not opened" in plan["output"]


def test_groups_that_lie_across_devices_add_up_as_well():
    """Three groups of eight images on eight devices of three; cut up, all would be gathered."""
    script = """
import jax, jax.numpy as jnp
from datafree_nas import teachers
from datafree_nas.runtime import costs, mesh
from datafree_nas.teachers import port
grey = {"image_size": (8, 8, 1), "mean": (0.3,), "std": (0.4,)}
teacher = teachers.create_teacher("cifar_resnet8", 10, **grey)
x = jax.ShapeDtypeStruct((24, 8, 8, 1), jnp.float32, sharding=mesh.split_over_data())
apply = lambda v, x: teachers.apply_with_taps(teacher.model, v, x, groups=3)[1]
compiled = jax.jit(apply).lower(port.shapes(teacher), x).compile()
for kind, each in costs.collectives(compiled.as_text()).items():
    print(kind, each.bytes)
"""
    output = _run("-c", script, JAX_NUM_CPU_DEVICES="8")
    channels = 16 + 16 + 16 + 32 + 32 + 64 + 64
    assert output.split() == ["all-reduce", str(4 * (channels + 2 * 3 * channels))]
