"""Synthetic images on disk: a standard TFDS directory, one ArrayRecord shard a work unit.

Needs no TensorFlow, neither to write nor to read.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds  # before there are threads, see runtime/behind.py
from array_record.python import array_record_module
from array_record.python.array_record_data_source import ArrayRecordDataSource
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from datafree_nas.data import tfds_metadata
from datafree_nas.data.images import Example, Images, ImageSet, Records, is_large
from datafree_nas.runtime import mirror, records
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import (
    fingerprint,
    publish,
    replacing,
    write_json,
    writing,
)
from datafree_nas.teachers import Teacher

NAME, VERSION, SPLIT = "synthetic", "1.0.0", "train"
CHECKSUMS = "checksums.json"


class Layout(NamedTuple):
    """Where the shards of a synthetic set lie.

    Attributes:
        root: the stage's directory.
        shards: how many there will be.
    """

    root: Path
    shards: int

    @property
    def directory(self) -> Path:
        """The TFDS directory, for `tfds.builder_from_directory`."""
        return self.root / VERSION

    def shard(self, index: int) -> Path:
        """The file of one work unit."""
        name = f"{NAME}-{SPLIT}.array_record-{index:05d}-of-{self.shards:05d}"
        return self.directory / name


def features(teacher: Teacher) -> Any:
    """The TFDS features of one example."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=teacher.image_size, encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=teacher.num_classes),
            "logits": tfds.features.Tensor(shape=(teacher.num_classes,), dtype=np.float32),
            "round": tfds.features.Scalar(dtype=np.int32),
            "batch": tfds.features.Scalar(dtype=np.int32),
        }
    )


def _png(image: np.ndarray) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


def write_shard(path: Path, images: ImageSet, batch: int, teacher: Teacher) -> None:
    """Writes one work unit under a temporary name, then renames.

    Args:
        path: from `Layout.shard`.
        images: with logits and rounds.
        batch: the unit's number within its round.
        teacher: gives the features' shapes.
    """
    kinds = features(teacher)
    partial = replacing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert images.logits is not None
    assert images.rounds is not None
    examples = []
    for i in range(images.size):
        example = {
            "image": _png(np.asarray(images.images[i])),
            "label": int(images.labels[i]),
            "logits": np.asarray(images.logits[i], np.float32),
            "round": int(images.rounds[i]),
            "batch": batch,
        }
        examples.append(_serialized(kinds, example))
    with writing(path):
        writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1")
        for encoded in examples:
            writer.write(encoded)
        writer.close()
        publish(partial, path)


def _serialized(kinds: Any, example: dict[str, Any]) -> bytes:
    """An example as bytes, the same ones in every process: protobuf's order of fields is random."""
    written = kinds.serialize_example(kinds.encode_example(example))
    return tf_example_pb2.Example.FromString(written).SerializeToString(deterministic=True)


def read_shard(path: Path, teacher: Teacher) -> ImageSet:
    """Reads back one work unit.

    Raises:
        UserError: the shard is damaged.
    """
    return _image_set(_rows(path, features(teacher)))


def _rows(path: Path, kinds: Any) -> list[dict[str, Any]]:
    try:
        reader = array_record_module.ArrayRecordReader(str(path))
        rows = [kinds.deserialize_example_np(record) for record in reader.read_all()]
        reader.close()
    except Exception as error:  # the reader raises whatever its C++ side likes
        raise _damaged(path, error) from None
    return rows


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{path} is damaged ({reason}); add --repair to the same command, which makes damaged and "
        "missing shards again, and nothing else"
    )


def remove_damaged(layout: Layout, teacher: Teacher) -> list[str]:
    """Removes shards that cannot be used, so that they are made again.

    Args:
        layout: of a set that need not be finished.
        teacher: gives the features' shapes.

    Returns:
        Names of the shards that were removed, and of a finished set also of those that are missing.
    """
    known = _checksums(layout.root)
    removed = []
    for path in map(layout.shard, range(layout.shards)):
        if path.exists() and _is_whole(path, known.get(path.name), teacher):
            continue
        if path.exists() or known:
            removed.append(path.name)
        path.unlink(missing_ok=True)
        mirror.remove(path)
    return removed


