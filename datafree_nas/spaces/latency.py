"""Tables of the latency of every op of a space on one device, written by `benchmarks.latency`.

A table is a JSON file:

    {
      "space": "nasbench201", "settings": {"num_classes": 10, ...}, "ops": ["none", ...],
      "unit": "ms",
      "fixed": 0.21,                          latency of all that is not searched
      "table": [[0.0, ...], ...],             [positions][ops], 0 where a position lacks the op
      "runtime": "onnxruntime", "threads": 1,       "jax" has null: it chooses them
      "batch": 1, "dtype": "int8", "device": "...",
      "checks": [{"architecture": "...", "macs": 7783040, "measured": 1.3, "predicted": 1.2}, ...],
      "command": "...", "commit": "...", "date": "2026-11-22"
    }

Tables of older versions have no `runtime` and `threads`; JAX ran their ops.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.space import Space

_HINT = "measure one with python -m benchmarks.latency"


def header(space: Space) -> dict[str, Any]:
    """Returns the fields that name the space of a table; `load` checks that they are equal."""
    instance: Any = space  # every space is a dataclass
    settings = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}
    return {"space": space.name, "settings": settings, "ops": space.ops, "unit": "ms"}


def load(path: Path, space: Space) -> Cost:
    """Reads the latency table of a space.

    Args:
        path: JSON file of the table.
        space: space that the table must have been measured for.

    Returns:
        Costs in milliseconds.

    Raises:
        UserError: the file is missing, is no latency table, or is the table of another space.
    """
    content = read_json(path)
    try:
        found = {name: content[name] for name in ("space", "settings", "ops", "unit")}
        cost = Cost(float(content["fixed"]), np.array(content["table"], np.float64))
        differences = _differences(found, _plain(header(space)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no latency table ({error!r}); {_HINT}") from None
    if differences:
        raise UserError(f"{path} is of another space: {', '.join(differences)}; {_HINT}")
    possible = np.all(np.isfinite(cost.table) & (cost.table >= 0)) and np.isfinite(cost.fixed)
    if cost.table.shape != space.has.shape or not possible:
        rows, columns = space.has.shape
        raise UserError(
            f"{path}: the table must have {rows} rows of {columns} numbers, none of them negative; "
            f"{_HINT}"
        )
    return cost


def _plain(value: Any) -> Any:
    """Replaces tuples by lists, as JSON does."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Lists the fields and settings that differ, each as `cells is 5, not 3`."""
    here, there = ({**fields, **fields["settings"], "settings": None} for fields in (found, wanted))
    return [
        f"{name} is {here.get(name)!r}, not {there.get(name)!r}"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
