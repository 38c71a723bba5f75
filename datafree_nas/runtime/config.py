"""What the rooms ask of a block of the config: no more than a few of `ConfigDict`'s verbs."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Config(Protocol):
    """Fields by attribute and by name, as in `ml_collections.ConfigDict`."""

    def __getattr__(self, name: str) -> Any:
        """The field `config.name`."""

    def __getitem__(self, name: str) -> Any:
        """The field `config["name"]`."""

    def keys(self) -> Iterable[str]:
        """The names of the fields."""
