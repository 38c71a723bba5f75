"""The whole job: `python -m datafree_nas.main --config=configs/cifar10_spos.py --workdir=DIR`.

With no flags it runs `configs/digits_spos.py`, which needs nothing from outside. The same command
again goes on where it was. `--config.synthesis.rounds=2` overrides a field. `--plan` only says what
it would take.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import os
from functools import partial
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse, stages_from
from datafree_nas.runtime.interrupt import deferred_signals

_DEFAULT = Path(__file__).parents[1] / "configs" / "digits_spos.py"

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="an experiment, FILE.py[:arg]; default: configs/digits_spos.py"
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "folder of all artifacts; default: runs/<config's name>"
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, if there are several and no cluster is found"
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "number of processes in the run", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "number of this process, from 0", lower_bound=0
)
_START_TIMEOUT = flags.DEFINE_integer(
    "start_timeout", 300, "seconds that processes wait for each other at the start", lower_bound=1
)
_STAGES = flags.DEFINE_string("stages", "", "e.g. synthesize,search; default: all five")
_REPAIR = flags.DEFINE_bool(
    "repair", False, "look at every shard of synthetic images; make damaged and missing ones again"
)
_PLAN = flags.DEFINE_bool("plan", False, "run nothing; print memory, FLOPs, disk and hours")
_PLAN_DEVICES = flags.DEFINE_integer(
    "plan_devices",
    None,
    "number of devices to plan for; virtual ones if the machine has fewer",
    lower_bound=1,
)
_PLAN_RATE = flags.DEFINE_float(
    "plan_rate", 0.0, "image-iterations a second of the whole machine", lower_bound=0.0
)
_PLAN_JSON = flags.DEFINE_string("plan_json", "", "file that gets the plan as JSON")


def _run() -> None:
    from datafree_nas import pipeline, schema  # after the flags: mistakes there show at once
    from datafree_nas.report import table
    from datafree_nas.runtime import mirror, processes
    from datafree_nas.runtime.memory import keep_memory

    schema.check(_CONFIG.value)
    keep_memory(_CONFIG.value.teacher.image_size)
    this = processes.find(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    processes.initialize(this, _START_TIMEOUT.value)
    if _PLAN.value:
        from datafree_nas import plan

        return plan.show(_CONFIG.value, _PLAN_DEVICES.value, _PLAN_RATE.value, _PLAN_JSON.value)
    if _PLAN_DEVICES.present or _PLAN_RATE.present or _PLAN_JSON.present:
        raise UserError("--plan_devices, --plan_rate and --plan_json belong to --plan; add it")
    stages = stages_from(_STAGES.value, pipeline.NAMES)
    if not (_WORKDIR.value or _CONFIG.value.name):
        raise UserError("give --workdir=DIR; this config has no name of which to make one")
    place = os.path.expanduser(_WORKDIR.value) or f"runs/{_CONFIG.value.name}"
    with deferred_signals(), mirror.workdir(place) as workdir:
        pipeline.run(_CONFIG.value, workdir, stages, _REPAIR.value)
        if processes.primary():
            table.show_result(workdir, place)


def _leave(status: int, line: str) -> None:
    from datafree_nas.runtime import processes

    processes.leave(status, line)


def main(_argv: list[str]) -> None:
    """Runs the stages that the flags name."""
    exit_cleanly(_run, resume="Run the same command again to go on.", leave=_leave)


if __name__ == "__main__":
    app.run(main, flags_parser=partial(parse, default_config=str(_DEFAULT)))
