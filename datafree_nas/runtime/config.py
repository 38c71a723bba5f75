"""The type of a block of the config: a few methods of `ConfigDict`, all that this package uses."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Config(Protocol):
    """Fields by attribute and by name, as in `ml_collections.ConfigDict`."""

    def __getattr__(self, name: str) -> Any:
        """Returns the field `config.name`."""

    def __getitem__(self, name: str) -> Any:
        """Returns the field `config["name"]`."""

    def keys(self) -> Iterable[str]:
        """Returns the names of the fields."""
