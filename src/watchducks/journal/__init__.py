"""The journal: every finished request on disk in the same turn, in the log store soon after.

``records`` is the format, ``segments`` the directory of files, ``spool`` writes them, ``shipper``
reads, enriches (``enrich``, ``visitors``), inserts and deletes them.
"""
