from datafree_nas.runtime import progress


def test_plain_lines_where_there_is_no_terminal(capsys, monkeypatch):
    bar = progress.ProgressBar("train", total=4, unit="steps")
    bar.update(1, {"loss": 2.0})
    assert capsys.readouterr().err == ""  # too early for a line
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    bar.update(2, {"loss": 1.0})
    line = capsys.readouterr().err
    assert line.startswith("train: 2/4 steps")
    assert "steps/s" in line
    assert "s left" in line
    assert line.endswith("loss 1\n")
    bar.close()


def test_the_last_update_is_always_said_and_so_is_a_resumption(capsys):
    bar = progress.ProgressBar("train", total=4, unit="steps", start=3)
    assert "train: 3/4 steps" in capsys.readouterr().err
    bar.update(4, {})
    assert "train: 4/4 steps" in capsys.readouterr().err
    bar.close()
