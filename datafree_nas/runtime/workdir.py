"""Every path in the folder of a run."""

from dataclasses import dataclass
from pathlib import Path


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
        return self.root / "teacher"

    @property
    def card(self) -> Path:
        """Card of the teacher."""
        return self.teacher / "teacher.json"

    @property
    def synthetic(self) -> Path:
        """Folder of the synthetic images, a data set of TFDS."""
        return self.root / "synthetic"

    @property
    def grid(self) -> Path:
        """Picture of some synthetic images."""
        return self.synthetic / "grid.png"

    @property
    def rounds(self) -> Path:
        """Measurements of each round of synthesis."""
        return self.synthetic / "rounds.json"

    @property
    def units(self) -> Path:
        """Folder of the loss curves of all work units."""
        return self.synthetic / "units"

    @property
    def search(self) -> Path:
        """Folder of the search stage."""
        return self.root / "search"

    @property
    def architecture(self) -> Path:
        """Architecture that the search found."""
        return self.search / "architecture.json"

    @property
    def history(self) -> Path:
        """Architectures that the search scored, one a line."""
        return self.search / "history.jsonl"

    @property
    def probabilities(self) -> Path:
        """Probabilities of all ops over the search."""
        return self.search / "probabilities.json"

    @property
    def students(self) -> Path:
        """Folder of the train stage, with a folder for each trained network."""
        return self.root / "student"

    @property
    def report(self) -> Path:
        """Folder of the report stage."""
        return self.root / "report"

    @property
    def page(self) -> Path:
        """Report for people."""
        return self.report / "report.html"

    @property
    def summary(self) -> Path:
        """Report for programs."""
        return self.report / "summary.json"
