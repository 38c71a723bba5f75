"""The files of a workdir are data: what is wrong in them is one line."""

import json

import pytest

from datafree_nas.runtime import records
from datafree_nas.runtime.errors import UserError

RESULT = {
    "name": "student",
    "data": "real",
    "test_accuracy": 0.5,
    "macs": 1,
    "params": 1,
    "seed": 0,
    "order": 1,
}


def test_a_good_record_comes_back_with_what_other_versions_wrote(tmp_path):
    found = RESULT | {"of_a_later_version": [1, 2]}
    (tmp_path / "result.json").write_text(json.dumps(found))
    assert records.read(tmp_path / "result.json", records.RESULT) == found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("null", "holds a NoneType, not an object"),
        ("[]", "holds a list, not an object"),
        ('{"name": "a"}', "has no 'data'"),
        (json.dumps(RESULT | {"macs": "1"}), "'macs' is '1', must be an integer from 0 to"),
        (json.dumps(RESULT | {"macs": True}), "'macs' is True, must be"),
        (json.dumps(RESULT | {"test_accuracy": 5006.2}), "'test_accuracy' is 5006.2, must be a"),
        (json.dumps(RESULT | {"test_accuracy": float("nan")}), "'test_accuracy' is nan, must"),
        (json.dumps(RESULT | {"seed": -1}), "'seed' is -1, must be"),
        (json.dumps(RESULT | {"name": ["x" * 1000]}), r"'name' is \['x+\.\.\., must be text"),
    ],
    ids=range(11),
)
def test_a_damaged_record_is_one_line(content, problem, tmp_path):
    file = tmp_path / "result.json"
    file.write_text(content)
    with pytest.raises(UserError, match=rf"^{file}.*{problem}.*; restore the file, or remove") as e:
        records.read(file, records.RESULT)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("line", ["{", "3", '{"loss": 1}', '{"step": 1, "loss": "low"}'])
def test_a_damaged_line_is_named(line, tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 0, "phase": "supernet", "loss": 1.5}}\n{line}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2.*; restore the file"):
        records.read_lines(file, records.METRICS)


def test_a_list_of_records(tmp_path):
    file = tmp_path / "rounds.json"
    file.write_text('[{"round": 0, "images": 8}, {"round": 1}]')
    with pytest.raises(UserError, match=r"rounds\.json, entry 2 has no 'images'"):
        records.read_list(file, records.ROUND)
    file.write_text("{}")
    with pytest.raises(UserError, match=r"rounds\.json is no list"):
        records.read_list(file, records.ROUND)
