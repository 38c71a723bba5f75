"""What is wanted of a source of images, and what it answers for one split."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from datafree_nas.data.classes import Classes, Order
from datafree_nas.data.images import Images
from datafree_nas.data.labels import Labels
from datafree_nas.data.pixels import Size


class Request(NamedTuple):
    """A source, and what the teacher needs from it.

    Attributes:
        source: `digits`, `tfds:NAME`, `folder:DIR` or `npz:FILE`.
        size: `(h, w, c)` of the teacher's images.
        classes: the teacher's.
        data_dir: where TFDS finds its data sets; empty for its usual place.
        train_split: what the source calls the images for training.
        test_split: what it calls those for testing.
    """

    source: str
    size: Size
    classes: Classes = Classes()
    data_dir: str = ""
    train_split: str = "train"
    test_split: str = "test"

    @property
    def place(self) -> str:
        """What follows the colon."""
        return self.source.partition(":")[2]

    def name(self, split: str) -> str:
        """What the source should call `train` or `test`."""
        return {"train": self.train_split, "test": self.test_split}[split]


class Part(NamedTuple):
    """One split of a source.

    Attributes:
        images: in memory, or decoded when they are asked for.
        labels: gives the labels that are known without decoding images; of a TFDS set a sample.
        name: of the split in the source; empty if it has none, and every fifth image is held out.
        order: class names of the source, where it has names.
        skipped: what is not read, and how much of it.
        notes: what was not as usual, and how it was understood.
    """

    images: Images
    labels: Callable[[], Labels]
    name: str = ""
    order: Order = Order({}, "labels are class indices")
    skipped: Mapping[str, int] = MappingProxyType({})
    notes: tuple[str, ...] = ()
