"""A picture of the synthetic set: a row for each round, a column for each class."""

import io

import numpy as np
from PIL import Image

from datafree_nas.data.images import ImageSet

PER_CELL = 2  # images of a class in a round, side by side below each other
GAP = 2
MAX_CLASSES = 20
LEAST_SIDE = 48  # small images are magnified


def draw(images: ImageSet) -> bytes:
    """Samples by class (columns) and round (rows of `PER_CELL` images each).

    Returns:
        A PNG file's content.
    """
    assert images.rounds is not None
    rounds = np.unique(images.rounds)
    classes = np.unique(images.labels)[:MAX_CLASSES]
    height, width, channels = images.images.shape[1:]
    rows = len(rounds) * PER_CELL
    sheet = np.full(
        (rows * (height + GAP) + GAP, len(classes) * (width + GAP) + GAP, channels), 255, np.uint8
    )
    for column, label in enumerate(classes):
        for r, number in enumerate(rounds):
            found = np.flatnonzero((images.labels == label) & (images.rounds == number))
            for i, index in enumerate(found[:PER_CELL]):
                top = GAP + (r * PER_CELL + i) * (height + GAP)
                left = GAP + column * (width + GAP)
                sheet[top : top + height, left : left + width] = images.images[index]
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    scale = max(1, -(-LEAST_SIDE // height))
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
