"""The family of students in the report: front, lines of the table, figure of sizes."""

import json
import re
from pathlib import Path

import pytest

from datafree_nas.report import figures, text
from datafree_nas.report.build import write_report
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, read_json, write_json, write_jsonl
from tests.report import written


def test_tradeoff_shows_the_front_up_to_the_costliest():
    points = [(5, 0.7), (3, 0.5), (9, 0.1)]
    history = [{"latency_ms": cost, "score": score} for cost, score in points]
    found = {"score": 0.7, "max_macs": 7, "latency_ms": 5, "front_cost": "latency_ms"}
    found["front"] = [history[1], history[0]]
    figure = figures.tradeoff.__wrapped__(history, found)
    (front,) = [line for line in figure.axes[0].lines if line.get_label() == "Pareto front"]
    assert front.get_drawstyle() == "steps-post"
    assert list(map(tuple, front.get_xydata())) == [(3, 0.5), (5, 0.7), (9, 0.7)]
    assert "Pareto front" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert figure.axes[0].get_xlabel() == "latency in ms"
    assert "limit" not in [line.get_label() for line in figure.axes[0].lines], "it is one on MACs"


def test_a_search_of_an_older_version_has_no_front():
    history = [{"macs": 1, "score": float("nan")}, {"macs": 5, "score": 0.7}]
    found = {"macs": 5, "score": 0.7, "max_macs": 7}
    svg = figures.tradeoff("t", history, found)
    assert "Pareto" not in svg
    assert "limit" in svg


def _sizes(workdir: Path, accuracy: float | None = 0.9) -> None:
    """Adds two students of other sizes."""
    for number, macs in ((11, 900_000), (2, 500_000)):
        row = {"name": "another size", "row": f"family_{number}", "data": "synthetic"}
        row |= {"test_accuracy": accuracy, "agreement": 0.7, "kl": 1.0, "macs": macs, "seed": 3}
        directory = make_directory(workdir / "student" / f"family_{number}")
        write_json(directory / "result.json", row | {"params": 9, "order": 1})


def test_students_of_several_sizes_are_lines_of_their_own(tmp_path):
    written.search(tmp_path)
    written.students(tmp_path)
    _sizes(tmp_path)
    rows = write_report(tmp_path, written.CONFIG)["rows"]
    assert [(text.row_name(row), row["macs"]) for row in rows] == [
        ("teacher", 7_780_000),
        ("student (the pick)", 7_780_000),
        ("another size", 500_000),
        ("another size", 900_000),
        ("student", 7_780_000),
    ]
    html = written.page(tmp_path)
    assert '<figure class="sizes">' in html
    assert "The pick is the one with the best score" in html


@pytest.mark.parametrize(
    ("accuracy", "measure"), [(0.9, "test accuracy"), (None, "agreement with the teacher")]
)
def test_sizes_are_drawn_from_the_smallest_to_the_pick(accuracy, measure):
    row = {"name": "another size", "data": "synthetic", "agreement": 0.7, "macs": 500}
    row["test_accuracy"] = accuracy
    results = {
        "teacher": row | {"name": "teacher", "macs": 90_000},
        "synthetic": row | {"name": "student", "macs": 1000},
        "family_2": row,
        "family_11": row | {"macs": 800},
        "noise": row | {"name": "student", "data": "noise", "macs": 1000},
    }
    (axes,) = figures.sizes.__wrapped__(results, "macs").axes
    lines = {line.get_label(): line for line in axes.lines}
    y = 0.7 if accuracy is None else accuracy
    assert lines["students of several sizes"].get_xydata().tolist() == [
        [500, y],
        [800, y],
        [1000, y],
    ]
    assert lines["the pick"].get_xydata().tolist() == [[1000, y]]
    assert lines["teacher"].get_xydata().tolist() == [[90_000, y]]
    assert lines["student · noise"].get_xydata().tolist() == [[1000, y]]
    assert axes.get_ylabel() == measure


@pytest.mark.parametrize(
    ("accuracy", "caption"), [(0.9, "Test accuracy against"), (None, "It is only an estimate of")]
)
def test_the_figure_of_sizes_says_what_it_shows(accuracy, caption, tmp_path):
    written.search(tmp_path)
    written.students(tmp_path, accuracy)
    _sizes(tmp_path, accuracy)
    write_report(tmp_path, written.CONFIG)
    figure = re.search(
        r'<figure class="sizes">.*?</figure>', written.page(tmp_path), flags=re.DOTALL
    )[0]
    assert caption in figure


def test_the_cost_that_the_search_weighed_is_a_column(tmp_path):
    written.search(tmp_path)
    written.students(tmp_path)
    place = tmp_path / "search"
    found = read_json(place / "architecture.json")
    front = [found | {"latency_ms": 0.5}]
    write_json(place / "architecture.json", front[0] | {"front_cost": "latency_ms", "front": front})
    rows = [json.loads(line) for line in (place / "history.jsonl").read_text().splitlines()]
    write_jsonl(place / "history.jsonl", [row | {"latency_ms": 0.75} for row in rows])
    file = tmp_path / "student" / "synthetic" / "result.json"
    write_json(file, read_json(file) | {"latency_ms": 0.5})
    rows = write_report(tmp_path, written.CONFIG)["rows"]
    assert [row["latency_ms"] for row in rows] == [None, 0.5, None]
    table = re.search(
        r'<table class="results">.*?</table>', written.page(tmp_path), flags=re.DOTALL
    )[0]
    assert "<th>latency in ms</th>" in table
    assert "<td>0.5000</td>" in table


def test_a_front_without_its_cost_is_damaged(tmp_path):
    written.search(tmp_path)
    file = tmp_path / "search" / "architecture.json"
    write_json(file, read_json(file) | {"front_cost": "latency_ms", "front": []})
    with pytest.raises(UserError, match=r"the front's cost is 'latency_ms', which the row of"):
        write_report(tmp_path, written.CONFIG)
