"""Finds things by name: in the files of a package, in other installed packages, and by a path.

Search spaces, search strategies and teachers are found in this one way, so that adding one is
adding one file.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from types import ModuleType
from typing import Any, Generic, TypeVar

from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.values import Values

T = TypeVar("T")


def imported(place: str, what: str) -> Any:
    """Imports the object that a path names.

    Args:
        place: path of the object, `package.module:name`.
        what: kind of the object, for the message.

    Raises:
        UserError: the module cannot be imported, or has no such name.
    """
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"no {what} at {place!r} ({error}); name it as package.module:name, and see that the "
            "package can be imported from here"
        ) from None


@dataclass(frozen=True)
class Plugins(Generic[T]):
    """All things of one kind.

    Attributes:
        what: the kind in words, such as "search space".
        field: field of the config that names one, for messages; empty where there is none.
        package: dotted name of the package whose modules are looked through.
        group: name of the group of entry points by which other installed packages bring things of
            this kind.
        of_module: returns the things that a module of `package` brings, by name.
        fits: returns whether an object is of this kind.
    """

    what: str
    field: str
    package: str
    group: str
    of_module: Callable[[ModuleType], Mapping[str, T]]
    fits: Callable[[Any], bool]

    @cached_property
    def _built_in(self) -> dict[str, T]:
        found: dict[str, T] = {}
        for file in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            module = importlib.import_module(f"{self.package}.{file.name}")
            found.update(self.of_module(module))
        return found

    @cached_property
    def _installed(self) -> dict[str, metadata.EntryPoint]:
        return {point.name: point for point in metadata.entry_points(group=self.group)}

    def built_in(self) -> list[T]:
        """Returns the things that the package's own modules bring."""
        return list(self._built_in.values())

    def names(self) -> list[str]:
        """Returns all names: of this package first, then of other installed packages."""
        return list(dict.fromkeys([*self._built_in, *self._installed]))

    def find(self, name: str) -> T:
        """Returns the thing of a name.

        Args:
            name: name out of `names()`, or `package.module:name` of something of your own.

        Raises:
            UserError: there is none (near names are suggested), it cannot be imported, or it is of
                another kind.
        """
        try:
            return self._find(name)
        except UserError as error:
            where = f"{self.field}={name!r}: " if self.field else ""
            raise UserError(f"{where}{error}") from None

    def _find(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]
        if name in self._installed:
            place = self._installed[name].value
        elif ":" in name:
            place = name
        else:
            raise UserError(f"no {self.what} {name!r}{did_you_mean(name, self.names())}")
        found = imported(place, self.what)
        if not self.fits(found):
            raise UserError(
                f"{place} is a {type(found).__name__} and no {self.what}; docs/extending.md shows "
                "what it has to be"
            )
        return found

    def values(self) -> Values:
        """Describes the values of a config field that names one of these things."""
        known = self.names()
        words = f"one of {', '.join(map(repr, known))}, or package.module:name of your own"
        return Values(
            words,
            lambda value: isinstance(value, str) and (value in known or ":" in value),
            lambda value: did_you_mean(value, known) if isinstance(value, str) else "",
        )
