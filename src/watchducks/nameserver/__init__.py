"""The authoritative name server: a question in, an answer of the registered zones out.

Read in this order: :mod:`~watchducks.nameserver.records` (names and record sets as data),
:mod:`~watchducks.nameserver.nodes` (a zone's records by name),
:mod:`~watchducks.nameserver.zones` (what is derived from the registered sites),
:mod:`~watchducks.nameserver.answer` (the pure rules), :mod:`~watchducks.nameserver.wire` (octets),
:mod:`~watchducks.nameserver.responder` (one packet, its cache and its failures) and
:mod:`~watchducks.nameserver.listener` (sockets).
"""
