"""Certificates: which we hold, and for which names.

:mod:`.store` watches the files under ``data_dir/certificates``; :mod:`.pairs` reads two of them.
"""
