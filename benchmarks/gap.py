"""Measures how far synthetic images are from real ones in features: density and coverage.

The measures are those of Naeem et al. 2020, computed by the authors' package, which needs only
NumPy and scikit-learn.
"""

import contextlib
import io

import numpy as np
from prdc import compute_prdc

from datafree_nas.runtime.errors import UserError

_NEIGHBOURS = 5


def measure(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Computes density and coverage of features `[m d]` among those of real images, `[n d]`.

    Raises:
        UserError: there are too few images to have so many neighbours.
    """
    if min(len(real), len(synthetic)) <= _NEIGHBOURS:
        raise UserError(f"--real wants more than {_NEIGHBOURS} real images, and as many a round")
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints how many there are
        found = compute_prdc(real, synthetic, nearest_k=_NEIGHBOURS)
    return {name: float(found[name]) for name in ("density", "coverage")}
