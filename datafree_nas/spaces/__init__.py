"""Search spaces: what can be found, as one supernet and as networks of their own."""

from datafree_nas.spaces.registry import create, find
from datafree_nas.spaces.space import Space

__all__ = ["Space", "create", "find"]
