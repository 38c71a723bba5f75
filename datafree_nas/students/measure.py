"""How well a network does the teacher's job, on real and on synthetic images."""

from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float

from datafree_nas.data.images import Images, ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.training import fit


def measure(network: Labeller, held_out: ImageSet | None, test: Images | None) -> dict[str, Any]:
    """Measures a network.

    Args:
        network: trained network, or the teacher itself.
        held_out: synthetic images with the teacher's logits, which nothing was trained on; None if
            there are none.
        test: natural test images; None if there are none.

    Returns:
        `test_accuracy`: share of the test images whose top class is the label. `agreement`: share
        of the held-out images whose top class is the teacher's. `kl`: mean KL divergence from the
        teacher's softmax to the network's on them, in nats. `held_out`: number of held-out images.
        None where the images are missing.
    """
    found: dict[str, Any] = {
        "test_accuracy": None if test is None else fit.accuracy(network, test),
        "agreement": None,
        "kl": None,
        "held_out": 0,
    }
    if held_out is not None:
        teacher = np.asarray(held_out.logits)
        logits = fit.logits_of(network, np.asarray(held_out.images))
        found["agreement"] = float(np.mean(logits.argmax(-1) == teacher.argmax(-1)))
        found["kl"] = divergence(teacher, logits)
        found["held_out"] = held_out.size
    return found


def divergence(teacher: Float[np.ndarray, "n k"], logits: Float[np.ndarray, "n k"]) -> float:
    """Computes the mean KL divergence from the teacher's softmax to the network's, in nats."""
    p, q = (scipy.special.log_softmax(z.astype(np.float64), axis=-1) for z in (teacher, logits))
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))
