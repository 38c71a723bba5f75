"""Search strategies, one in each file; `search.registry` finds all files by itself.

A file has a `StrategyBuilder`, see `search/strategy.py`.
"""