def _is_whole(path: Path, checksum: str | None, teacher: Teacher) -> bool:
    """Whether a shard is the one that was written; if that is not known, whether it can be read."""
    if checksum:
        return fingerprint(path) == checksum
    try:
        read_shard(path, teacher)
    except UserError:
        return False
    return True


def write_metadata(layout: Layout, teacher: Teacher, shard_lengths: list[int]) -> None:
    """Makes a data set out of finished shards; TFDS finds it from here on."""
    template = tfds.core.ShardedFileTemplate(
        dataset_name=NAME,
        split=SPLIT,
        filetype_suffix="array_record",
        data_dir=layout.directory,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    size = sum(layout.shard(i).stat().st_size for i in range(layout.shards))
    split = tfds.core.SplitInfo(
        name=SPLIT, shard_lengths=shard_lengths, num_bytes=size, filename_template=template
    )
    tfds.folder_dataset.write_metadata(
        data_dir=layout.directory,
        features=features(teacher),
        split_infos=[split],
        filename_template=template.template,
        description="Images synthesized from a trained classifier.",
        version=VERSION,
        check_data=False,
    )


def write_checksums(layout: Layout) -> None:
    """Writes `checksums.json`: of every shard of a finished set, by its name."""
    shards = [layout.shard(index) for index in range(layout.shards)]
    write_json(layout.root / CHECKSUMS, {shard.name: fingerprint(shard) for shard in shards})


def _checksums(root: Path) -> dict[str, str]:
    """The checksum of every shard of a finished set; empty if the set is not finished, or old."""
    file = root / CHECKSUMS
    return records.read(file, records.CHECKSUMS) if file.exists() else {}


def load(root: Path) -> ImageSet:
    """Reads a finished synthetic set into memory.

    Args:
        root: the stage's directory, the parent of the TFDS directory.

    Raises:
        UserError: there is no finished data set, or a shard is damaged.
    """
    shards, kinds = _finished(root)
    known = _checksums(root)
    for shard in shards:
        if known.get(shard.name, "") not in ("", fingerprint(shard)):
            raise _damaged(shard, ValueError("its checksum differs"))
    return _image_set([row for shard in shards for row in _rows(shard, kinds)])


def load_up_to(root: Path, gigabytes: float) -> Images:
    """As `load`; a set whose pixels take more than that is only opened."""
    records = open_records(root)
    return records if is_large(records, gigabytes) else load(root)


def open_records(root: Path) -> Records:
    """A finished synthetic set, to be read image by image; arguments and errors as of `load`."""
    shards, kinds = _finished(root)
    try:
        source = ArrayRecordDataSource([str(shard) for shard in shards])
    except Exception as error:  # as above
        raise _damaged(shards[0].parent, error) from None
    each = len(source) // len(shards)

    def read(index: int) -> Example:
        try:
            row = kinds.deserialize_example_np(source[index])
        except Exception as error:
            raise _damaged(shards[index // each], error) from None
        return Example(row["image"], int(row["label"]), row["logits"], int(row["round"]))

    return Records(len(source), kinds["image"].shape, read)


def _finished(root: Path) -> tuple[list[Path], Any]:
    """The shards of a finished set, and the features of its examples."""
    directory = root / VERSION
    tfds_metadata.check(directory)
    try:
        info = tfds.builder_from_directory(directory).info
        shards = sorted(Path(file) for file in info.splits[SPLIT].filepaths)
    except Exception as error:  # TFDS and protobuf have many kinds for files that are not theirs
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"no finished synthetic data set at {directory} ({reason}); run the stage synthesize, "
            "with --repair if it was finished before"
        ) from None
    for shard in shards:
        if not shard.exists():
            raise _damaged(shard, FileNotFoundError("it is missing"))
    return shards, info.features


def _image_set(rows: list[dict[str, Any]]) -> ImageSet:
    return ImageSet(
        images=np.stack([row["image"] for row in rows]),
        labels=np.array([row["label"] for row in rows], np.int32),
        logits=np.stack([row["logits"] for row in rows]),
        rounds=np.array([row["round"] for row in rows], np.int32),
    )
