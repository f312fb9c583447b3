"""``watchducks demo``: the whole appliance on loopback, with a small origin and a registered site.

It uses only what any owner uses: a configuration file, the JSON API, certificate files.
"""
