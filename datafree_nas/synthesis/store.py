"""Synthetic images on disk: a standard TFDS directory with one ArrayRecord shard per work unit.

Neither writing nor reading needs TensorFlow.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds  # before any thread starts, see runtime/behind.py
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
    """The paths of the shards of a synthetic set.

    Attributes:
        root: folder of the synthesis stage.
        shards: number of shards of the finished set.
    """

    root: Path
    shards: int

    @property
    def directory(self) -> Path:
        """The TFDS directory, for `tfds.builder_from_directory`."""
        return self.root / VERSION

    def shard(self, index: int) -> Path:
        """Returns the path of the shard of one work unit."""
        name = f"{NAME}-{SPLIT}.array_record-{index:05d}-of-{self.shards:05d}"
        return self.directory / name


def features(teacher: Teacher) -> Any:
    """Returns the TFDS features of one example."""
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
    """Writes the shard of one work unit under a temporary name, then renames it.

    Args:
        path: path of the shard, from `Layout.shard`.
        images: images of the work unit, with logits and rounds.
        batch: number of the work unit's batch within its round.
        teacher: teacher with the image size and the number of classes of the images.
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
    """Returns an example as bytes.

    They are the same in every process, though protobuf's own order of fields is random.
    """
    written = kinds.serialize_example(kinds.encode_example(example))
    return tf_example_pb2.Example.FromString(written).SerializeToString(deterministic=True)


def read_shard(path: Path, teacher: Teacher) -> ImageSet:
    """Reads the images of one work unit.

    Raises:
        UserError: the shard is damaged.
    """
    return _image_set(_rows(path, features(teacher)))


def _rows(path: Path, kinds: Any) -> list[dict[str, Any]]:
    try:
        reader = array_record_module.ArrayRecordReader(str(path))
        rows = [kinds.deserialize_example_np(record) for record in reader.read_all()]
        reader.close()
    except Exception as error:  # the C++ reader raises exceptions of many types
        raise _damaged(path, error) from None
    return rows


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{path} is damaged ({reason}); add --repair to the same command, which makes damaged and "
        "missing shards again, and nothing else"
    )


def remove_damaged(layout: Layout, teacher: Teacher) -> list[str]:
    """Removes damaged shards, so that they are made again.

    Args:
        layout: layout of a synthetic set, finished or not.
        teacher: teacher with the image size and the number of classes of the images.

    Returns:
        Names of the shards that were removed; if the set was finished, also of missing shards.
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
    """Tells whether a shard has its checksum or, if none is known, whether it can be read."""
    if checksum:
        return fingerprint(path) == checksum
    try:
        read_shard(path, teacher)
    except UserError:
        return False
    return True


def write_metadata(layout: Layout, teacher: Teacher, shard_lengths: list[int]) -> None:
    """Writes the metadata with which TFDS can open finished shards as a data set."""
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
    """Writes `checksums.json`: the checksum of every shard of a finished set by its name."""
    shards = [layout.shard(index) for index in range(layout.shards)]
    write_json(layout.root / CHECKSUMS, {shard.name: fingerprint(shard) for shard in shards})


def _checksums(root: Path) -> dict[str, str]:
    """Reads the checksum of every shard by its name; empty if there is no `checksums.json`."""
    file = root / CHECKSUMS
    return records.read(file, records.CHECKSUMS) if file.exists() else {}


def load(root: Path) -> ImageSet:
    """Reads a finished synthetic set into memory.

    Args:
        root: folder of the synthesis stage, the parent of the TFDS directory.

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
    """Reads a finished synthetic set into memory, or only opens it if it is large.

    Args:
        root: folder of the synthesis stage.
        gigabytes: most memory that the pixels may take, in units of 10^9 bytes.

    Raises:
        UserError: the set is missing or unfinished, or a shard is damaged.
    """
    records = open_records(root)
    return records if is_large(records, gigabytes) else load(root)


def open_records(root: Path) -> Records:
    """Opens a finished synthetic set to read it image by image; see `load`."""
    shards, kinds = _finished(root)
    try:
        source = ArrayRecordDataSource([str(shard) for shard in shards])
    except Exception as error:  # see `_rows`
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
    """Returns the shards of a finished set and the features of its examples."""
    directory = root / VERSION
    tfds_metadata.check(directory)
    try:
        info = tfds.builder_from_directory(directory).info
        shards = sorted(Path(file) for file in info.splits[SPLIT].filepaths)
    except Exception as error:  # TFDS and protobuf raise exceptions of many types
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
