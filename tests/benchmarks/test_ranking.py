"""Rankings against a table: figures by hand, the halves, and the commands on a table of chance."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import budgets, rank_statistics, tabular
from datafree_nas import spaces, teachers
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import store as teacher_store
from tests import forks

ROOT = Path(__file__).parents[2]
COUNT = 60


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    """Some networks of NAS-Bench-Macro, whose accuracy grows with their weights."""
    space = spaces.create_space("nasbench_macro", num_classes=10, image_size=(32, 32, 3))
    chosen = np.random.default_rng(0).choice(3**8, COUNT, replace=False)
    drawn = np.stack(np.unravel_index(chosen, (3,) * 8), axis=1)
    rows = {space.encode(a): {"mean_acc": 80 + space.params(a) / 1e6} for a in drawn}
    file = tmp_path_factory.mktemp("table") / "table.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """All cells of NAS-Bench-201, whose supernet compiles quickly, with some accuracy each."""
    space = spaces.create_space("nasbench201", num_classes=10, image_size=(32, 32, 3))
    everything = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)
    rows = {space.encode(a): {"test_acc_200": 70 + i / 1e3} for i, a in enumerate(everything)}
    file = tmp_path_factory.mktemp("cells") / "table.json"
    file.write_text(json.dumps(rows))
    return file


def _command(module, *flags, space="nasbench_macro"):
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", f"--space={space}", *map(str, flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def _rank(table_file, data, out, *flags, space="nasbench_macro"):
    flags = [f"--table={table_file}", f"--data={data}", f"--out={out}", *flags]
    done = _command("ranking", *flags, space=space)
    assert done.returncode == 0, done.stderr
    return done


def test_figures_by_hand():
    truth = np.array([90.0, 91, 92, 93, 94])
    found = rank_statistics.measure(np.array([1.0, 2, 3, 5, 4]), truth, np.append(truth, [95, 10]))
    assert found["tau"] == pytest.approx((9 - 1) / 10)
    assert found["rho"] == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert found["tau_top"] == pytest.approx(-1), "the two best, the wrong way round"
    assert (found["top_1"], found["top_5"], found["top_20"]) == (93, 94, 94)
    assert found["regret"] == 2
    assert found["percentile"] == pytest.approx(100 * 4 / 7)


def test_the_interval_holds_the_estimate_and_narrows():
    generator = np.random.default_rng(0)
    widths = []
    for n in (50, 800):
        truth = generator.normal(size=n)
        scores = truth + generator.normal(size=n)
        low, high = rank_statistics.tau_interval(scores, truth)
        assert low < rank_statistics.measure(scores, truth, truth)["tau"] < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)


def test_halves_share_nothing(table_file):
    table = tabular.load("nasbench_macro", table_file)
    report, tune = table.half("report"), table.half("tune")
    assert table.names == sorted(table.names)
    assert tune.names == table.names[0::2]
    assert report.names == table.names[1::2]
    assert report.accuracy.tolist() == table.accuracy[1::2].tolist()
    some = report.drawn(7, seed=1)
    assert len(set(some.names)) == 7
    assert set(zip(some.names, some.accuracy, strict=True)) < set(
        zip(report.names, report.accuracy, strict=True)
    )
    assert some.names == report.drawn(7, seed=1).names != report.drawn(7, seed=2).names
    assert report.drawn(0, seed=1) is report
    assert set(some.names) < set(report.drawn(8, seed=1).names)


def test_another_table_is_refused(table_file):
    with pytest.raises(UserError, match=r"is no table of nasbench201: every entry needs"):
        tabular.load("nasbench201", table_file)


@pytest.mark.full
def test_params_win_chance_does_not_and_the_table_is_of_the_scores_alone(table_file, tmp_path):
    _rank(table_file, "proxy:params", tmp_path / "params", "--count=0")
    for seed in (0, 1):
        _rank(table_file, "random", tmp_path / f"r{seed}", "--count=0", f"--config.seed={seed}")
    (tmp_path / "all").mkdir()
    names = {"params": "params_seed0", "r0": "chance_seed0", "r1": "chance_seed1"}
    for place, name in names.items():
        scores = tmp_path / place / "scores.jsonl"
        scores.rename(tmp_path / "all" / f"nasbench_macro_{name}.jsonl")
    flags = [f"--table={table_file}", f"--scores={tmp_path}/all", f"--out={tmp_path}/out"]
    done = _command("ranking_table", *flags, "--combine=params+chance")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / "ranking.json").read_text())
    rows = {row["name"]: row for row in written["rows"]}
    assert rows["params"]["tau"] == pytest.approx(1)
    assert rows["params"]["of"] == COUNT // 2
    assert rows["chance"]["seeds"] == 2
    assert abs(rows["chance"]["tau"]) < 0.4 < rows["params+chance"]["tau"] < 1
    assert rows["params"]["percentile"] > 90
    single = json.loads((tmp_path / "params" / "ranking.json").read_text())["rows"][0]
    assert single["tau"] == rows["params"]["tau"]
    for plot in ("tau.svg", "accuracy.svg"):
        assert "<svg" in (tmp_path / "out" / plot).read_text()

    for name in ("params_seed0", "chance_seed0", "chance_seed1"):  # the last draws others
        file = tmp_path / "all" / f"nasbench_macro_{name}.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[-4:] if name == "chance_seed1" else lines[:-2]))
    done = _command("ranking_table", *flags, "--combine=params+chance")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert {row["name"]: row["seeds"] for row in written["rows"]}["params+chance"] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("proxy:synflo", "error: --data: no proxy 'synflo'; did you mean 'synflow'?"),
        ("syntetic:x", "error: --data=syntetic:x is unknown; did you mean 'synthetic'?"),
        ("synthetic:nowhere", "error: "),
    ],
)
def test_mistakes(table_file, tmp_path, data, message):
    flags = [f"--table={table_file}", f"--data={data}", f"--out={tmp_path}/out"]
    done = forks.run("benchmarks.ranking", "--space=nasbench_macro", *flags)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_a_directory_belongs_to_one_experiment(table_file, tmp_path):
    _rank(table_file, "random", tmp_path, "--count=5")
    again = _rank(table_file, "random", tmp_path, "--count=5")
    assert "architectures/s" not in again.stderr, "all scores are there"
    flags = [f"--table={table_file}", "--data=random", f"--out={tmp_path}", "--count=6"]
    other = _command("ranking", *flags)
    assert other.returncode == 2
    assert other.stderr.startswith(f"error: {tmp_path} has results of other settings (count)")
    with filelock.FileLock(tmp_path / ".lock"):
        other = _command("ranking", *flags)
    assert other.returncode == 2
    assert other.stderr.startswith(f"error: another run is at work in {tmp_path}")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Flags of a small supernet on noise, whose programs are compiled once."""
    place = tmp_path_factory.mktemp("small")
    teacher = teachers.create_teacher("cifar_resnet8", 10)
    variables = teacher.model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    teacher_store.save(place / "teacher", teacher, variables, {"trained_on": "nothing"})
    settings = {"space.channels": 2, "space.cells": 1, "spos.sampling": "uniform", "score": "kl"}
    settings |= {"train.steps": 60, "train.batch_size": 4, "train.log_every": 1}
    settings |= {"train.labels": "stored"}
    flags = [f"--config.search.{name}={value}" for name, value in settings.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(place / "compiled"))
        yield [f"--teacher={place}/teacher", "--images=40", *flags]


