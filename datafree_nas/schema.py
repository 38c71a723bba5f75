"""Checks every field of a config; docs/configs.md shows the values beside the fields.

The values that a field may have are listed beside the code that reads it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from datafree_nas import spaces
from datafree_nas.data import sources
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, integer, text
from datafree_nas.search import registry as strategies
from datafree_nas.search import run as search
from datafree_nas.students import rows
from datafree_nas.synthesis import synthesize
from datafree_nas.teachers import configured
from datafree_nas.training import recipe


def _below(block: str, fields: Mapping[str, Values]) -> dict[str, Values]:
    return {f"{block}.{name}": values for name, values in fields.items()}


# all fields, but for the settings of a space and the fields of a strategy of another package
FIELDS: dict[str, Values] = {
    "name": text(),
    "seed": integer(0, 2**31 - 1),
    **_below("data", sources.FIELDS),
    **_below("teacher", configured.FIELDS),
    **_below("teacher.train", recipe.FIELDS),
    **_below("synthesis", synthesize.FIELDS),
    "search.space.name": spaces.values(),
    **_below("search", search.fields()),
    **_below("search.train", recipe.FIELDS),
    **_below("student", rows.FIELDS),
    **_below("student.train", recipe.FIELDS),
    **_below("student.real_train", recipe.FIELDS),
}


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Brings a nested config into one level: `{"a": {"b": 1}}` becomes `{"a.b": 1}`.

    Args:
        tree: config or block of it.
        prefix: path that all names begin with.

    Returns:
        Values by dotted path, with lists for tuples, as JSON gives them back.
    """
    if isinstance(tree, dict | ConfigDict):
        flat: dict[str, Any] = {}
        for key in tree:
            flat.update(flatten(tree[key], f"{prefix}.{key}" if prefix else key))
        return flat
    return {prefix: _as_json(tree)}


def _as_json(value: Any) -> Any:
    return [_as_json(each) for each in value] if isinstance(value, list | tuple) else value


def check(config: ConfigDict) -> None:
    """Checks the value of every field on its own.

    Args:
        config: experiment, see `configs/common.py`; need not be complete.

    Raises:
        UserError: a field is missing, unknown, or has a value that it may not have; names the
            first such field, its value, and what is possible.
    """
    found = flatten(config)
    for field in sorted(FIELDS.keys() - found.keys()):
        raise UserError(f"the config has no field config.{field}; start from configs/common.py")
    own, needed = _of_strategy(found["search.strategy"])
    for field in sorted(needed - found.keys()):
        raise UserError(
            f"the config has no field config.{field}, which its strategy needs and has no default "
            "for; set it in the config's file"
        )
    known = FIELDS | own
    settings = {key for key in found if key.startswith("search.space.")} - {"search.space.name"}
    for field in sorted(found.keys() - known.keys() - settings):
        raise UserError(
            f"the config has a field config.{field}, which nothing reads; remove it, or see docs/"
            "configs.md for its right name"
        )
    for problem in _problems(found, known):
        raise UserError(problem)
    spaces.check_settings(
        config.search.space.name, {key.rpartition(".")[2]: found[key] for key in settings}
    )


def _of_strategy(name: Any) -> tuple[dict[str, Values], set[str]]:
    """Returns the values of the fields of a strategy, and the fields that have no default."""
    if not FIELDS["search.strategy"].holds(name):
        return {}, set()  # the value itself is reported with the other values
    builder = strategies.find(name)
    fields = _below(f"search.{builder.name}", builder.fields)
    return fields, fields.keys() - {f"search.{builder.name}.{field}" for field in builder.defaults}


def _problems(found: dict[str, Any], known: dict[str, Values]) -> Iterator[str]:
    for field, values in known.items():
        if field in found and not values.holds(found[field]):
            shown = repr(found[field])
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            hint = values.hint(found[field])
            yield f"config.{field}={shown} must be {values.words}{hint}"
