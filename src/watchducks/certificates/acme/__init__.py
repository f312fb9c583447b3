"""Certificates by ACME (RFC 8555), on the reactor.

:mod:`.libraries` is the only module that imports txacme and acme; :mod:`.session` speaks signed
HTTP; :mod:`.client` has accounts and orders; :mod:`.renewal` says when a certificate is due.
"""
