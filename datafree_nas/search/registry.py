"""Search strategies by name: every file of `search/strategies/` is found by itself."""

from types import ModuleType
from typing import Any, TypeGuard

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.plugins import Plugins
from datafree_nas.runtime.values import Values
from datafree_nas.search.strategy import StrategyBuilder


def _is_builder(value: Any) -> TypeGuard[StrategyBuilder]:
    return isinstance(value, StrategyBuilder)


def _of_module(module: ModuleType) -> dict[str, StrategyBuilder]:
    return {each.name: each for each in vars(module).values() if _is_builder(each)}


_PLUGINS: Plugins[StrategyBuilder] = Plugins(
    "search strategy",
    "datafree_nas.search.strategies",
    "datafree_nas.strategies",
    _of_module,
    _is_builder,
)


def names() -> list[str]:
    """Returns the names of all strategies."""
    return _PLUGINS.names()


def values() -> Values:
    """Describes the values of `config.search.strategy`."""
    return _PLUGINS.values()


def built_in() -> list[StrategyBuilder]:
    """Returns the strategies of this package, whose fields configs/common.py has."""
    return _PLUGINS.built_in()


def find(name: str) -> StrategyBuilder:
    """Returns a strategy's builder.

    Args:
        name: name of the strategy, or `package.module:BUILDER` of a strategy of your own.

    Raises:
        UserError: there is no such strategy.
    """
    try:
        return _PLUGINS.find(name)
    except UserError as error:
        raise UserError(f"config.search.strategy={name!r}: {error}") from None
