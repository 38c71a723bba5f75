"""A picture with samples of a synthetic set: rows are rounds, columns are classes."""

import io

import numpy as np
from PIL import Image

from datafree_nas.data.images import ImageSet

PER_CELL = 2  # largest number of images of one class and round, drawn one below the other
GAP = 2  # pixels between images, before they are magnified
MAX_CLASSES = 20
LEAST_SIDE = 48  # pixels; images of less height are magnified
MAX_WIDTH = 1600  # pixels; classes that do not fit beside each other continue below


def draw(images: ImageSet) -> bytes:
    """Draws up to `PER_CELL` samples of each class (columns) and round (rows).

    Args:
        images: a synthetic set, with rounds; its first `MAX_CLASSES` classes are drawn.

    Returns:
        Content of a PNG file.
    """
    assert images.rounds is not None
    rounds = np.unique(images.rounds)
    classes = np.unique(images.labels)[:MAX_CLASSES]
    cells = {
        (label, number): np.flatnonzero((images.labels == label) & (images.rounds == number))
        for label in classes
        for number in rounds
    }
    deep = min(PER_CELL, max(map(len, cells.values())))
    height, width, channels = images.images.shape[1:]
    scale = max(1, -(-LEAST_SIDE // height))
    across = max(1, min(len(classes), MAX_WIDTH // (scale * (width + GAP))))
    blocks = -(-len(classes) // across)
    rows = blocks * len(rounds) * deep
    sheet = np.full(
        (rows * (height + GAP) + GAP, across * (width + GAP) + GAP, channels), 255, np.uint8
    )
    for c, label in enumerate(classes):
        for r, number in enumerate(rounds):
            for i, index in enumerate(cells[label, number][:deep]):
                row = (c // across * len(rounds) + r) * deep + i
                top, left = GAP + row * (height + GAP), GAP + c % across * (width + GAP)
                sheet[top : top + height, left : left + width] = images.images[index]
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
