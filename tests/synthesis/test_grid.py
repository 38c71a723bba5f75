import io

import numpy as np
import pytest
from PIL import Image

from datafree_nas.data.images import ImageSet
from datafree_nas.synthesis import grid


@pytest.mark.parametrize(
    ("side", "classes", "rounds", "each", "size"),
    [
        (8, 10, 2, 3, (10, 4)),  # two of three images of each class in each round
        (224, 20, 1, 1, (7, 3)),  # seven fit beside each other
        (32, 100, 1, 1, (20, 1)),  # the first twenty classes
    ],
)
def test_layout(side, classes, rounds, each, size):
    labels = np.tile(np.arange(classes), rounds * each).astype(np.int32)
    numbers = np.repeat(np.arange(rounds), classes * each).astype(np.int32)
    pixels = np.broadcast_to(labels[:, None, None, None], (len(labels), side, side, 1))
    images = ImageSet(pixels.astype(np.uint8), labels, None, numbers)
    picture = np.asarray(Image.open(io.BytesIO(grid.draw(images))))
    scale = max(1, -(-grid.LEAST_SIDE // side))
    pitch = scale * (side + grid.GAP)
    columns, rows = size
    assert picture.shape == tuple(n * pitch + scale * grid.GAP for n in (rows, columns))
    centres = picture[pitch // 2 :: pitch, pitch // 2 :: pitch]
    first_row = centres[0].tolist()
    assert first_row == list(range(columns))
    if side == 224:
        assert centres[2].tolist() == [*range(14, 20), 255]
