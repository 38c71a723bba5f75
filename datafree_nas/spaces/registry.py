"""Search spaces by name. A new file of a space is one more entry of `_SPACES`."""

import dataclasses
from collections.abc import Mapping
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

_OF_THE_TEACHER = ("num_classes", "image_size")


def names() -> list[str]:
    """The names of all spaces."""
    return list(_SPACES)


def create(name: str, **settings: Any) -> Space:
    """Builds a space.

    Args:
        name: of the space.
        **settings: `num_classes`, `image_size`, and the space's own, e.g. `channels`, `cells`.

    Raises:
        UserError: unknown name, or settings that the space does not have or cannot have.
    """
    inner = {key: value for key, value in settings.items() if key not in _OF_THE_TEACHER}
    check_settings(name, inner)
    return find(name)(**settings)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Checks the settings of a space, each on its own.

    Args:
        name: of the space.
        settings: values of `config.search.space` without `name`.

    Raises:
        UserError: the space has no such setting, or it cannot have such a value.
    """
    known = find(name).settings
    for key, value in settings.items():
        field = f"config.search.space.{key}"
        if key not in known:
            raise UserError(f"{field}: {name} has no such setting{did_you_mean(key, known)}")
        if not known[key].holds(value):
            raise UserError(f"{field}={value!r} must be {known[key].words}, for {name}")


def defaults(name: str) -> dict[str, Any]:
    """Values of those settings of a space that have a default, as JSON has them."""
    space = find(name)
    assert dataclasses.is_dataclass(space)
    return {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in dataclasses.fields(space)
        if field.name in space.settings and field.default is not dataclasses.MISSING
    }


def find(name: str) -> type[Space]:
    """The class of a space; `UserError` for an unknown name."""
    if name not in _SPACES:
        raise UserError(
            f"config.search.space.name={name!r} is unknown{did_you_mean(name, _SPACES)}"
        )
    return _SPACES[name]
