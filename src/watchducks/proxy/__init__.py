"""The visitor's path: from a listening socket to the site's origin and back.

Walk it in this order: :mod:`.service` listens; :mod:`.accept` decides what becomes of a TLS
connection (:mod:`.passthrough` carries one untouched); :mod:`.http1` turns bytes into a
:class:`~watchducks.proxy.request.Request`; :mod:`.exchange` carries it over a connection of
:mod:`.pool` (:mod:`.origin` speaks to the origin) and leaves exactly one row.
"""
