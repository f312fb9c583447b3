"""Processes that carry traffic, and what the keeper tells them.

The **keeper** (the process that twistd starts) owns registry, certificates, health, console and
shipping. The **nursery** forks the **edges**, which only serve visitors and answer questions, on
sockets that the keeper has bound. One line of messages joins each edge to the keeper: it brings
sites, verdicts and challenges, and takes back what the edge has seen. Rows go by the spool alone.
"""
