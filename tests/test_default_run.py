"""The default experiment at full size: minutes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

COMMAND = [sys.executable, "-m", "datafree_nas.main"]


@pytest.mark.slow
def test_ten_kills_of_the_default_run_end_in_the_same_summary(tmp_path):
    subprocess.run([*COMMAND, f"--workdir={tmp_path}/whole"], check=True)
    generator = np.random.default_rng(7)
    killed = [*COMMAND, f"--workdir={tmp_path}/killed"]
    for _ in range(10):
        process = subprocess.Popen(killed, start_new_session=True)
        time.sleep(generator.uniform(2, 40))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(killed, check=True)
    whole, resumed = (
        (tmp_path / name / "report" / "summary.json").read_bytes() for name in ("whole", "killed")
    )
    assert resumed == whole
