r"""Finds which estimate of a student's accuracy without real images is nearest to the truth.

    python -m benchmarks.estimate_errors FILE FILE [--plot=FILE.svg]

Each FILE is of benchmarks.accuracy_estimates, with the students of one teacher. A candidate is one
of these, as a share of the images:

- `PROBE` or `PROBE+PROBE`: the agreement with the teacher on the images of probes, averaged
- `atc:PROBE`: average thresholded confidence (Garg et al. 2022); the threshold is set on the
  held-out images with the teacher's labels
- `doc:PROBE`: agreement on the held-out images, less the difference of confidences between them and
  the probe (Guillory et al. 2021)

`identity` takes this share, times the teacher's accuracy, as the estimate. `fitted` changes its log
odds by a line with two coefficients, which are fitted on the students of all other files. Columns:
the mean absolute error of both in points, for the students of each file, and Kendall's tau with the
true accuracy; at the end the 90 % quantile of the error of `fitted` over all students.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from absl import app, flags
from jaxtyping import Float
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.json_flag import JSON
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.runtime.flags import parse

_PLOT = flags.DEFINE_string("plot", "", "picture to write; none: only the table")
_CANDIDATE = flags.DEFINE_string("candidate", "held_out", "candidate of the picture")
_MOST = 2  # probes in a candidate
_MARKERS = {"synthetic": ".", "noise": "x", "real": "^"}  # by the images of the training

Probes = dict[str, dict[str, float]]  # measures of a student by the name of the probe


def estimate(rows: list[dict[str, Any]], candidate: str) -> Float[np.ndarray, "n"]:
    """Estimates the accuracy of each student as a share of the teacher's, by a candidate."""
    method, _, probes = candidate.rpartition(":")
    return np.array([_ESTIMATES[method](row["probes"], probes.split("+")) for row in rows])


def _agreement(probes: Probes, names: list[str]) -> float:
    return float(np.mean([probes[name]["agreement"] for name in names]))


def _thresholded_confidence(probes: Probes, names: list[str]) -> float:
    (name,) = names
    return probes[name]["above_threshold"]


def _difference_of_confidences(probes: Probes, names: list[str]) -> float:
    (name,) = names
    known = probes["held_out"]
    return known["agreement"] - (known["confidence"] - probes[name]["confidence"])


_ESTIMATES = {
    "": _agreement,
    "atc": _thresholded_confidence,
    "doc": _difference_of_confidences,
}


def relative(rows: list[dict[str, Any]]) -> Float[np.ndarray, "n"]:
    """Returns the true accuracy of each student as a share of the teacher's."""
    return np.array([row["accuracy"] / row["teacher_accuracy"] for row in rows])


def line(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """Fits `odds(y) = a + b odds(x)` by least squares; returns a and b."""
    found = scipy.stats.linregress(odds(x), odds(y))
    return float(found.intercept), float(found.slope)


def odds(share: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Returns log odds of shares, of which none counts as nearer to 0 or 1 than .005."""
    return scipy.special.logit(np.clip(share, 0.005, 0.995))


def _candidates(files: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Lists the candidates that every student of all files has the probes of."""
    probes = sorted(set.intersection(*(set(row["probes"]) for f in files.values() for row in f)))
    candidates = [
        "+".join(chosen)
        for count in range(1, _MOST + 1)
        for chosen in itertools.combinations(probes, count)
    ]
    return candidates + [f"{m}:{p}" for m in ("atc", "doc") for p in probes if p != "held_out"]


def _errors(files: dict[str, list[dict[str, Any]]], candidate: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": candidate}
    every = []
    for name, students in files.items():
        x, y = estimate(students, candidate), relative(students)
        others = [row for other, rows in files.items() if other != name for row in rows]
        row[f"{name} identity"] = 100 * np.abs(x - y).mean()
        if others:
            a, b = line(estimate(others, candidate), relative(others))
            errors = 100 * np.abs(scipy.special.expit(a + b * odds(x)) - y)
            row[f"{name} fitted"] = errors.mean()
            every.append(errors)
        row[f"{name} tau"] = scipy.stats.kendalltau(x, y).statistic
    if every:
        row["fitted 90 %"] = np.quantile(np.concatenate(every), 0.9)
    return row


def _draw(files: dict[str, list[dict[str, Any]]], path: Path) -> None:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for colour, (name, students) in enumerate(files.items()):
        for data, marker in _MARKERS.items():
            rows = [row for row in students if row["data"] == data]
            points = estimate(rows, _CANDIDATE.value), relative(rows)
            axes.plot(*points, marker, color=f"C{colour}", label=f"{name}, {data}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
    axes.set(xlabel=f"estimate: {_CANDIDATE.value}")
    axes.set(ylabel="true accuracy / teacher's accuracy")
    axes.legend()
    figure.savefig(path)


def _read(names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Reads the students of each file, by the file's name without its ending."""
    if not names:
        raise UserError("name at least one file of benchmarks.accuracy_estimates")
    files: dict[str, list[dict[str, Any]]] = {}
    for path in map(Path, names):
        if path.stem in files:
            raise UserError(f"two files are called {path.stem}; copy one to another name")
        files[path.stem] = read_jsonl(path)
        if not files[path.stem]:
            raise UserError(f"{path} has no student; name a file of benchmarks.accuracy_estimates")
    return files


def main(argv: list[str]) -> None:
    """Compares the candidates on the files."""

    def run() -> None:
        path, plot = results.destination(JSON.value), results.destination(_PLOT.value, "plot")
        files = _read(argv[1:])
        candidates = _candidates(files)
        if _CANDIDATE.value not in candidates:
            hint = did_you_mean(_CANDIDATE.value, candidates)
            raise UserError(f"--candidate: no {_CANDIDATE.value!r}{hint}")
        results.report([_errors(files, candidate) for candidate in candidates], {}, path)
        if plot:
            _draw(files, plot)

    exit_cleanly(run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
