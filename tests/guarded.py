"""The whole job, whose steps may not move anything between the host and the devices.

A command for `tests.processes`. What a step reads has to be on the devices before it, and placed as
the program wants it: neither a NumPy array nor a copy from device to device is let in. Turns of the
evolution are no steps; they are the host's.
"""

import sys
from functools import partial

import jax
from absl import app

from datafree_nas import main
from datafree_nas.runtime import flags, loop

MAIN = [sys.executable, "-m", "tests.guarded"]


def guarded(run):
    """`loop.run_phases`, whose phases run under JAX's transfer guard."""

    def guard(phase):
        def advance(*args):
            with jax.transfer_guard("disallow"):
                return phase.advance(*args)

        return phase if phase.unit == "networks" else phase._replace(advance=advance)

    return lambda phases, *args, **settings: run([*map(guard, phases)], *args, **settings)


if __name__ == "__main__":
    loop.run_phases = guarded(loop.run_phases)  # before anything else is imported that calls it
    app.run(main.main, flags_parser=partial(flags.parse, default_config="tests/tiny.py"))
