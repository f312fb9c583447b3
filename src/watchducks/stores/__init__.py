"""Stores: the only modules that import a database driver.

The seams (what the rest of WatchDucks relies on) are in :mod:`watchducks.stores.interfaces`; each
adapter is proven by the same contract suite in tests/contracts.
"""
