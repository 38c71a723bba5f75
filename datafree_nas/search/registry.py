"""Search strategies by name: every file of `search/strategies/` is found by itself."""

from types import ModuleType
from typing import Any, TypeGuard

from datafree_nas.runtime.plugins import Plugins
from datafree_nas.search.strategy import StrategyBuilder


def _is_builder(value: Any) -> TypeGuard[StrategyBuilder]:
    return isinstance(value, StrategyBuilder)


def _of_module(module: ModuleType) -> dict[str, StrategyBuilder]:
    return {each.name: each for each in vars(module).values() if _is_builder(each)}


_PLUGINS: Plugins[StrategyBuilder] = Plugins(
    "search strategy",
    "config.search.strategy",
    "datafree_nas.search.strategies",
    "datafree_nas.strategies",
    _of_module,
    _is_builder,
)


# find("spos") is the builder of a strategy; find("package.module:BUILDER") that of one of your own
names, values, built_in, find = (
    _PLUGINS.names,
    _PLUGINS.values,
    _PLUGINS.built_in,
    _PLUGINS.find,
)
