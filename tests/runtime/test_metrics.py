from datafree_nas.runtime.files import read_jsonl
from datafree_nas.runtime.metrics import MetricsWriter


def _write(directory, steps, **arguments):
    writer = MetricsWriter(directory, **arguments)
    for step in steps:
        writer.write(step, {"loss": step / 2}, phase="a")
    writer.close()


def test_rows_past_the_resumed_step_are_dropped(tmp_path):
    _write(tmp_path, [2, 4, 6], events=False)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # the process died here
    _write(tmp_path, [6, 7], resume_at=4, events=False)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert rows == [{"step": s, "phase": "a", "loss": s / 2} for s in (2, 4, 6, 7)]
    assert not (tmp_path / "tensorboard").exists()


def test_rows_are_on_disk_before_the_writer_is_closed(tmp_path):
    writer = MetricsWriter(tmp_path, events=False)
    writer.write(1, {"loss": 0.5})
    assert read_jsonl(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.5}]
    writer.close()


def test_tensorboard_gets_them_too(tmp_path):
    _write(tmp_path, [1])
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
