"""The page and the table of results, made from hand-written files."""

import base64
import io
import json
import re

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
    write_json,
    write_jsonl,
)
from tests.report import written

URLS = re.compile(r"""(?:src|href)\s*=\s*["']?([^"'>\s]*)|url\(\s*["']?([^"')]*)""")


@pytest.fixture
def run(tmp_path):
    """Returns a workdir in which every stage was run."""
    for stage in (written.teacher, written.synthetic, written.search, written.students):
        stage(tmp_path)
    return tmp_path


def test_page_is_whole_and_needs_no_network(run):
    write_report(run, written.CONFIG)
    html = written.page(run)
    page = written.Page(html)
    assert page.open == []
    assert page.tags.count("svg") == 8
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert "http" not in html
    for attribute, style in URLS.findall(html):
        assert (attribute or style).startswith(("data:image/png;base64,", "#", "../"))
    assert "not run" not in html


def test_page_says_what_was_found(run):
    write_report(run, written.CONFIG)
    html = written.page(run)
    assert "<dt>✗ variances</dt><dd>3 channels have none</dd>" in html
    assert re.search(r"from .2\.5\d* to 3\.5", html)
    assert "A student trained on synthetic images alone reaches 95.2 % (teacher 99.0 %)." in html
    assert "95.19 %" in html
    assert "7.78 M" in html
    assert written.GENOTYPE in html
    assert "(none): input → node 2, node 1 → output." in html
    assert "search.max_macs = None\nsearch.space.cells = (1, 2)\n" in html
    assert base64.b64encode(written.PIXEL).decode() in html
    assert html.count("synthetic: student · synthetic") == 1
    assert html.count("real: student · real") == 1


def test_page_says_which_folder_is_which_class(run):
    write_report(run, written.CONFIG)
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
    write_report(run, written.CONFIG)
    html = " ".join((run / "report" / "report.html").read_text().split())
    assert "<dt>test</dt> <dd>9 images (val)</dd>" in html
    assert "&lt;cat&gt; → 0, dog → 1 (by alphabetical order)" in html
    assert "<dt>skipped</dt><dd>3 hidden names</dd>" in html
    assert "has no test image of 1 classes" in html


def test_second_build_is_the_same_whatever_matplotlib_is_set_to(run):
    write_report(run, written.CONFIG)
    before = [file.read_bytes() for file in sorted((run / "report").iterdir())]
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "svg.fonttype": "path"}):
        write_report(run, written.CONFIG)
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
        "architecture": written.GENOTYPE,
    }
    assert write_report(run, written.CONFIG) == expected
    assert json.loads((run / "report" / "summary.json").read_text()) == expected


def test_networks_of_a_row_are_shown_by_mean_and_deviation(run):
    row = {"name": "random architecture", "row": "random", "data": "synthetic", "labels": "teacher"}
    row |= {"macs": 100, "params": 10, "seed": 3, "order": 3, "kl": 0.5, "held_out": 64}
    for number, accuracy in enumerate((0.8, 0.9, 1.0), start=1):
        directory = make_directory(run / "student" / f"random_{number}")
        one = {**row, "test_accuracy": accuracy, "agreement": 0.9, "macs": 100 * number}
        write_json(directory / "result.json", one)
    (found,) = [row for row in write_report(run, written.CONFIG)["rows"] if row["row"] == "random"]
    assert (found["networks"], found["macs"], found["kl"]) == (3, 200, 0.5)
    assert found["test_accuracy"] == pytest.approx(0.9)
    assert found["spread"] == pytest.approx({"test_accuracy": 0.1, "agreement": 0, "kl": 0})
    html = written.page(run)
    assert "random architecture, mean of 3" in html
    assert "90.00 ± 10.00 %" in html


def test_networks_that_compute_no_numbers_are_shown(run, capsys):
    row = {"name": "random architecture", "row": "random", "data": "synthetic", "labels": "teacher"}
    row |= {"macs": 100, "params": 10, "seed": 3, "order": 3, "test_accuracy": 0.1}
    for number, kl in enumerate((float("nan"), float("inf")), start=1):
        directory = make_directory(run / "student" / f"random_{number}")
        write_json(directory / "result.json", row | {"agreement": 0.1, "kl": kl, "held_out": 64})
    write_report(run, written.CONFIG)
    show_result(run, str(run))
    assert "10.00 ± 0.00 %" in capsys.readouterr().out


@pytest.mark.parametrize("missing", [{"held_out": 0}, {}])
def test_an_agreement_on_no_images_is_no_headline(run, missing):
    file = run / "student" / "synthetic" / "result.json"
    result = json.loads(file.read_text()) | {"test_accuracy": None, "agreement": 0.9}
    write_json(file, result | missing)
    assert "no student was tested yet" in write_report(run, written.CONFIG)["headline"]


