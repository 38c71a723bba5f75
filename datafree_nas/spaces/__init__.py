"""Search spaces: what can be found, as one supernet and as networks of their own."""

from datafree_nas.spaces.registry import (
    check_settings,
    create_space,
    find,
    names,
    values,
    with_defaults,
)
from datafree_nas.spaces.space import Space

__all__ = [
    "Space",
    "check_settings",
    "create_space",
    "find",
    "names",
    "values",
    "with_defaults",
]
