"""Search spaces by name: every file of this package that has a `Space` in it is found by itself."""

import dataclasses
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeGuard

from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.plugins import Plugins
from datafree_nas.spaces.space import Space

_OF_THE_TEACHER = ("num_classes", "image_size")


def _is_space(value: Any) -> TypeGuard[type[Space]]:
    return inspect.isclass(value) and issubclass(value, Space) and not inspect.isabstract(value)


def _of_module(module: ModuleType) -> dict[str, type[Space]]:
    """Returns the spaces that a module defines, not those that it imports."""
    found = (each for each in vars(module).values() if _is_space(each))
    return {space.name: space for space in found if space.__module__ == module.__name__}


_PLUGINS: Plugins[type[Space]] = Plugins(
    "search space",
    "config.search.space.name",
    "datafree_nas.spaces",
    "datafree_nas.spaces",
    _of_module,
    _is_space,
)


# find("darts") is the class of a space; find("package.module:Class") that of a space of your own
names, values, find = _PLUGINS.names, _PLUGINS.values, _PLUGINS.find


def create_space(name: str, **settings: Any) -> Space:
    """Builds a space.

    Args:
        name: name of the space, or `package.module:Class` of a space of your own.
        **settings: `num_classes`, `image_size`, and the space's own, such as `channels`, `cells`;
            None stands for the default.

    Raises:
        UserError: unknown name, or settings that the space does not have or cannot have.
    """
    inner = {key: value for key, value in settings.items() if key not in _OF_THE_TEACHER}
    check_settings(name, inner)
    return find(name)(**{key: value for key, value in settings.items() if value is not None})


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Checks the settings of a space, each on its own.

    Args:
        name: name of the space.
        settings: values of `config.search.space` without `name`; None stands for the default.

    Raises:
        UserError: the space has no such setting, or it cannot have such a value.
    """
    known = find(name).settings
    for key, value in settings.items():
        field = f"config.search.space.{key}"
        if key not in known and value is not None:
            raise UserError(f"{field}: {name} has no such setting{did_you_mean(key, known)}")
        if value is not None and not known[key].holds(value):
            raise UserError(f"{field}={value!r} must be {known[key].words}, for {name}")


def with_defaults(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Completes the settings of a space.

    Args:
        name: name of the space.
        settings: values of `config.search.space` without `name`; None stands for the default.

    Returns:
        The values that are not None, and the defaults of the space's other settings.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(find(name))
        if field.name in find(name).settings and field.default is not dataclasses.MISSING
    }
    return defaults | given
