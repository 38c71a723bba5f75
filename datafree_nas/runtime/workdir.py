"""Every path in the folder of a run."""

from dataclasses import dataclass
from pathlib import Path

# folders of the stages
TEACHER, SYNTHETIC, SEARCH, STUDENTS = "teacher", "synthetic", "search", "student"
REPORT = "report"
EXPORTS, EXPORT_CARD = "export", "export.json"  # of datafree_nas.export
# files and folders in them
CARD, ARCHITECTURE, RESULT = "teacher.json", "architecture.json", "result.json"
GRID, ROUNDS, UNITS = "grid.png", "rounds.json", "units"
HELD_OUT = "held_out"
HISTORY, PROBABILITIES = "history.jsonl", "probabilities.json"
PAGE, SUMMARY = "report.html", "summary.json"


@dataclass(frozen=True)
class Workdir:
    """The folder of a run.

    Attributes:
        root: path of the folder itself.
    """

    root: Path

    @property
    def images(self) -> Path:
        """What is known of the natural images, for the report."""
        return self.root / "data.json"

    @property
    def teacher(self) -> Path:
        """Folder of the teacher stage."""
        return self.root / TEACHER

    @property
    def card(self) -> Path:
        """Card of the teacher."""
        return self.teacher / CARD

    @property
    def synthetic(self) -> Path:
        """Folder of the synthetic images, a data set of TFDS."""
        return self.root / SYNTHETIC

    @property
    def held_out(self) -> Path:
        """Folder of the synthetic images that nothing is trained on, a data set of TFDS."""
        return self.synthetic / HELD_OUT

    @property
    def grid(self) -> Path:
        """Picture of some synthetic images."""
        return self.synthetic / GRID

    @property
    def rounds(self) -> Path:
        """Measurements of each round of synthesis."""
        return self.synthetic / ROUNDS

    @property
    def units(self) -> Path:
        """Folder of the loss curves of all work units."""
        return self.synthetic / UNITS

    @property
    def search(self) -> Path:
        """Folder of the search stage."""
        return self.root / SEARCH

    @property
    def architecture(self) -> Path:
        """Architecture that the search found."""
        return self.search / ARCHITECTURE

    @property
    def history(self) -> Path:
        """Architectures that the search scored, one a line."""
        return self.search / HISTORY

    @property
    def probabilities(self) -> Path:
        """Probabilities of all ops over the search."""
        return self.search / PROBABILITIES

    @property
    def students(self) -> Path:
        """Folder of the train stage, with a folder for each trained network."""
        return self.root / STUDENTS

    def export_cards(self, network: str) -> list[Path]:
        """Lists the cards of the exports of a network.

        Args:
            network: folder of a student, or `teacher`.
        """
        return sorted((self.root / EXPORTS / network).glob(f"*/{EXPORT_CARD}"))

    @property
    def report(self) -> Path:
        """Folder of the report stage."""
        return self.root / REPORT

    @property
    def page(self) -> Path:
        """Report for people."""
        return self.report / PAGE

    @property
    def summary(self) -> Path:
        """Report for programs."""
        return self.report / SUMMARY
