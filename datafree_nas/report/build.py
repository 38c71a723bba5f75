"""The report of a run: an HTML page for people, a JSON summary for programs."""

import base64
from pathlib import Path
from typing import Any

import jinja2

from datafree_nas.report import colours, figures, files, graph, text
from datafree_nas.report.artifacts import Artifacts, read
from datafree_nas.report.probabilities import probabilities
from datafree_nas.report.summary import front_cost, is_of_family, summarize
from datafree_nas.runtime.files import make_directory, write_bytes, write_json
from datafree_nas.runtime.workdir import Workdir


def write_report(workdir: Path, config: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Writes `report/report.html` and `report/summary.json` from the files of the stages.

    Args:
        workdir: folder of the run; the page says which stages were not run.
        config: settings of the run, nested; `name` and `seed` are the page's heading.
        place: name of the folder in the page's commands. Default: its path.

    Returns:
        The summary, from `summary.summarize`; equal for equal results.

    Raises:
        UserError: a file of a stage is damaged, see `artifacts.read`.
    """
    artifacts = read(workdir)
    summary = summarize(artifacts, config)
    page = (
        _environment()
        .get_template("template.html")
        .render(
            summary=summary,
            found=artifacts.architecture,
            teacher=artifacts.teacher,
            images=artifacts.images,
            rounds=artifacts.rounds,
            round_columns=list(dict.fromkeys(key for row in artifacts.rounds for key in row)),
            grid=base64.b64encode(artifacts.grid).decode() if artifacts.grid else None,
            svg=_draw(artifacts),
            cost=front_cost(artifacts),
            cost_names=figures.COST_NAMES,
            owners=files.owners(workdir, place or str(workdir), artifacts.results, config),
            settings=list(text.flatten(config)),
        )
    )
    paths = Workdir(workdir)
    make_directory(paths.report)
    write_bytes(paths.page, page.encode())
    write_json(paths.summary, summary)
    return summary


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("datafree_nas.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        text.quantity,
        text.size,
        text.percent,
        text.percent_of,
        text.row_name,
        text.row_data,
        text.number,
        graph.left_out,
    ):
        environment.filters[function.__name__] = function
    return environment


def _draw(artifacts: Artifacts) -> dict[str, str]:
    """Draws each figure whose data exist; returns SVG by the figure's name."""
    lines = {
        "teacher": [("teacher", artifacts.teacher_metrics)],
        "synthesis": [
            (f"round {number}", figures.mean_over_batches(batches))
            for number, batches in artifacts.curves.items()
        ],
        "supernet": [("supernet", [row for row in artifacts.search_metrics if "loss" in row])],
        "students": [
            (f"{folder}: {result['name']} · {result['data']}", artifacts.training[folder])
            for folder, result in artifacts.results.items()
        ],
    }
    present = {name: [(label, rows) for label, rows in of if rows] for name, of in lines.items()}
    svg = {name: figures.panels(name, of) for name, of in present.items() if of}
    several = len(artifacts.history) > 1
    if several:
        svg["scores"] = figures.scores("scores", artifacts.history)
    colour = _colours(artifacts)
    if artifacts.probabilities:
        svg["probabilities"] = probabilities("probabilities", artifacts.probabilities, colour)
    if found := artifacts.architecture:
        svg["network"] = graph.network("network", **found["graph"], colours=colour)
        if several:
            svg["tradeoff"] = figures.tradeoff("tradeoff", artifacts.history, found)
        cost = front_cost(artifacts)
        if any(map(is_of_family, artifacts.results)) and cost in artifacts.results["synthetic"]:
            svg["sizes"] = figures.sizes("sizes", artifacts.results, cost)
    return svg


def _colours(artifacts: Artifacts) -> dict[str, str]:
    """Returns one colour for each op, the same in all drawings."""
    found, recorded = artifacts.architecture, artifacts.probabilities
    in_graph = [op for _, _, op in found["graph"]["edges"]] if found else []
    return colours.of_ops([*in_graph, *(recorded["ops"] if recorded else [])])
