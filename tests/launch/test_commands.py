"""What the scripts would do, what they say to mistakes, and that shellcheck finds nothing."""

import os
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = [*sorted(LAUNCH.glob("*.sh")), LAUNCH / "slurm.sbatch"]
RUN = ["--", "--config=c.py:quick", "--workdir=gs://b/d", "--config.name=it's 2"]


def _call(script, *arguments, cwd=ROOT, **environment):
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("SLURM", "JAX", "PORT", "NPROC", "DATAFREE"))
    }
    return subprocess.run(
        [LAUNCH / script, *map(str, arguments)],
        cwd=cwd,
        env={**kept, "PATH": "/usr/bin:/bin", "DATAFREE_NAS_PYTHON": "/usr/bin/env", **environment},
        capture_output=True,
        text=True,
        timeout=20,
    )


def _dry_run(script, *arguments, **environment):
    done = _call(script, "--dry_run", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_local():
    program = (
        "env JAX_PLATFORMS=cpu NPROC=3 JAX_NUM_CPU_DEVICES=1 /usr/bin/env -m datafree_nas.main "
        "--coordinator=127.0.0.1:23456 --num_processes=2 --process_id"
    )
    rest = "--config=c.py:quick --workdir=gs://b/d --config.name=it\\'s\\ 2"
    printed = _dry_run("local.sh", 2, *RUN[1:], PORT="23456", NPROC="3")
    assert printed == f"{program}=0 {rest}\n{program}=1 {rest}\n"


@pytest.mark.parametrize(("processes", "threads"), [(1, os.cpu_count()), (99, 1)])
def test_local_gives_a_process_its_share_of_the_cores(processes, threads):
    assert f" NPROC={threads} " in _dry_run("local.sh", processes)


def test_tpu_vm(tmp_path):
    options = ("--name=nas", "--zone=z-1", "--type=v6e-16", "--spot")
    printed = _dry_run("tpu_vm.sh", *options, *RUN, TMPDIR=str(tmp_path))
    archive = re.search(rf"{tmp_path}/tmp\.\w{{10}}/datafree_nas\.tar\.gz", printed)[0]
    here, ssh = "--zone=z-1 --quiet", "gcloud compute tpus tpu-vm ssh nas --worker"
    token = f"{os.environ['HOME']}/.datafree_nas-nas.env"
    alive = "--ssh-flag=-oServerAliveInterval=30"
    worker = r"--command=datafree_nas/launch/worker.sh\ "
    # a word for gcloud, in which the words of the remote shell are quoted once more
    start = r"start\ --config=c.py:quick\ --workdir=gs://b/d\ --config.name=it\\\'s\\\ 2"
    assert printed.splitlines() == [
        "gcloud compute tpus tpu-vm create nas --accelerator-type=v6e-16 "
        f"--version=v2-alpha-tpuv6e --spot {here}",
        f"git -C {ROOT} archive --format=tar.gz --output={archive} HEAD",
        f"gcloud compute tpus tpu-vm scp {archive} nas:datafree_nas.tar.gz --worker=all {here}",
        rf"{ssh}=all {alive} --command=rm\ -rf\ datafree_nas\ \&\&\ mkdir\ datafree_nas\ \&\&\ "
        rf"tar\ -xzf\ datafree_nas.tar.gz\ -C\ datafree_nas {here}",
        f"{ssh}=all {alive} {worker}install {here}",
        f"gcloud compute tpus tpu-vm scp {token} nas:datafree_nas/token.env --worker=all {here}",
        f"rm {token}",
        f"{ssh}=all {alive} {worker}{start} {here}",
        f"{ssh}=0 {alive} {worker}follow {here}",
        f"{ssh}=0 {alive} {worker}status {here}",
        f"gcloud compute tpus tpu-vm delete nas {here}",
    ]
    assert list(tmp_path.iterdir()) == []
    remote = shlex.split(printed.splitlines()[7])[-3].removeprefix("--command=")
    assert shlex.split(remote)[2:] == RUN[1:]


def test_tpu_vm_queued():
    printed = _dry_run(
        "tpu_vm.sh",
        *("--name=nas", "--zone=z-1", "--type=v5litepod-16", "--project=p", "--queued", "--keep"),
        "--create_flags=--network=n --internal-ips",
        "--package=git+https://github.com/o/r@v1",
        *RUN,
    ).splitlines()
    assert printed[0] == (
        "gcloud compute tpus queued-resources create nas --node-id=nas "
        "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite "
        "--network=n --internal-ips --zone=z-1 --project=p --quiet"
    )
    assert shlex.split(printed[1])[-4].removeprefix("--command=") == (
        "rm -rf datafree_nas && git clone --quiet https://github.com/o/r datafree_nas "
        "&& git -C datafree_nas checkout --quiet v1"
    )
    assert not any("git archive" in line or "delete" in line for line in printed)
    forced = _dry_run(
        "tpu_vm.sh", "--name=nas", "--zone=z-1", "--type=v4-8", "--queued", *RUN
    ).splitlines()
    assert "--runtime-version=tpu-ubuntu2204-base" in forced[0]
    assert forced[-1] == (
        "gcloud compute tpus queued-resources delete nas --force --zone=z-1 --quiet"
    )


def test_xpk():
    printed = _dry_run(
        "xpk.sh", "--name=nas", "--cluster=c", "--type=v5litepod-16", "--image=r/i:tpu", *RUN
    )
    command = r"--config=c.py:quick\ --workdir=gs://b/d\ --config.name=it\\\'s\\\ 2"
    assert printed == (
        "xpk workload create --workload=nas --cluster=c --tpu-type=v5litepod-16 --num-slices=1 "
        "--docker-image=r/i:tpu --max-restarts=50 --restart-on-exit-codes=1\\,75 "
        f"--termination-grace-period-seconds=45 --env-file={LAUNCH}/xpk.env "
        rf"--command=exec\ python\ -m\ datafree_nas.main\ {command}" + "\n"
    )


def test_the_token_is_on_no_command_line():
    """xpk takes what has no value in the file from the environment."""
    assert (LAUNCH / "xpk.env").read_text() == "DATAFREE_NAS_TOKEN\n"
    for script, arguments in [("local.sh", [2]), ("slurm.sbatch", []), ("xpk.sh", XPK[1:])]:
        printed = _dry_run(
            script, *arguments, *RUN[script == "local.sh" :], DATAFREE_NAS_TOKEN="s3cret"
        )
        assert "s3cret" not in printed


def test_slurm():
    job = {"SLURM_JOB_ID": "1234567", "SLURMD_NODENAME": "n01", "SLURM_GPUS_ON_NODE": "4"}
    assert _dry_run("slurm.sbatch", *RUN, **job) == (
        "export JAX_LOCAL_DEVICE_IDS=0,1,2,3\n"
        "srun --kill-on-bad-exit=0 --wait=0 "
        r"bash -c exec\ \"\$@\"\ --num_processes=\$SLURM_NTASKS\ --process_id=\$SLURM_PROCID bash "
        "/usr/bin/env -m datafree_nas.main --coordinator=n01:24567 "
        "--config=c.py:quick --workdir=gs://b/d --config.name=it\\'s\\ 2\n"
        "scontrol requeue 1234567  # after 75, 137 or 143\n"
    )
    assert "JAX" not in _dry_run("slurm.sbatch", SLURMD_NODENAME="n01")


def test_slurm_settings():
    settings = [
        line.removeprefix("#SBATCH --")
        for line in (LAUNCH / "slurm.sbatch").read_text().splitlines()
        if line.startswith("#SBATCH")
    ]
    assert {"signal=TERM@60", "requeue", "ntasks-per-node=1", "open-mode=append"} <= set(settings)


@pytest.mark.parametrize(
    ("status", "restarts", "requeued"),
    [(0, 0, False), (1, 0, False), (2, 0, False), (75, 0, True), (137, 3, True), (143, 99, True),
     (143, 100, False)],
)  # fmt: skip
def test_slurm_goes_back_to_the_queue(tmp_path, status, restarts, requeued):
    """With an `srun` that does what the real one does for one task."""
    asked = tmp_path / "asked"
    for name, body in {
        "srun": 'export SLURM_NTASKS=1 SLURM_PROCID=0; shift 2; "$@" | grep -q -- '
        f'"--num_processes=1 --process_id=0$" && exit {status}',
        "scontrol": f'echo "$*" >>{asked}',
        "main": f'echo "$*"; echo "$DATAFREE_NAS_TOKEN" >>{tmp_path}/token',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    done = _call(
        "slurm.sbatch",
        *RUN,
        PATH=f"{tmp_path}:/usr/bin:/bin",
        DATAFREE_NAS_PYTHON=str(tmp_path / "main"),
        SLURM_JOB_ID="77",
        SLURM_RESTART_COUNT=str(restarts),
    )
    assert done.returncode == status
    assert re.fullmatch("[0-9a-f]{32}\n", (tmp_path / "token").read_text())
    assert (asked.read_text() if asked.exists() else "") == ("requeue 77\n" if requeued else "")


TPU = ("tpu_vm.sh", "--name=nas", "--zone=z", "--type=v6e-8")
XPK = ("xpk.sh", "--name=nas", "--cluster=c", "--type=v6e-8", "--image=i")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("local.sh",), "how many processes? launch/local.sh N, with N from 1 to 99"),
        (("local.sh", "two"), "how many processes? launch/local.sh N, with N from 1 to 99"),
        (("local.sh", "--dryrun", "2"), "no option --dryrun before the number of processes"),
        (("tpu_vm.sh", *TPU[2:]), "--name=... is missing (--help says what it is)"),
        ((*TPU, "--kepe"), "no option --kepe (--help lists them)"),
        ((*TPU, "--zone"), "no option --zone (--help lists them)"),
        ((*TPU, "--keep=1"), "no option --keep=... (--help lists them)"),
        ((*TPU, "--config=c.py"), "no option --config=... (--help lists them)"),
        ((*TPU, "c.py"), "c.py is no option; what datafree_nas.main takes comes after --"),
        (TPU, "the hosts share no disk; end with -- --workdir=gs://BUCKET/DIR"),
        ((*TPU, "--name=Nas", *RUN), "--name=Nas is not a name of up to 40 small letters"),
        ((*TPU, "--attempts=0", *RUN), "--attempts=0 is not a number from 1"),
        ((*TPU, "--package=datafree_nas", *RUN), "--package=datafree_nas is not git+URL"),
        (("xpk.sh", *XPK[2:]), "--name=... is missing"),
        ((*XPK, "--", "--config=c.py"), "the hosts share no disk"),
        ((*XPK, "--slices=two", *RUN), "--slices=two is not a number from 1"),
        (("slurm.sbatch", "--config=c.py"), "--config=c.py: what datafree_nas.main takes comes"),
        (("slurm.sbatch", *RUN), "this is for sbatch; bash launch/slurm.sbatch --dry_run shows"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes(arguments, message):
    done = _call(*arguments)
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["80", "70000", "ten"])
def test_local_port(port):
    done = _call("local.sh", 2, PORT=port)
    assert done.returncode == 2
    assert done.stderr == f"error: PORT={port} is not a port from 2024 to 65535\n"


@pytest.mark.parametrize("script", [s for s in SCRIPTS if os.access(s, os.X_OK)], ids=str)
def test_help(script):
    done = _call(script.name, "--help")
    assert done.returncode == (2 if script.name == "worker.sh" else 0)
    said = done.stdout + done.stderr
    assert f"launch/{script.name}" in said
    assert "Needs " in said
    assert "#" not in said.replace("#SBATCH", "")


def test_shellcheck():
    program = Path(sysconfig.get_path("scripts")) / "shellcheck"
    done = subprocess.run(
        [program, "--external-sources", "--enable=quote-safe-variables", *SCRIPTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
