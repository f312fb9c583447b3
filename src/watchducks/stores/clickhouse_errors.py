"""What ClickHouse's error codes mean to us, whether a server or chDB reports them."""

from __future__ import annotations

from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

# An error message goes to the log and to pages as one line.
MESSAGE_CHARACTERS = 300

# The server cannot, and for a reason of its own: another one of the same cluster may be able to.
_ELSEWHERE = {
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    244: "UNEXPECTED_ZOOKEEPER_ERROR",
    279: "ALL_CONNECTION_TRIES_FAILED",
    319: "UNKNOWN_STATUS_OF_INSERT",
    999: "KEEPER_EXCEPTION",
    1000: "POCO_EXCEPTION",  # of the network, such as a connection that was reset
}

# "Not now", or "not until the sysadmin has changed something": the same statement may succeed
# later, so no row may be given up for it. All other errors are about the statement or its data.
_NOT_NOW = {
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    164: "READONLY",
    173: "CANNOT_ALLOCATE_MEMORY",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    201: "QUOTA_EXPIRED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    241: "MEMORY_LIMIT_EXCEEDED",
    252: "TOO_MANY_PARTS",
    291: "DATABASE_ACCESS_DENIED",
    394: "QUERY_WAS_CANCELLED",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}


class ServerAway(StoreUnavailable):
    """One server cannot be reached or cannot serve: another one of its cluster is worth a try."""


def store_error(store: str, code: int, text: str) -> StoreUnavailable | StoreRefused:
    """Return the exception for an error that ``store`` reported.

    :param text: the server's message; its stack trace is cut off.
    """
    message = f"{store}: {one_line(text)}"
    if code in _ELSEWHERE:
        return ServerAway(message)
    return StoreUnavailable(message) if code in _NOT_NOW else StoreRefused(message)


def one_line(text: str) -> str:
    """Return the message without the server's stack trace, as one line of bounded length."""
    return " ".join(text.partition("Stack trace:")[0].split())[:MESSAGE_CHARACTERS]
