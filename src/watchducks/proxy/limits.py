"""Every limit of the proxy, with the reason for its number.

One object rather than constants of each module, so that a test can wait milliseconds where a
visitor waits seconds, without patching anything.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    # --- what a visitor may send ---

    # What Chromium and nginx (large_client_header_buffers) allow in practice; longer ones are 414.
    target_bytes: int = 8 * 1024
    # Four full Set of cookies (4 KiB each) and room for the rest; nginx's default total is 32 KiB.
    head_bytes: int = 32 * 1024
    # Browsers send about 20, long proxy chains 40; Apache's LimitRequestFields is 100.
    head_fields: int = 100
    # A head fits one or two packets: 15 s is a bad mobile network, not a person. Against slowloris.
    head_seconds: float = 15.0
    # Between requests of one connection: nginx's keepalive_timeout.
    visitor_idle_seconds: float = 75.0
    # Without one byte of a request body that we wait for: nginx's client_body_timeout.
    request_body_idle_seconds: float = 60.0
    # And on average, beyond that time: an exchange of its origin is held meanwhile, and a byte a
    # minute would hold it for ever. The MinRate of Apache's mod_reqtimeout; any modem is faster.
    request_body_bytes_per_second: float = 500.0
    # With a full send buffer of which the visitor takes nothing: a very slow phone still takes the
    # 64 KiB that lie between two of our checks in this time.
    visitor_stalled_seconds: float = 120.0
    # To take what is still in the send buffer when we close: 64 KiB at 2 KiB/s.
    flush_seconds: float = 30.0
    # After our last byte, for the visitor to stop sending: closing earlier would make its kernel
    # throw away the answer that it has not read yet (RFC 9112 section 9.6).
    linger_seconds: float = 2.0
    # For a whole ClientHello; browsers send it in the first packet.
    client_hello_seconds: float = 10.0
    # Post-quantum key shares make a hello of 2 KiB; 64 KiB is four times TLS's largest record.
    client_hello_bytes: int = 64 * 1024
    # From the ClientHello to the visitor's last word: two round trips and, on a slow phone, 100 ms
    # of arithmetic; as long again as for the hello.
    handshake_seconds: float = 10.0

    # --- what we do with an origin ---

    # A SYN that got no answer is sent again after 1 and 3 s; a server that needs more is down.
    connect_seconds: float = 5.0
    # Long polls are held for up to 60 s and answered then; Cloudflare waits 100 s (524), too.
    first_byte_seconds: float = 100.0
    # Event streams commonly send something every 15 to 60 s. How long they last has no limit.
    answer_idle_seconds: float = 300.0
    # A WebSocket on which neither side sent anything: libraries ping every 20 to 60 s. How long it
    # lasts has no limit.
    tunnel_idle_seconds: float = 300.0
    # With a full send buffer of which the origin takes nothing.
    origin_stalled_seconds: float = 60.0
    # Shorter than the 60 and 75 s after which Apache's and nginx's clients close idle connections.
    pooled_idle_seconds: float = 50.0
    # A request that cannot be repeated uses a kept connection only this soon after its last use:
    # the shortest common keep-alive time of a server is 2 s (gunicorn).
    pooled_fresh_seconds: float = 1.0
    # Connections to one origin that are kept for that long: a site needs few of them, and an origin
    # with a process a connection (Apache's prefork has 150 to 400) holds one for each ...
    pooled_per_origin: int = 64
    # ... while what a busy moment made beyond them, up to `origin_exchanges`, is kept only this
    # long. Under a steady load each is used again within moments; closing it would make that many
    # connections anew whenever answers come in a bunch. It is Apache's own KeepAliveTimeout.
    pooled_burst_seconds: float = 5.0
    # All origins' kept connections: file descriptors are shared with the visitors.
    pooled_total: int = 2048
    # Exchanges with one origin at the same time: a dead one then holds at most so many visitors.
    origin_exchanges: int = 512
    # Of these, those whose request's body is still to come: a visitor decides how long that takes.
    # Half, so that whoever wants to read can. A form comes whole, and counts for a moment.
    origin_uploads: int = 256
    # Connections to one origin that are being made at the same time. A healthy one takes 64 in one
    # round trip; one that drops packets then holds these and the line, not all its exchanges.
    origin_connecting: int = 64
    # Visitors in line for one of these: with them as many as may be served at once, so that a burst
    # which finds no kept connection is served. And for how long: longer than a burst, shorter than
    # the time in which people press reload.
    origin_queue: int = 448
    origin_queue_seconds: float = 5.0
    # A head of an answer: large ones carry many cookies and a Content-Security-Policy.
    answer_head_bytes: int = 64 * 1024
    answer_head_fields: int = 200

    # --- a connection passed through untouched ---

    # Neither side sent anything: WebSockets and long polls behind TLS send a ping each minute.
    passthrough_idle_seconds: float = 300.0

    # --- stopping ---

    # Exchanges, tunnels and downloads that are under way when the proxy stops may end within this;
    # `node.drain_seconds` sets it. Where nobody takes over, a stop is an outage for as long as it
    # takes, and whoever is cut off after it (a WebSocket, a download) connects again by himself.
    drain_seconds: float = 30.0
    # Where somebody does take over (the sockets outlive us), a visitor who is asking nothing may
    # still ask once: his request may be under way. A page's follow-up requests come within it.
    drain_idle_seconds: float = 2.0
