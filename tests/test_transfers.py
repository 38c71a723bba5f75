"""No step waits for the host or sends anything to it: under JAX's transfer guard.

The default strategy's run through all stages is in test_several_devices.py.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime import loop
from tests import guarded, processes
from tests.tiers import full


@pytest.mark.parametrize(
    "strategy", [pytest.param("darts", marks=pytest.mark.slow), *full("proxyless")]
)
def test_steps_leave_everything_on_the_devices(tmp_path, strategy):
    flags = ["--config=tests/tiny_blocks.py", "--config.search.train.steps=4"]
    flags.append("--config.search.proxyless.every=2")
    flags += [f"--config.search.strategy={strategy}", "--stages=teacher,synthesize,search"]
    processes.run(tmp_path, *flags, devices=2, command=guarded.MAIN)


def test_the_guard_lets_no_array_of_the_host_in(tmp_path):
    def add(state, data, _n):
        return state + data, {}

    phase = loop.Phase("", 1, add)
    guarded_run = guarded.guarded(loop.run_phases)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        guarded_run([phase], jnp.zeros(()), np.ones(3), label="", directory=tmp_path)
