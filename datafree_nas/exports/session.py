"""A model file that its runtime has loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Session:
    """A loaded model of one input and one output.

    Attributes:
        dtype: type of the input.
        put: function of the input that lays it where the model reads it.
        run: function that computes the output.
        get: function that returns the output.
    """

    dtype: np.dtype[Any]
    put: Callable[[np.ndarray], None]
    run: Callable[[], None]
    get: Callable[[], np.ndarray]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Computes the output of a batch."""
        self.put(batch)
        self.run()
        return self.get()
