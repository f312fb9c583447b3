"""The nouns of WatchDucks: frozen data and pure rules, without I/O.

Nothing here imports another package of ours (import-linter checks it), so every other package
may import anything from here.
"""