@pytest.mark.slow
def test_a_supernet_ranks_and_goes_on(cells, tmp_path, small):
    """Stopped while it trains, it ends with the scores of a run that was not."""
    flags = [*small, "--count=3"]
    _rank(cells, "noise", tmp_path / "whole", *flags, space="nasbench201")
    command = [sys.executable, "-m", "benchmarks.ranking", "--data=noise"]
    command += [f"--table={cells}", f"--out={tmp_path}/stopped", *flags]
    stopped = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    while stopped.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    assert "Run the same command again" in stopped.communicate(timeout=120)[1]
    assert stopped.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "stopped" / "scores.jsonl").exists()
    _rank(cells, "noise", tmp_path / "stopped", *flags, space="nasbench201")
    whole, resumed = (tmp_path / name / "scores.jsonl" for name in ("whole", "stopped"))
    assert resumed.read_text() == whole.read_text()
    rows = [json.loads(line) for line in whole.read_text().splitlines()]
    assert all(row["score"] == -row["kl"] for row in rows)
    assert len({row["score"] for row in rows}) == 3


@pytest.mark.full
def test_what_a_search_found_is_looked_up(cells, tmp_path, small):
    changes = {"strategy": "random", "evolution.population": 2, "evolution.generations": 1}
    flags = ["--config=configs/nasbench201_spos.py", f"--table={cells}", "--data=noise", *small]
    flags += [f"--out={tmp_path}/out"]
    flags += [f"--config.search.{name}={value}" for name, value in changes.items()]
    done = _command("searched", *flags, space="nasbench201")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out" / "searched.json").read_text())["rows"]
    table = tabular.load("nasbench201", cells)
    assert row["accuracy"] == table.accuracy[table.names.index(row["architecture"])]
    assert row["regret"] == pytest.approx(table.accuracy.max() - row["accuracy"])
    other = _command("searched", *flags, space="nasbench_macro")
    assert other.returncode == 2
    assert "the config searches nasbench201, not nasbench_macro" in other.stderr
    flags[-1:] += ["--limits=200e6", f"--out={tmp_path}/limits"]
    assert _command("searched", *flags, space="nasbench201").returncode == 0
    (row,) = json.loads((tmp_path / "limits" / "searched.json").read_text())["rows"]
    assert row["name"] == "at most 200 M MACs"
    assert row["macs"] <= 200e6


def test_the_best_score_below_each_limit(cells):
    table, space = tabular.load("nasbench201", cells), spaces.create_space("nasbench201")
    macs = {name: space.macs(space.decode(name)) for name in table.names}
    few, some, many = sorted(table.names, key=macs.__getitem__)[0::7000]
    scores = {few: 0.2, some: 0.5, many: 0.9}
    history = [{"architecture": name, "score": score} for name, score in scores.items()]
    history.append({"architecture": few, "score": None})
    limits = [macs[some] - 1, macs[some], 1e9]
    rows = budgets.look_up(history, limits, table, space)
    assert [row["architecture"] for row in rows] == [few, some, many]
    accuracy = dict(zip(table.names, table.accuracy, strict=True))
    for row, limit in zip(rows, limits, strict=True):
        best = max(accuracy[name] for name in table.names if macs[name] <= limit)
        assert row["regret"] == pytest.approx(best - accuracy[row["architecture"]])
    assert rows[2]["largest"] == accuracy[max(macs, key=macs.__getitem__)]
    with pytest.raises(UserError, match="no architecture that was scored has at most 9e"):
        budgets.look_up(history[2:3], [9e6], table, space)


@pytest.mark.parametrize("limits", ["1e6", "40e6,many", "nan"])
def test_limits_that_cannot_be_kept(limits, cells):
    flags = [f"--table={cells}", "--data=noise", f"--limits={limits}", "--out=/nowhere"]
    done = forks.run("benchmarks.searched", *flags)
    assert done.returncode == 2
    assert f"--limits={limits}: each must be a number of MACs, at least" in done.stderr
