"""Rows of requests that were answered before they became one: 400, 408, 414, 431 ...

There is a row if what was read of the request names a site, so that its owner sees these, too.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from watchducks.model.routing import Route
from watchducks.model.rows import Row
from watchducks.proxy.context import ProxyContext
from watchducks.proxy.errors import Reason, Refusal, status_of
from watchducks.proxy.heads import Fields
from watchducks.proxy.request import read_authority
from watchducks.proxy.traits import READ_FOR_TRAITS, traits_of_request
from watchducks.routes import UNKNOWN

_log = Logger()


def _only(fields: Fields, wanted: bytes) -> bytes:
    """Return the value of the field ``wanted``; b"" if there is none or more than one."""
    values = [value for name, value in fields if name.lower() == wanted]
    return values[0].strip(b" \t") if len(values) == 1 else b""


def record_refused(
    context: ProxyContext,
    reason: Reason,
    *,
    scheme: str,
    protocol: str,
    address: str,
    method: bytes,
    target: bytes,
    fields: Fields,
    response_bytes: int,
    clock_began: float,
) -> None:
    """Leave the row of a refused request, once it is known of which site it is.

    :param fields: what could be read of them; their Host says for which site it was.
    :param address: the visitor's IP address.
    :param clock_began: when its first byte was read, by the context's clock.
    """
    try:
        host = read_authority(_only(fields, b"host"))
    except Refusal:
        return

    path, _, query = target.partition(b"?")
    traits = traits_of_request({name: [_only(fields, name)] for name in READ_FOR_TRAITS})
    # It has ended, however long it takes to look its site up.
    time_us = int(context.wall() * 1_000_000)
    duration_us = max(0, int((context.clock.seconds() - clock_began) * 1_000_000))

    def record(route: Route) -> None:
        context.sink.record(
            Row(
                time_us,
                route.site_id,
                "request",
                scheme,
                protocol,
                method.decode("ascii", "replace"),
                host,
                path.decode("utf-8", "replace"),
                status_of(reason),
                reason.value,
                address,
                _only(fields, b"user-agent").decode("utf-8", "replace"),
                _only(fields, b"referer").decode("utf-8", "replace"),
                0,
                response_bytes,
                duration_us,
                0,
                query.decode("utf-8", "replace"),
                traits,
            )
        )

    async def look_up() -> None:
        try:
            found = await context.routes.look_up(host)
        except CancelledError:
            raise
        except Exception as error:
            _log.warn("{host} could not be looked up: {error}", host=host, error=error)
            return
        if found is not None:
            record(found)

    route = context.routes.known(host)
    if route is UNKNOWN:
        context.tasks.start(look_up(), "a look-up")
    elif isinstance(route, Route):
        record(route)
