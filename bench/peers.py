"""The origin and the peers: private servers, each on ports of its own, stopped by process id.

Every proxy is set up for the same work and as its own manual advises: one worker on one core,
kept connections to the origin, an access log of every request, TLS 1.2 and 1.3 with one P-256
certificate and session tickets.
"""

from __future__ import annotations

import socket
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine import MEASURED_CORE, OTHER_CORE, Usage, cpu_seconds, on_core, program
from bench.registry import HOST, ZONE
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess
from watchducks.demo.authority import Authority, write_private

# The body that most rows ask for, and the large one.
SMALL_BYTES: Final = 700
LARGE_BYTES: Final = 1024 * 1024
# Kept connections of nginx to the origin: as many as the load has.
_KEPT: Final = 64
# Never ends a kept connection within a run.
_ENDLESS: Final = 1_000_000_000
# Beyond the 2,000 idle visitors of the memory row.
_MAX_CONNECTIONS: Final = 8192
_ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Files:
    """What the servers share.

    :ivar web: the origin's document root. :ivar chain, key: the certificate of the bench's host.
    """

    web: Path
    chain: Path
    key: Path


def make_files(directory: Path, memory: Path) -> Files:
    """:param memory: a directory in RAM, for what the origin serves."""
    for name, size in (("small", SMALL_BYTES), ("large", LARGE_BYTES)):
        (memory / name).write_bytes(b"x" * size)
    # nginx's worker is another user when it is started as root.
    memory.chmod(0o755)
    chain, key = Authority(directory).issue([ZONE, HOST])
    files = Files(memory, directory / "fullchain.pem", directory / "privkey.pem")
    write_private(files.chain, chain)
    write_private(files.key, key)
    # HAProxy wants both in one file.
    write_private(directory / "both.pem", chain + key)
    return files


def _connects(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), _ANSWER_SECONDS):
            return True
    except OSError:
        return False


class Origin(ServerProcess):
    """nginx, answering from files in memory; it counts the requests it got."""

    name = "origin"

    def __init__(self, directory: Path, files: Files) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.port = free_port("tcp")
        self._status_port = free_port("tcp")
        self._config = directory / "nginx.conf"
        self._config.write_text(
            _nginx_frame(
                directory,
                f"""
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=10 inactive=1h;
  open_file_cache_valid 1h;
  server {{
    listen {LOOPBACK}:{self.port} backlog=4096;
    root {files.web};
    default_type text/html;
  }}
  server {{
    listen {LOOPBACK}:{self._status_port};
    location / {{ stub_status; }}
  }}
""",
            )
        )

    def command(self) -> list[str]:
        return on_core(OTHER_CORE, [program("nginx"), "-c", str(self._config)])

    def answers(self) -> bool:
        return _connects(self.port)

    def requests(self) -> int:
        """Return how many requests it has got since it started, this one left out."""
        with socket.create_connection((LOOPBACK, self._status_port), _ANSWER_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while part := connection.recv(4096):
                answer += part
        # "server accepts handled requests\n 16630948 16630948 31070465 \n"
        total = int(answer.partition(b"requests\n")[2].split()[2])
        self._asked += 1
        return total - self._asked

    _asked = 0


class Proxy(ServerProcess):
    """A proxy in front of the origin, alone on its core.

    :ivar ports: "http" and "https".
    """

    ports: dict[str, int]

    @abstractmethod
    def usage(self) -> Usage:
        """Return the CPU time used so far."""

    @abstractmethod
    def finish(self) -> None:
        """Wait until the log rows of all requests so far are where they belong."""


class Peer(Proxy):
    """Somebody else's: it writes its log while it serves."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.ports = {name: free_port("tcp") for name in ("http", "https")}

    def answers(self) -> bool:
        return all(_connects(port) for port in self.ports.values())

    def usage(self) -> Usage:
        return Usage(cpu_seconds(self.pid), 0.0)

    def finish(self) -> None:
        pass


class Nginx(Peer):
    """Debian's nginx."""

    name = "nginx"

    def __init__(self, directory: Path, files: Files, origin: Origin) -> None:
        super().__init__(directory)
        self._config = directory / "nginx.conf"
        self._config.write_text(
            _nginx_frame(
                directory,
                f"""
  access_log {directory}/access.log combined;
  upstream origin {{ server {LOOPBACK}:{origin.port}; keepalive {_KEPT}; }}
  server {{
    listen {LOOPBACK}:{self.ports["http"]} backlog=4096;
    listen {LOOPBACK}:{self.ports["https"]} ssl http2 backlog=4096;
    ssl_certificate {files.chain};
    ssl_certificate_key {files.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
""",
            )
        )

    def command(self) -> list[str]:
        return on_core(MEASURED_CORE, [program("nginx"), "-c", str(self._config)])


class HAProxy(Peer):
    """Debian's HAProxy."""

    name = "HAProxy"

    def __init__(self, directory: Path, files: Files, origin: Origin) -> None:
        super().__init__(directory)
        self._config = directory / "haproxy.cfg"
        both = files.chain.with_name("both.pem")
        self._config.write_text(
            f"""
global
  nbthread 1
  maxconn {_MAX_CONNECTIONS}
  log stdout format raw local0 info
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  log global
  option httplog
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 75s
frontend web
  bind {LOOPBACK}:{self.ports["http"]} backlog 4096
  bind {LOOPBACK}:{self.ports["https"]} ssl crt {both} alpn h2,http/1.1 backlog 4096
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  default_backend origin
backend origin
  server origin {LOOPBACK}:{origin.port} maxconn {_MAX_CONNECTIONS}
"""
        )

    def command(self) -> list[str]:
        return on_core(MEASURED_CORE, [program("haproxy"), "-db", "-f", str(self._config)])


class Caddy(Peer):
    """Debian's Caddy."""

    name = "Caddy"

    def __init__(self, directory: Path, files: Files, origin: Origin) -> None:
        super().__init__(directory)
        self._config = directory / "Caddyfile"
        site = f"""
  log {{
    output file {directory}/access.log {{
      roll_disabled
    }}
  }}
  reverse_proxy {LOOPBACK}:{origin.port}
"""
        self._config.write_text(
            f"""
{{
  admin off
  auto_https off
  storage file_system {directory}/storage
  servers {{
    protocols h1 h2
  }}
}}
http://:{self.ports["http"]} {{{site}}}
https://:{self.ports["https"]} {{
  tls {files.chain} {files.key}
{site}}}
"""
        )

    def command(self) -> list[str]:
        command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(self._config)]
        # As Go's own scheduler is told on a host with one core.
        environment = ["env", "GOMAXPROCS=1", f"HOME={self.directory}"]
        return on_core(MEASURED_CORE, [*environment, *command])


def _nginx_frame(directory: Path, http: str) -> str:
    temporary = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile {4 * _MAX_CONNECTIONS};
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections {_MAX_CONNECTIONS}; }}
http {{
{temporary}
  keepalive_requests {_ENDLESS};
{http}}}
"""
