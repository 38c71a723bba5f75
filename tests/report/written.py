"""A workdir of hand-written files, and the page that is made from it."""

import base64
from html.parser import HTMLParser
from pathlib import Path

from datafree_nas.runtime.files import make_directory, write_bytes, write_json, write_jsonl

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


def teacher(workdir: Path) -> None:
    directory = make_directory(workdir / "teacher")
    card = {"arch": "cifar_resnet20", "num_classes": 10, "image_size": [32, 32, 3]}
    card |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "params": 272474, "macs": 40813184}
    card |= {"batch_norm_layers": 19, "class_names": None, "source": {"trained_on": "digits"}}
    card |= {"input_range": [-2.5, 3.5], "checks": CHECKS}
    write_json(directory / "teacher.json", card)
    write_jsonl(directory / "metrics.jsonl", training())


def synthetic(workdir: Path) -> None:
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


def search(workdir: Path, name: str = GENOTYPE) -> None:
    directory = make_directory(workdir / "search")
    found = {"architecture": name, "macs": 7_780_000, "params": 254_000, "score": 0.8}
    found |= {"agreement": 0.8, "kl": 0.25, "correlation": 0.9}
    worse = {**found, "macs": 9_000_000, "score": 0.1, "generation": 0}
    lost = {**worse, "score": float("nan")}
    write_jsonl(directory / "history.jsonl", [lost, worse, {**found, "generation": 1}])
    best = {"step": 9, "phase": "evolution", "best": 0.8}
    write_jsonl(directory / "metrics.jsonl", [*training("supernet"), best])
    found |= {"space": "nasbench201", "strategy": "spos", "data": "synthetic", "evaluated": 3}
    found |= {"scored_by": "correlation"}
    nodes = ["input", "node 1", "node 2", "output"]
    found |= {"max_macs": 8_000_000, "seed": 3, "graph": {"nodes": nodes, "edges": EDGES}}
    write_json(directory / "architecture.json", found)
    names = [f"{nodes[a]} → {nodes[b]}" for a, b, _ in EDGES]
    values = [[[0.2] * 5] * 6, [[0.4, 0.3, 0.1, 0.1, 0.1]] * 6]
    recorded = {"steps": [0, 9], "ops": OPS, "positions": names, "values": values}
    write_json(directory / "probabilities.json", recorded)


def students(workdir: Path, accuracy: float | None = 0.9519) -> None:
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
            write_jsonl(directory / "metrics.jsonl", training())


def training(phase: str = "") -> list[dict]:
    return [{"step": s, "phase": phase, "loss": 2 / s, "accuracy": s / 9} for s in range(1, 9)]


def page(workdir: Path) -> str:
    return (workdir / "report" / "report.html").read_text()
