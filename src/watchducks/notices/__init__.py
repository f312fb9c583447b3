"""Notices: what owners are told of what was measured: failovers, alerts, the week's report.

``rules`` says what is worth a letter, ``crier`` is the part that looks and posts.
"""
