"""The strategy that takes an architecture as it is, and the file that every search leaves."""

import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import plan, spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.report import build
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json, read_jsonl, write_json
from datafree_nas.search import architecture_file
from datafree_nas.search import run as search
from datafree_nas.search import stage as search_stage
from datafree_nas.search.strategies import given
from datafree_nas.spaces import latency
from datafree_nas.students import stage as train_stage
from datafree_nas.training import programs
from tests import tiny

SPACE = spaces.create_space(
    "nasbench201", num_classes=10, image_size=(8, 8, 1), channels=4, cells=1
)
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
MACS, PARAMS, MEMORY = (
    cost(SPACE.decode(CELL)) for cost in (SPACE.macs, SPACE.params, SPACE.peak_memory)
)
NOTHING = "000000"


def _config(text=CELL, **limits):
    config = tiny.get_config().search
    config.update(strategy="given", architecture=text)
    config.evolution.update({"max_macs": 0} | limits)
    return config


def _search(directory, config):
    """The search stage on images of which nothing is asked."""
    images = ImageSet(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int32))

    def logits_fn(variables, x):
        raise AssertionError("nothing is to be scored")

    labeller = Labeller(logits_fn, jnp.zeros(()), Preprocessing((0.3,), (0.4,)))
    return search.search(directory, SPACE, labeller, images, config, 0)


def test_what_it_leaves(tmp_path):
    write_json(
        tmp_path / "table.json",
        latency.header(SPACE) | {"fixed": 1.0, "table": np.ones(SPACE.has.shape).tolist()},
    )
    config = _config("[3, 0, 1, 2, 0, 3]", max_macs=MACS, max_params=PARAMS, max_latency=7.0)
    config.latency_table = str(tmp_path / "table.json")
    result = _search(tmp_path, config)
    assert read_json(tmp_path / "architecture.json") == result
    (row,) = read_jsonl(tmp_path / "history.jsonl")
    unknown = dict.fromkeys(("agreement", "kl", "correlation", "score"))
    costs = {"macs": MACS, "params": PARAMS, "memory": MEMORY, "latency_ms": 7.0}
    assert row == {"architecture": CELL, **costs, **unknown}
    assert result.items() >= row.items()
    assert (result["strategy"], result["evaluated"], result["scored_by"]) == ("given", 0, None)
    found = architecture_file.of_run(tmp_path, SPACE)
    np.testing.assert_array_equal(found, [3, 0, 1, 2, 0, 3])


def test_the_report_draws_it(tmp_path):
    directory = tmp_path / "search"
    directory.mkdir()
    _search(directory, _config())
    build.write_report(tmp_path, {"name": "tiny", "seed": 0})
    page = (tmp_path / "report" / "report.html").read_text()
    assert "The config gives an architecture of" in page
    assert f"{MEMORY} activations at once" in page
    assert "nothing was searched or scored" in page
    assert CELL in page
    assert '<figure class="network">' in page
    assert "against the teacher" not in page


def test_another_runs_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _search(tmp_path, _config())
    for text in (str(tmp_path / "architecture.json"), " ~/architecture.json", "~/best.json"):
        if text == "~/best.json":
            (tmp_path / "architecture.json").rename(tmp_path / "best.json")
        np.testing.assert_array_equal(given.architecture(SPACE, _config(text)), SPACE.decode(CELL))


@pytest.mark.parametrize(
    "text", [CELL, "432103", "[4, 3]", "Genotype(", "1/2 a = Genotype(", "\0/"]
)
def test_a_spelling_is_no_file(text):
    assert given.file(_config(text)) is None


@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        ("", {}, "'given' needs config.search.architecture, e.g. '|none~0"),
        (" ", {}, "' ' is no architecture of nasbench201: the text is empty"),
        ("43210", {}, "'43210' is no architecture of nasbench201: 6 ops are needed, not 5"),
        (NOTHING, {}, "nothing of an image passes through |none~0|+"),
        ("none.json", {}, "none.json does not exist"),
        ("none/of/these", {}, "none/of/these does not exist"),
        ("~no-such-user/none.json", {}, "~no-such-user/none.json does not exist"),
        ("tests/search", {}, "cannot read tests/search: Is a directory"),
        ("/" * 5000, {}, "is no architecture of nasbench201"),
        (CELL, {"max_macs": MACS - 1}, f"evolution.max_macs={MACS - 1}, it has {MACS}; raise"),
        (CELL, {"max_memory": MEMORY - 1}, f"evolution.max_memory={MEMORY - 1}, it has {MEMORY}"),
        (CELL, {"max_params": PARAMS - 1}, f"evolution.max_params={PARAMS - 1}, it has {PARAMS}"),
    ],
)
def test_what_it_refuses(text, limits, reason):
    with pytest.raises(UserError) as refusal:
        given.check(SPACE, _config(text, **limits))
    assert str(refusal.value).startswith("config.search.")
    assert reason in str(refusal.value)


def test_an_architecture_that_nobody_would_look_at():
    config = _config()
    config.strategy = "spos"
    with pytest.raises(UserError, match=r"architecture is for config\.search.strategy='given'"):
        given.check(SPACE, config)
    config.architecture = ""
    given.check(SPACE, config)


