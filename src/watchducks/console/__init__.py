"""The console: pages, forms and the JSON API, served by Klein.

:mod:`watchducks.console.app` puts it together; :mod:`watchducks.console.http` bounds and protects
every request before a page or the API sees it, and :mod:`watchducks.console.answers` is the one
place where an exception becomes an answer.
"""
