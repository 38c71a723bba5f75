"""Search spaces by name. A new file of a space is one more entry of `_SPACES`."""

from typing import Any

from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.spaces.darts import Darts
from datafree_nas.spaces.nasbench201 import NasBench201
from datafree_nas.spaces.nasbench_macro import NasBenchMacro
from datafree_nas.spaces.proxyless import Proxyless
from datafree_nas.spaces.shufflenet import ShuffleNet
from datafree_nas.spaces.space import Space

_SPACES: dict[str, type[Space]] = {
    space.name: space for space in (Darts, NasBench201, NasBenchMacro, Proxyless, ShuffleNet)
}


def create(name: str, **settings: Any) -> Space:
    """Builds a space.

    Args:
        name: of the space.
        **settings: of the space, e.g. `num_classes`, `image_size`, `channels`, `cells`.

    Raises:
        UserError: unknown name, or settings that are no space.
    """
    return find(name)(**settings)


def find(name: str) -> type[Space]:
    """The class of a space; `UserError` for an unknown name."""
    if name not in _SPACES:
        raise UserError(
            f"config.search.space.name={name!r} is unknown{did_you_mean(name, _SPACES)}"
        )
    return _SPACES[name]