def test_without_test_images_the_headline_says_how_far_the_student_agrees(run):
    file = run / "student" / "synthetic" / "result.json"
    result = json.loads(file.read_text())
    write_json(file, result | {"test_accuracy": None, "agreement": 0.93, "held_out": 512})
    write_report(run, written.CONFIG)
    assert (
        "A student trained on synthetic images alone agrees with the teacher on 93.0 % of 512 "
        "other synthetic images (95 % interval: 90.4 % to 94.9 %)." in written.page(run)
    )
    assert "This is not its accuracy on real images, which is unknown" in written.page(run)


def test_nothing_was_run(tmp_path):
    summary = write_report(tmp_path, written.CONFIG)
    nothing = {"headline": "Nothing was run yet.", "note": "", "rows": [], "architecture": None}
    assert summary == {"config": "digits", "seed": 3, **nothing}
    html = written.page(tmp_path)
    assert written.Page(html).open == []
    assert "Nothing was run yet." in html
    assert html.count('<p class="absent">') == 8
    for absent in ("teacher stage", "Synthesis", "search", "training of students"):
        assert f"{absent} was not run" in html
    assert "No network was trained yet." in html


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([written.teacher], "The teacher, cifar_resnet20, is there; nothing was synthesized yet."),
        (
            [written.teacher, written.synthetic],
            "1024 images were synthesized; nothing was searched yet.",
        ),
        (
            [written.search],
            "The search found an architecture of 7.78 M MACs; no student was tested yet.",
        ),
        (
            [written.search, lambda workdir: written.students(workdir, None)],
            "no student was tested yet.",
        ),
    ],
)
def test_headline_of_a_part_of_a_run(tmp_path, stages, sentence):
    for stage in stages:
        stage(tmp_path)
    write_report(tmp_path, written.CONFIG)
    assert sentence in written.page(tmp_path)


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
    write_report(run, written.CONFIG)
    assert sentence in written.page(run)


def test_a_search_without_probabilities_shows_none(run):
    (run / "search" / "probabilities.json").unlink()
    write_report(run, written.CONFIG)
    html = written.page(run)
    assert "robabilit" not in html
    assert "not run" not in html


def test_an_op_has_one_colour_in_all_drawings(run):
    write_report(run, written.CONFIG)
    html = written.page(run)
    colour = colours.of_ops(written.OPS)["nor_conv_1x1"]
    alone = colours.of_ops([op for _, _, op in written.EDGES])["nor_conv_1x1"]
    assert colour != alone, "it is not that of the ops of this graph alone"
    network = re.search(r'<figure class="network">.*?</figure>', html, flags=re.DOTALL)[0]
    assert re.search(rf"<text[^>]*{colour}[^>]*>\s*nor_conv_1x1", network)
    figure = re.search(r'<figure class="probabilities">.*?</figure>', html, flags=re.DOTALL)[0]
    assert f"stroke: {colour}" in figure


def test_a_broken_file_is_named(run):
    (run / "synthetic" / "rounds.json").write_text("[")
    with pytest.raises(UserError, match=r"rounds\.json is not valid JSON"):
        write_report(run, written.CONFIG)


def test_hostile_names_are_escaped(run):
    hostile = "<script>alert('$x_$')</script>"
    written.search(run, hostile)
    graph_file = run / "search" / "architecture.json"
    found = json.loads(graph_file.read_text())
    found["graph"] = {"nodes": [hostile, "b"], "edges": [[0, 1, hostile]]}
    write_json(graph_file, found)
    result = {"name": hostile, "data": hostile, "test_accuracy": None, "macs": 1, "params": 1}
    for folder in ("synthetic", "real"):
        write_json(run / "student" / folder / "result.json", {**result, "seed": 3, "order": 1})
    write_report(run, {**written.CONFIG, "name": hostile, hostile: hostile})
    html = written.page(run)
    assert "<script" not in html
    assert written.Page(html).open == []
    assert "&lt;script&gt;" in html


def test_curves_are_averaged_over_batches():
    first = [{"step": 1, "phase": "a", "loss": 1.0}, {"step": 2, "phase": "b", "loss": 3.0}]
    second = [{"step": 1, "phase": "a", "loss": 2.0, "l2": 5.0}]
    assert figures.mean_over_batches([first, second]) == [
        {"step": 1, "phase": "a", "loss": 1.5, "l2": 5.0},
        {"step": 2, "phase": "b", "loss": 3.0},
    ]


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
    written.search(tmp_path)
    place = tmp_path / "search"
    found = read_json(place / "architecture.json") | {"evaluated": 1, "scored_by": "agreement"}
    write_json(place / "architecture.json", found)
    write_jsonl(
        place / "history.jsonl", [{"architecture": written.GENOTYPE, "macs": 1, "score": 0.8}]
    )
    write_report(tmp_path, written.CONFIG)
    html = (tmp_path / "report" / "report.html").read_text()
    assert "it alone was scored:\n0.8000, by agreement with the teacher" in html
    assert '<figure class="scores">' not in html
    assert "not run" not in html.partition("<h2>Search</h2>")[2].partition("</section>")[0]