def test_a_plan_has_no_search_and_the_given_student(monkeypatch):
    config = tiny.get_config()
    config.search = _config("303120")
    lowered = []
    monkeypatch.setattr(programs, "of_training", lambda *program: lowered.append(program) or [])
    experiment = plan.experiment_of(config)
    assert search_stage.STAGE.programs(experiment) == []
    assert train_stage.STAGE.programs(experiment) == []
    assert [name for name, *_ in lowered] == ["student", "student on real images"]
    assert {network.architecture for _, network, *_ in lowered} == {(3, 0, 3, 1, 2, 0)}


# what people do to the file


def _edited(directory, edit):
    """The file of a search, whose content or text has been changed."""
    file = directory / "search" / "architecture.json"
    file.parent.mkdir()
    _search(file.parent, _config())
    if isinstance(edit, str):
        file.write_text(edit)
    elif callable(edit):
        write_json(file, edit(read_json(file)))
    return file


WITHOUT = [
    *("space", "architecture", "macs", "params", "score", "agreement", "kl", "correlation"),
    *("strategy", "scored_by", "data", "evaluated", "max_macs", "seed", "graph"),
]
DAMAGED = [
    *("", "[", '{"architecture": ', "\0", "[" * 100_000, "9" * 5000),
    *(lambda found, value=value: value for value in (None, 3, [], {}, "text")),
    *(lambda found, value=value: [found] for value in (0,)),
    *(
        lambda found, value=value: found | {"architecture": value}
        for value in (None, 3, {}, "", "nonsense", ["none"], CELL[:-1], "22212202")
    ),
]


@pytest.mark.parametrize("edit", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file(edit, tmp_path):
    file = _edited(tmp_path, edit)
    again = f"remove {file.parent} and run the search again"
    for read, mend in (
        (lambda: architecture_file.load(file, SPACE), "name another one"),
        (lambda: architecture_file.of_run(file.parent, SPACE), again),
        (lambda: given.architecture(SPACE, _config(str(file))), "name another one"),
    ):
        with pytest.raises(UserError) as refusal:
            read()
        line = str(refusal.value)
        assert str(file) in line
        assert line.endswith(f"; restore the file, or {mend}")
        assert line.isprintable()
        assert len(line) < 800


@pytest.mark.parametrize("field", WITHOUT)
def test_a_field_that_is_gone_or_of_another_type(field, tmp_path):
    file = _edited(tmp_path, lambda found: {k: v for k, v in found.items() if k != field})
    whole = read_json(file)
    for changed in (whole, *(whole | {field: value} for value in ([], True, {"a": 1}))):
        write_json(file, changed)
        with pytest.raises(UserError, match=f"{file}.*{field}.*; restore the file, or remove"):
            build.write_report(tmp_path, {"name": "tiny", "seed": 0})


@pytest.mark.parametrize(
    "graph",
    [
        {"nodes": ["a"]},
        {"nodes": ["a", 1], "edges": []},
        {"nodes": ["a", "b"], "edges": [[0, 2, "none"]]},
        {"nodes": ["a", "b"], "edges": [[1, 0, "none"]]},
        {"nodes": ["a", "b"], "edges": [[0, 1, None]]},
        {"nodes": ["a", "b"], "edges": [[0, 1]]},
    ],
    ids=str,
)
def test_a_graph_that_is_none(graph, tmp_path):
    _edited(tmp_path, lambda found: found | {"graph": graph})
    with pytest.raises(UserError, match=r"'graph' is (no graph|\{.*, must be an object with)"):
        build.write_report(tmp_path, {"name": "tiny", "seed": 0})


def test_a_student_of_another_architecture(tmp_path):
    _edited(tmp_path, None)
    student = tmp_path / "student" / "real"
    student.mkdir(parents=True)
    row = {"name": "student", "data": "real", "test_accuracy": None, "macs": 1, "params": 1}
    row |= {"seed": 0, "order": 1, "architecture": SPACE.example}
    write_json(student / "result.json", row)
    with pytest.raises(UserError, match=r"student/real is a student of \|none~0.* one of them was"):
        build.write_report(tmp_path, {"name": "tiny", "seed": 0})
    write_json(student / "result.json", row | {"architecture": CELL})
    build.write_report(tmp_path, tiny.get_config().to_dict())


def test_another_spaces_architecture(tmp_path):
    file = _edited(tmp_path, lambda found: found | {"space": "darts"})
    with pytest.raises(
        UserError, match=r"an architecture of 'darts', config\.search.space.name is"
    ):
        architecture_file.load(file, SPACE)


def test_an_architecture_that_was_put_into_the_file_of_another(tmp_path):
    other = CELL.replace("nor_conv_1x1~0", "skip_connect~0")
    file = _edited(tmp_path, lambda found: found | {"architecture": other})
    with pytest.raises(UserError, match=f"macs is {MACS}, but its architecture has .*strategy='gi"):
        architecture_file.of_run(file.parent, SPACE)
    assert SPACE.encode(architecture_file.load(file, SPACE)) == other


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"macs": 1}', '{"architecture": "a", "macs": "b"}']
)
def test_a_damaged_history(line, tmp_path):
    file = _edited(tmp_path, None).parent / "history.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"history.jsonl, line 2.*; restore the file, or remove"):
        build.write_report(tmp_path, {"name": "tiny", "seed": 0})
