"""Random search: SPOS without children; as many architectures, all drawn at random, are scored."""

from functools import partial

from datafree_nas.search.strategies import spos
from datafree_nas.search.strategy import StrategyBuilder

STRATEGY = StrategyBuilder("random", partial(spos.build, breed=False))
