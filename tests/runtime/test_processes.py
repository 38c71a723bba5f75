"""What one process decides by itself; tests/test_faults.py and test_several_devices.py have two."""

import pytest

from datafree_nas.runtime import interrupt, processes
from datafree_nas.runtime.errors import Interrupted, UserError


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("host:1234", 2, None), "give --coordinator, --num_processes and --process_id, or none"),
        (("", None, 1), "give --coordinator"),
        (("host", 2, 0), "--coordinator=host is not HOST:PORT"),
        (("host:http", 2, 0), "is not HOST:PORT"),
        (("host:80", 2, 0), "with a port over 1000"),
        (("host:65536", 2, 0), "with a port over 1000"),
        (("host:1234", 2, 2), "--process_id=2 is not below --num_processes=2"),
    ],
)
def test_flags_that_make_no_sense(flags, message):
    with pytest.raises(UserError, match=message):
        processes.find(*flags)


def test_flags_are_taken_as_they_are():
    assert processes.find("[::1]:1234", 3, 2) == processes.ProcessPlace("[::1]:1234", 3, 2)


def test_without_flags_and_without_a_cluster_it_is_one():
    assert processes.find("", None, None).count == 1


def test_slurm_says_who_they_are(monkeypatch):
    slurm = {
        "JOB_ID": "4711",
        "STEP_NODELIST": "node[07-10]",
        "NTASKS": "4",
        "STEP_NUM_TASKS": "4",
        "PROCID": "3",
        "LOCALID": "0",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    found = processes.find("", None, None)
    assert (found.count, found.index) == (4, 3)
    host, port = found.coordinator.split(":")
    assert host == "node07"
    assert int(port) > processes.PORT_BELOW


def test_one_process_is_the_first_and_the_last():
    assert (processes.count(), processes.index(), processes.primary()) == (1, 0, True)
    with processes.alone():
        assert (processes.count(), processes.is_alone()) == (1, True)
    assert processes.gather((1, "a")) == [[1, "a"]]
    assert processes.from_first(None) is None
    assert processes.share([3, 1, 2], lambda x: {"twice": 2 * x}) == [
        {"twice": 2 * x} for x in (3, 1, 2)
    ]
    assert processes.share([], float) == []


def test_once_passes_on_what_went_wrong():
    done = []
    processes.once(lambda: done.append(1))
    assert done == [1]

    def fail():
        raise UserError("no room")

    with pytest.raises(UserError, match="no room"):
        processes.once(fail)


def test_share_deals_items_out_in_turn(monkeypatch):
    """As each of three processes sees it."""
    items, parts = list(range(8)), []
    for index in range(3):
        monkeypatch.setattr(processes, "index", lambda i=index: i)
        monkeypatch.setattr(processes, "count", lambda: 3)
        monkeypatch.setattr(processes, "gather", lambda done: parts.append(done) or [[-1] * 3] * 3)
        processes.share(items, lambda x: x * x)
    assert parts == [[0, 9, 36], [1, 16, 49], [4, 25]]
    monkeypatch.setattr(processes, "gather", lambda done: parts)
    assert processes.share(items, lambda x: x * x) == [x * x for x in items]


def test_check_stop():
    processes.check_stop()
    with interrupt.deferred_signals():
        interrupt.request(15)
        with pytest.raises(Interrupted) as stop:
            processes.check_stop()
    assert stop.value.signum == 15
