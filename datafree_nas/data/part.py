"""A request for images from a source, and the answer for one split."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from datafree_nas.data.classes import Classes, Order
from datafree_nas.data.images import Images
from datafree_nas.data.labels import Labels
from datafree_nas.data.pixels import Size


class Request(NamedTuple):
    """A source of images, and what the teacher needs from it.

    Attributes:
        source: name of the source: `digits`, `tfds:NAME`, `folder:DIR` or `npz:FILE`.
        size: size of the teacher's images, `(h, w, c)`.
        classes: the teacher's classes, as far as they are known.
        data_dir: folder of the data sets of TFDS; empty for the default of TFDS.
        train_split: name of the training images in the source.
        test_split: name of the test images in the source.
    """

    source: str
    size: Size
    classes: Classes = Classes()
    data_dir: str = ""
    train_split: str = "train"
    test_split: str = "test"

    @property
    def place(self) -> str:
        """Part of `source` after the colon."""
        return self.source.partition(":")[2]

    def name(self, split: str) -> str:
        """Returns the name that `train` or `test` should have in the source."""
        return {"train": self.train_split, "test": self.test_split}[split]


class Part(NamedTuple):
    """One split of a source.

    Attributes:
        images: images of the split, in memory or decoded when they are needed.
        labels: function that gives the labels without decoding images; of a TFDS set, a sample.
        name: name of the split in the source; empty if the source has no splits, so that every
            fifth image is held out for testing.
        order: class of each class name in the source; empty if the source has no names.
        skipped: number of items that are not read, by kind.
        notes: remarks on unusual things and how they were understood.
    """

    images: Images
    labels: Callable[[], Labels]
    name: str = ""
    order: Order = Order({}, "labels are class indices")
    skipped: Mapping[str, int] = MappingProxyType({})
    notes: tuple[str, ...] = ()
