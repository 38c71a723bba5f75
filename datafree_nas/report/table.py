"""The table of results that a run prints at its end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datafree_nas.report.text import percent_of, quantity, row_data, row_name
from datafree_nas.runtime import records
from datafree_nas.runtime.terminal import printable
from datafree_nas.runtime.workdir import Workdir


def show_result(workdir: Path, place: str) -> None:
    """Prints the table of a run, and where its report is, once there is one.

    Args:
        workdir: folder of the run on this machine.
        place: name of that folder as the user knows it.
    """
    paths = Workdir(workdir)
    if paths.page.exists():
        summary = records.read(paths.summary, records.SUMMARY)
        print_table(summary["rows"])
        for sentence in (summary.get("headline", ""), summary.get("note", "")):
            if sentence:
                print(printable(sentence))
        print(f"report: {place.rstrip('/')}/report/report.html", flush=True)


def print_table(rows: Iterable[dict[str, Any]], console: Console | None = None) -> None:
    """Prints one line for each trained network.

    Args:
        rows: trained networks, the `rows` of the summary.
        console: console to print to; standard output if it is `None`.
    """
    # narrow enough for 80 columns
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    rows = list(rows)
    for title, text_of in (("name", row_name), ("data", row_data)):
        words = [word for row in rows for word in printable(text_of(row)).split()]
        table.add_column(title, min_width=max(map(len, words), default=0))  # no word is cut
    for title in ("test\naccuracy", "agrees with\nthe teacher", "MACs", "params"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(printable(row_name(row))),  # rich would read a string as markup
            Text(printable(row_data(row))),
            percent_of(row, "test_accuracy"),
            percent_of(row, "agreement"),
            quantity(row["macs"]),
            quantity(row["params"]),
        )
    (console or Console()).print(table)
