"""The page and the table of results, made from hand-written files."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest
from rich.console import Console

from datafree_nas.report import colours, figures, text
from datafree_nas.report.build import write_report
from datafree_nas.report.table import print_table, show_result
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import (
    make_directory,
    read_json,
    write_bytes,
    write_json,
    write_jsonl,
)

CONFIG = {
    "name": "digits",
    "seed": 3,
    "teacher": {"factory": ""},
    "search": {"max_macs": None, "space": {"cells": (1, 2), "name": "nasbench201"}},
}
GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EDGES = [
    *([0, 1, "nor_conv_3x3"], [0, 2, "none"], [1, 2, "skip_connect"]),
    *([0, 3, "nor_conv_1x1"], [1, 3, "none"], [2, 3, "nor_conv_3x3"]),
]
OPS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
VOID = {"meta", "link", "img", "br", "hr", "input"}
URLS = re.compile(r"""(?:src|href)\s*=\s*["']?([^"'>\s]*)|url\(\s*["']?([^"')]*)""")


class Page(HTMLParser):
    """The tags and ids of a page; checks that every open tag is closed."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


CHECKS = [
    {"name": "BatchNorm layers", "passed": True, "message": "19"},
    {"name": "variances", "passed": False, "message": "3 channels have none"},
]


def _teacher(workdir: Path) -> None:
    directory = make_directory(workdir / "teacher")
    card = {"arch": "cifar_resnet20", "num_classes": 10, "image_size": [32, 32, 3]}
    card |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "params": 272474, "macs": 40813184}
    card |= {"batch_norm_layers": 19, "class_names": None, "source": {"trained_on": "digits"}}
    card |= {"input_range": [-2.5, 3.5], "checks": CHECKS}
    write_json(directory / "teacher.json", card)
    write_jsonl(directory / "metrics.jsonl", _training())


def _synthetic(workdir: Path) -> None:
    directory = make_directory(workdir / "synthetic")
    for number in range(2):
        for batch in range(2):
            rows = [
                {"step": s, "phase": f"resolution 1/{1 + (s < 3)}", "loss": 9 / s, "tv_l1": batch}
                for s in range(1, 6)
            ]
            unit = (
                make_directory(directory / "units") / f"round-{number:02d}-batch-{batch:03d}.json"
            )
            write_json(unit, {"round": number, "batch": batch, "curves": rows})
    rounds = [{"round": 0, "images": 512, "agreement": 0.97}, {"round": 1, "images": 512}]
    write_json(directory / "rounds.json", rounds)
    write_bytes(directory / "grid.png", PIXEL)


def _search(workdir: Path, name: str = GENOTYPE) -> None:
    directory = make_directory(workdir / "search")
    found = {"architecture": name, "macs": 7_780_000, "params": 254_000, "score": 0.8}
    found |= {"agreement": 0.8, "kl": 0.25, "correlation": 0.9}
    worse = {**found, "macs": 9_000_000, "score": 0.1, "generation": 0}
    lost = {**worse, "score": float("nan")}
    write_jsonl(directory / "history.jsonl", [lost, worse, {**found, "generation": 1}])
    best = {"step": 9, "phase": "evolution", "best": 0.8}
    write_jsonl(directory / "metrics.jsonl", [*_training("supernet"), best])
    found |= {"space": "nasbench201", "strategy": "spos", "data": "synthetic", "evaluated": 3}
    found |= {"scored_by": "correlation"}
    nodes = ["input", "node 1", "node 2", "output"]
    found |= {"max_macs": 8_000_000, "seed": 3, "graph": {"nodes": nodes, "edges": EDGES}}
    write_json(directory / "architecture.json", found)
    names = [f"{nodes[a]} → {nodes[b]}" for a, b, _ in EDGES]
    values = [[[0.2] * 5] * 6, [[0.4, 0.3, 0.1, 0.1, 0.1]] * 6]
    recorded = {"steps": [0, 9], "ops": OPS, "positions": names, "values": values}
    write_json(directory / "probabilities.json", recorded)


def _students(workdir: Path, accuracy: float | None = 0.9519) -> None:
    cost = {"macs": 7_780_000, "params": 254_000, "seed": 3}
    rows = {
        "real": {"name": "student", "data": "real", "test_accuracy": 0.97, **cost, "order": 2},
        "synthetic": {"name": "student", "data": "synthetic", "test_accuracy": accuracy}
        | {**cost, "order": 1, "architecture": GENOTYPE},
        "teacher": {"name": "teacher", "data": "real", "test_accuracy": 0.99, **cost, "order": 0},
    }
    for folder, row in rows.items():
        directory = make_directory(workdir / "student" / folder)
        write_json(directory / "result.json", row)
        if folder != "teacher":
            write_jsonl(directory / "metrics.jsonl", _training())


def _training(phase: str = "") -> list[dict]:
    return [{"step": s, "phase": phase, "loss": 2 / s, "accuracy": s / 9} for s in range(1, 9)]


def _page(workdir: Path) -> str:
    return (workdir / "report" / "report.html").read_text()


@pytest.fixture
def run(tmp_path):
    """Returns a workdir in which every stage was run."""
    for stage in (_teacher, _synthetic, _search, _students):
        stage(tmp_path)
    return tmp_path


def test_page_is_whole_and_needs_no_network(run):
    write_report(run, CONFIG)
    html = _page(run)
    page = Page(html)
    assert page.open == []
    assert page.tags.count("svg") == 8
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert "http" not in html
    for attribute, style in URLS.findall(html):
        assert (attribute or style).startswith(("data:image/png;base64,", "#", "../"))
    assert "not run" not in html


def test_page_says_what_was_found(run):
    write_report(run, CONFIG)
    html = _page(run)
    assert "<dt>✗ variances</dt><dd>3 channels have none</dd>" in html
    assert re.search(r"from .2\.5\d* to 3\.5", html)
    assert "A student trained on synthetic images alone reaches 95.2 % (teacher 99.0 %)." in html
    assert "95.19 %" in html
    assert "7.78 M" in html
    assert GENOTYPE in html
    assert "(none): input → node 2, node 1 → output." in html
    assert "search.max_macs = None\nsearch.space.cells = (1, 2)\n" in html
    assert base64.b64encode(PIXEL).decode() in html
    assert html.count("synthetic: student · synthetic") == 1
    assert html.count("real: student · real") == 1


def test_page_says_which_folder_is_which_class(run):
    write_report(run, CONFIG)
    assert "No natural images were read." in (run / "report" / "report.html").read_text()
    images = {
        "source": "folder:mine",
        "splits": {"train": {"name": "train", "images": 60}, "test": {"name": "val", "images": 9}},
        "classes": {"<cat>": 0, "dog": 1},
        "classes_by": "alphabetical order",
        "skipped": {"hidden names": 3},
        "notes": [],
        "warnings": ["folder:mine has no test image of 1 classes: 1"],
    }
    write_json(run / "data.json", images)
    write_report(run, CONFIG)
    html = " ".join((run / "report" / "report.html").read_text().split())
    assert "<dt>test</dt> <dd>9 images (val)</dd>" in html
    assert "&lt;cat&gt; → 0, dog → 1 (by alphabetical order)" in html
    assert "<dt>skipped</dt><dd>3 hidden names</dd>" in html
    assert "has no test image of 1 classes" in html


def test_second_build_is_the_same_whatever_matplotlib_is_set_to(run):
    write_report(run, CONFIG)
    before = [file.read_bytes() for file in sorted((run / "report").iterdir())]
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "svg.fonttype": "path"}):
        write_report(run, CONFIG)
    assert [file.read_bytes() for file in sorted((run / "report").iterdir())] == before
    assert len(before) == 2


def test_summary_is_exact(run):
    same = {"macs": 7_780_000, "params": 254_000, "seed": 3, "networks": 1}
    same |= dict.fromkeys(("row", "labels", "agreement", "kl"))
    same["spread"] = dict.fromkeys(("test_accuracy", "agreement", "kl"))
    expected = {
        "config": "digits",
        "seed": 3,
        "headline": "A student trained on synthetic images alone reaches 95.2 % (teacher 99.0 %).",
        "note": "",
        "rows": [
            {"name": "teacher", "data": "real", "test_accuracy": 0.99, **same},
            {"name": "student", "data": "synthetic", "test_accuracy": 0.9519, **same},
            {"name": "student", "data": "real", "test_accuracy": 0.97, **same},
        ],
        "architecture": GENOTYPE,
    }
    assert write_report(run, CONFIG) == expected
    assert json.loads((run / "report" / "summary.json").read_text()) == expected


def test_networks_of_a_row_are_shown_by_mean_and_deviation(run):
    row = {"name": "random architecture", "row": "random", "data": "synthetic", "labels": "teacher"}
    row |= {"macs": 100, "params": 10, "seed": 3, "order": 3, "kl": 0.5, "held_out": 64}
    for number, accuracy in enumerate((0.8, 0.9, 1.0), start=1):
        directory = make_directory(run / "student" / f"random_{number}")
        one = {**row, "test_accuracy": accuracy, "agreement": 0.9, "macs": 100 * number}
        write_json(directory / "result.json", one)
    (found,) = [row for row in write_report(run, CONFIG)["rows"] if row["row"] == "random"]
    assert (found["networks"], found["macs"], found["kl"]) == (3, 200, 0.5)
    assert found["test_accuracy"] == pytest.approx(0.9)
    assert found["spread"] == pytest.approx({"test_accuracy": 0.1, "agreement": 0, "kl": 0})
    html = _page(run)
    assert "random architecture, mean of 3" in html
    assert "90.00 ± 10.00 %" in html


def test_networks_that_compute_no_numbers_are_shown(run, capsys):
    row = {"name": "random architecture", "row": "random", "data": "synthetic", "labels": "teacher"}
    row |= {"macs": 100, "params": 10, "seed": 3, "order": 3, "test_accuracy": 0.1}
    for number, kl in enumerate((float("nan"), float("inf")), start=1):
        directory = make_directory(run / "student" / f"random_{number}")
        write_json(directory / "result.json", row | {"agreement": 0.1, "kl": kl, "held_out": 64})
    write_report(run, CONFIG)
    show_result(run, str(run))
    assert "10.00 ± 0.00 %" in capsys.readouterr().out


@pytest.mark.parametrize("missing", [{"held_out": 0}, {}])
def test_an_agreement_on_no_images_is_no_headline(run, missing):
    file = run / "student" / "synthetic" / "result.json"
    result = json.loads(file.read_text()) | {"test_accuracy": None, "agreement": 0.9}
    write_json(file, result | missing)
    assert "no student was tested yet" in write_report(run, CONFIG)["headline"]


def test_without_test_images_the_headline_says_how_far_the_student_agrees(run):
    file = run / "student" / "synthetic" / "result.json"
    result = json.loads(file.read_text())
    write_json(file, result | {"test_accuracy": None, "agreement": 0.93, "held_out": 512})
    write_report(run, CONFIG)
    assert (
        "A student trained on synthetic images alone agrees with the teacher on 93.0 % of 512 "
        "other synthetic images (95 % interval: 90.4 % to 94.9 %)." in _page(run)
    )
    assert "This is not its accuracy on real images, which is unknown" in _page(run)


def test_nothing_was_run(tmp_path):
    summary = write_report(tmp_path, CONFIG)
    nothing = {"headline": "Nothing was run yet.", "note": "", "rows": [], "architecture": None}
    assert summary == {"config": "digits", "seed": 3, **nothing}
    html = _page(tmp_path)
    assert Page(html).open == []
    assert "Nothing was run yet." in html
    assert html.count('<p class="absent">') == 8
    for absent in ("teacher stage", "Synthesis", "search", "training of students"):
        assert f"{absent} was not run" in html
    assert "No network was trained yet." in html


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([_teacher], "The teacher, cifar_resnet20, is there; nothing was synthesized yet."),
        ([_teacher, _synthetic], "1024 images were synthesized; nothing was searched yet."),
        ([_search], "The search found an architecture of 7.78 M MACs; no student was tested yet."),
        ([_search, lambda workdir: _students(workdir, None)], "no student was tested yet."),
    ],
)
def test_headline_of_a_part_of_a_run(tmp_path, stages, sentence):
    for stage in stages:
        stage(tmp_path)
    write_report(tmp_path, CONFIG)
    assert sentence in _page(tmp_path)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("teacher/metrics.jsonl", "The training of the teacher was not run here."),
        ("synthetic/grid.png", "The drawing of samples was not run."),
        ("synthetic/rounds.json", "The measuring of rounds was not run."),
        ("search/metrics.jsonl", "The training of a supernet was not run."),
        ("search/history.jsonl", "The evaluation of architectures was not run."),
        ("search/architecture.json", "No architecture: the search was not run to its end."),
    ],
)
def test_a_missing_file_is_said(run, file, sentence):
    (run / file).unlink()
    write_report(run, CONFIG)
    assert sentence in _page(run)


def test_a_search_without_probabilities_shows_none(run):
    (run / "search" / "probabilities.json").unlink()
    write_report(run, CONFIG)
    html = _page(run)
    assert "robabilit" not in html
    assert "not run" not in html


def test_an_op_has_one_colour_in_all_drawings(run):
    write_report(run, CONFIG)
    html = _page(run)
    colour = colours.of_ops(OPS)["nor_conv_1x1"]  # not that of the first op of the graph alone
    assert colour != colours.of_ops([op for _, _, op in EDGES])["nor_conv_1x1"]
    network = re.search(r'<figure class="network">.*?</figure>', html, flags=re.DOTALL)[0]
    assert re.search(rf"<text[^>]*{colour}[^>]*>\s*nor_conv_1x1", network)
    figure = re.search(r'<figure class="probabilities">.*?</figure>', html, flags=re.DOTALL)[0]
    assert f"stroke: {colour}" in figure


def test_a_broken_file_is_named(run):
    (run / "synthetic" / "rounds.json").write_text("[")
    with pytest.raises(UserError, match=r"rounds\.json is not valid JSON"):
        write_report(run, CONFIG)


def test_hostile_names_are_escaped(run):
    hostile = "<script>alert('$x_$')</script>"
    _search(run, hostile)
    graph_file = run / "search" / "architecture.json"
    found = json.loads(graph_file.read_text())
    found["graph"] = {"nodes": [hostile, "b"], "edges": [[0, 1, hostile]]}
    write_json(graph_file, found)
    result = {"name": hostile, "data": hostile, "test_accuracy": None, "macs": 1, "params": 1}
    for folder in ("synthetic", "real"):
        write_json(run / "student" / folder / "result.json", {**result, "seed": 3, "order": 1})
    write_report(run, {**CONFIG, "name": hostile, hostile: hostile})
    html = _page(run)
    assert "<script" not in html
    assert Page(html).open == []
    assert "&lt;script&gt;" in html


def test_curves_are_averaged_over_batches():
    first = [{"step": 1, "phase": "a", "loss": 1.0}, {"step": 2, "phase": "b", "loss": 3.0}]
    second = [{"step": 1, "phase": "a", "loss": 2.0, "l2": 5.0}]
    assert figures.mean_over_batches([first, second]) == [
        {"step": 1, "phase": "a", "loss": 1.5, "l2": 5.0},
        {"step": 2, "phase": "b", "loss": 3.0},
    ]


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


def _smaller(workdir: Path, accuracy: float | None = 0.9) -> None:
    """Adds two another sizes to hand-written files."""
    for number, macs in ((11, 900_000), (2, 500_000)):
        row = {"name": "another size", "row": f"family_{number}", "data": "synthetic"}
        row |= {"test_accuracy": accuracy, "agreement": 0.7, "kl": 1.0, "macs": macs, "seed": 3}
        directory = make_directory(workdir / "student" / f"family_{number}")
        write_json(directory / "result.json", row | {"params": 9, "order": 1})


def test_students_of_several_sizes_are_lines_of_their_own(tmp_path):
    _search(tmp_path)
    _students(tmp_path)
    _smaller(tmp_path)
    rows = write_report(tmp_path, CONFIG)["rows"]
    assert [(text.row_name(row), row["macs"]) for row in rows] == [
        ("teacher", 7_780_000),
        ("student (the pick)", 7_780_000),
        ("another size", 500_000),
        ("another size", 900_000),
        ("student", 7_780_000),
    ]
    html = _page(tmp_path)
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
    _search(tmp_path)
    _students(tmp_path, accuracy)
    _smaller(tmp_path, accuracy)
    write_report(tmp_path, CONFIG)
    figure = re.search(r'<figure class="sizes">.*?</figure>', _page(tmp_path), flags=re.DOTALL)[0]
    assert caption in figure


def test_the_cost_that_the_search_weighed_is_a_column(tmp_path):
    _search(tmp_path)
    _students(tmp_path)
    place = tmp_path / "search"
    found = read_json(place / "architecture.json")
    front = [found | {"latency_ms": 0.5}]
    write_json(place / "architecture.json", front[0] | {"front_cost": "latency_ms", "front": front})
    rows = [json.loads(line) for line in (place / "history.jsonl").read_text().splitlines()]
    write_jsonl(place / "history.jsonl", [row | {"latency_ms": 0.75} for row in rows])
    file = tmp_path / "student" / "synthetic" / "result.json"
    write_json(file, read_json(file) | {"latency_ms": 0.5})
    rows = write_report(tmp_path, CONFIG)["rows"]
    assert [row["latency_ms"] for row in rows] == [None, 0.5, None]
    table = re.search(r'<table class="results">.*?</table>', _page(tmp_path), flags=re.DOTALL)[0]
    assert "<th>latency in ms</th>" in table
    assert "<td>0.5000</td>" in table


def test_a_front_without_its_cost_is_damaged(tmp_path):
    _search(tmp_path)
    file = tmp_path / "search" / "architecture.json"
    write_json(file, read_json(file) | {"front_cost": "latency_ms", "front": []})
    with pytest.raises(UserError, match=r"the front's cost is 'latency_ms', which the row of"):
        write_report(tmp_path, CONFIG)


def test_table_prints_every_row():
    out = io.StringIO()
    alone = {"networks": 1, "spread": {"test_accuracy": None, "agreement": None}}
    row = {"name": "student [red]", "data": "real", "labels": "hard", "test_accuracy": 0.9519}
    teacher = {"name": "teacher", "data": "real", "labels": None, "test_accuracy": None}
    costs = {"macs": 7_780_000, "params": 254_000}, {"macs": 999_999, "params": 12}
    rows = [row | costs[0] | {"agreement": 0.5}, teacher | costs[1] | {"agreement": None}]
    print_table([row | alone for row in rows], Console(file=out, width=100))
    cells = ("student [red]", "real, own labels", "95.19 %", "50.00 %", "7.78 M", "254 k", "1.00 M")
    for cell in (*cells, "12", "—"):
        assert cell in out.getvalue()


def test_nothing_of_the_table_is_cut_at_80_columns():
    out = io.StringIO()
    row = {"name": "random architecture", "data": "synthetic", "labels": "teacher", "networks": 3}
    row |= {"test_accuracy": 0.9673, "agreement": 0.9811, "macs": 34_200, "params": 5_210}
    row["spread"] = {"test_accuracy": 0.005, "agreement": 0.003}
    print_table([row, row | {"data": "real", "labels": "hard"}], Console(file=out, width=80))
    costs = ("MACs", "params", "34.2 k", "5.21 k")
    for word in ("random", "architecture,", "96.73 ± 0.50 %", "98.11 ± 0.30 %", *costs):
        assert word in out.getvalue()
    assert "…" not in out.getvalue()


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        *[(0, "0"), (999, "999"), (1000, "1.00 k"), (75_002, "75.0 k"), (999_499, "999 k")],
        *[(999_500, "1.00 M"), (7_780_000, "7.78 M"), (1_560_000_000, "1.56 G"), (None, "—")],
    ],
)
def test_quantities_have_three_digits(count, shown):
    assert text.quantity(count) == shown


def test_numbers_have_four_digits():
    assert [text.number(v) for v in (0.97, 1234.5, 7, None)] == ["0.9700", "1234", "7", "—"]


def test_a_search_that_scores_one_architecture_draws_no_points(tmp_path):
    _search(tmp_path)
    place = tmp_path / "search"
    found = read_json(place / "architecture.json") | {"evaluated": 1, "scored_by": "agreement"}
    write_json(place / "architecture.json", found)
    write_jsonl(place / "history.jsonl", [{"architecture": GENOTYPE, "macs": 1, "score": 0.8}])
    write_report(tmp_path, CONFIG)
    html = (tmp_path / "report" / "report.html").read_text()
    assert "it alone was scored:\n0.8000, by agreement with the teacher" in html
    assert '<figure class="scores">' not in html
    assert "not run" not in html.partition("<h2>Search</h2>")[2].partition("</section>")[0]
