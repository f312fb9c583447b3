"""Settings: one TOML file -> frozen dataclasses, every value checked before anything starts.

Each key is a dataclass field whose metadata holds its ``check``, one of
:mod:`watchducks.settings_values`. The defaults here are those that etc/watchducks.toml documents.
"""

from __future__ import annotations

import dataclasses
import difflib
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from watchducks import settings_values as accept
from watchducks.model.cutover import CutoverRules
from watchducks.model.log_servers import SCHEME, parse_log_servers
from watchducks.model.origins import Address

DEFAULT_PATH: Final = Path("/etc/watchducks/watchducks.toml")
# In node.data_dir, unless security.key_file names another one.
KEY_FILE: Final = "registry.key"
ROLES: Final = ("proxy", "nameserver", "console")

S = TypeVar("S")


class SettingsError(Exception):
    """The configuration is wrong. ``problems`` has one line for each wrong key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _key(check: accept.Check, **options: Any) -> Any:
    return field(metadata={"check": check}, **options)


def _secret(check: accept.Check, default: object) -> Any:
    """A key whose value may hold a password: never in a repr, and ``<key>_file`` may hold it."""
    return field(default=default, repr=False, metadata={"check": check, "secret": True})


# --- the sections -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """:ivar metrics: where /metrics is served without a console; whoever reaches it may ask."""

    name: str = _key(
        accept.node_name, default_factory=lambda: socket.gethostname().split(".")[0] or "node"
    )
    data_dir: Path = _key(accept.path, default=Path("/var/lib/watchducks"))
    roles: tuple[str, ...] = _key(
        accept.some(
            accept.list_of(accept.one_of(*ROLES)), 'roles, of "proxy", "nameserver" and "console"'
        ),
        default=ROLES,
    )
    drain_seconds: float = _key(accept.seconds(0, 86_400), default=30.0)
    workers: int = _key(accept.workers, default=0)
    resolvers: tuple[tuple[Address, int], ...] = _key(accept.list_of(accept.resolver), default=())
    metrics: tuple[str, ...] = _key(accept.list_of(accept.stream_endpoint), default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """:ivar trusted_peers: whose PROXY protocol header, X-Forwarded-For, X-Forwarded-Proto and, for
        want of these two, Forwarded are believed.
    :ivar client_connections: of one client at a time; 0: no limit.
    :ivar client_requests_per_second: of one client, on average; 0: no limit.
    """

    http: tuple[str, ...] = _key(accept.list_of(accept.visitor_endpoint), default=("tcp:80",))
    https: tuple[str, ...] = _key(accept.list_of(accept.visitor_endpoint), default=("tcp:443",))
    addresses: tuple[Address, ...] = _key(accept.list_of(accept.address), default=())
    trusted_peers: tuple[accept.Network, ...] = _key(accept.list_of(accept.network), default=())
    client_connections: int = _key(accept.whole(0, 1_000_000), default=0)
    client_requests_per_second: float = _key(accept.number(0, 1_000_000), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    interval: float = _key(accept.seconds(0.05, 3600), default=2.0)
    timeout: float = _key(accept.seconds(0.05, 60), default=2.0)
    down_after: int = _key(accept.whole(1, 100), default=3)
    up_after: int = _key(accept.whole(1, 100), default=5)
    targets: tuple[str, ...] = _key(
        accept.list_of(accept.url("http", "https", example="URLs, such as http://203.0.113.10/")),
        default=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NameserverSettings:
    """:ivar rrl_per_second: response rate limit for one kind and network; 0: none.
    :ivar nsid: what tells this server from the others (RFC 5001); "": it is not told.
    :ivar secondaries: who gets our zones by AXFR and is told of changes; with their ports.
    :ivar transfer_key: the TSIG key that transfers and NOTIFY are signed with; "": none.
    """

    listen: tuple[str, ...] = _key(
        accept.list_of(accept.dns_endpoint), default=("udp:53", "tcp:53")
    )
    names: tuple[str, ...] = _key(accept.list_of(accept.host), default=())
    addresses: tuple[Address, ...] = _key(accept.list_of(accept.address), default=())
    ttl: int = _key(accept.whole(1, 86400), default=30)
    rrl_per_second: int = _key(accept.whole(0, 1_000_000), default=200)
    nsid: str = _key(accept.server_identity, default="")
    secondaries: tuple[tuple[Address, int], ...] = _key(
        accept.list_of(accept.secondary), default=()
    )
    transfer_key: str = _secret(accept.transfer_key, "")
    health: HealthSettings = field(default_factory=HealthSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    http: tuple[str, ...] = _key(
        accept.list_of(accept.stream_endpoint), default=("tcp:8000:interface=127.0.0.1",)
    )
    url: str = _key(
        accept.url("http", "https", example="a URL, such as https://console.watchducks.example"),
        default="http://127.0.0.1:8000",
    )


_REGISTRY_URL = accept.url(
    "sqlite",
    "mysql+pymysql",
    example="sqlite:///var/lib/watchducks/registry.sqlite or mysql+pymysql://user:password@host/database",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """:ivar url: "" stands for SQLite in the data directory, and is filled in by :func:`parse`."""

    url: str = _secret(_REGISTRY_URL, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsSettings:
    """:ivar url: "" stands for chDB in the data directory, and is filled in by :func:`parse`.
    :ivar cluster: the name of the ClickHouse cluster that the servers of ``url`` are; "": it is one
        server.
    :ivar raw_days: how long rows of single requests are kept; what was counted of them stays.
    :ivar country_file: in MaxMind's format: which country an address is in; None: nobody knows.
    :ivar data_centre_file: networks, one a line, from which no person comes.
    :ivar async_insert: the server collects inserts of several shippers into one part.
    """

    url: str = _secret(accept.log_store, "")
    cluster: str = _key(accept.cluster_name, default="")
    flush_seconds: float = _key(accept.seconds(0.1, 300), default=5.0)
    flush_rows: int = _key(accept.whole(1, 1_000_000), default=10_000)
    # At least some segments, of 8 MiB at most.
    spool_bytes: int = _key(accept.whole(64 * 1024**2, 1024**4), default=1024**3)
    # A month's charts need a month; of ten years nobody filters by single requests.
    raw_days: int = _key(accept.whole(1, 3650), default=30)
    country_file: Path | None = _key(accept.path_or_default, default=None)
    data_centre_file: Path | None = _key(accept.path_or_default, default=None)
    async_insert: bool = _key(accept.flag, default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    url: str = _secret(
        accept.url("memory", "redis", example='"memory:" or redis://:password@host:6379/0'),
        "memory:",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """:ivar directory: of the certificate authority; "": none.
    :ivar ca_file: whom to believe that it is the authority; None: whom the platform believes.
    :ivar eab_kid: the account that the sysadmin has there (RFC 8555 section 7.3.4); "": none.
    :ivar eab_key: the secret that goes with it.
    :ivar preferred_chain: the common name of the issuer that the wanted chain ends with.
    """

    directory: str = _key(accept.directory_url, default="")
    ca_file: Path | None = _key(accept.path_or_default, default=None)
    eab_kid: str = _key(accept.text_or_none, default="")
    eab_key: bytes = _secret(accept.mac_key, b"")
    preferred_chain: str = _key(accept.text_or_none, default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatesSettings(AuthoritySettings):
    """The authority that is asked; without a directory, certificates are files only.

    :ivar fallback: who stands in while the authority is away, or refuses for a while.
    """

    contact: str = _key(accept.email, default="hostmaster@watchducks.example")
    challenge: str = _key(accept.one_of("dns-01", "http-01"), default="dns-01")
    names_per_certificate: int = _key(accept.whole(1, 100), default=1)
    fallback: AuthoritySettings = field(default_factory=AuthoritySettings)

    @property
    def authorities(self) -> tuple[AuthoritySettings, ...]:
        """Who may be asked, the wanted one first."""
        return tuple(one for one in (self, self.fallback) if one.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """:ivar ca_file: PEM of the authorities that the mail server's certificate is from; None: those
    that the platform trusts.
    """

    url: str = _secret(
        accept.url(
            "outbox",
            "smtp",
            "smtps",
            example='"outbox:", smtp://user:password@host:587 or smtps://user:password@host',
        ),
        "outbox:",
    )
    sender: str = _key(accept.email, default="watchducks@watchducks.example")
    ca_file: Path | None = _key(accept.path_or_default, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """:ivar key_file: "" stands for one in the data directory; see :attr:`Settings.key_file`.
    :ivar require_delegation: a site is served when its domain was seen to be delegated to us. If it
        is not given: yes, but for a closed network (``allow_private_origins``) that names no
        resolvers, where there is nobody to ask who delegates what; :func:`parse` fills it in.
    :ivar admins: addresses whose accounts may do everything, beside those that
        ``watchducks admin add`` names.
    """

    admins: tuple[str, ...] = _key(accept.list_of(accept.email), default=())
    allow_private_origins: bool = _key(accept.flag, default=False)
    require_delegation: bool | None = _key(accept.flag, default=None)
    key_file: Path | None = _key(accept.path_or_default, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    node: NodeSettings = field(default_factory=NodeSettings)
    proxy: ProxySettings = field(default_factory=ProxySettings)
    nameserver: NameserverSettings = field(default_factory=NameserverSettings)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    logs: LogsSettings = field(default_factory=LogsSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    certificates: CertificatesSettings = field(default_factory=CertificatesSettings)
    mail: MailSettings = field(default_factory=MailSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)

    @property
    def cutover_rules(self) -> CutoverRules:
        """What a site's state means here."""
        return CutoverRules(
            require_delegation=bool(self.security.require_delegation),
            acme=bool(self.certificates.directory),
            pages=self.certificates.challenge == "http-01",
        )

    @property
    def own_addresses(self) -> frozenset[Address]:
        """The addresses that are us: no site can have its origin there."""
        return frozenset(self.proxy.addresses) | frozenset(self.nameserver.addresses)

    @property
    def has_edges(self) -> bool:
        """Whether processes of their own carry the traffic."""
        roles = self.node.roles
        return self.node.workers > 0 and ("proxy" in roles or "nameserver" in roles)

    @property
    def key_file(self) -> Path:
        """What opens the secrets that lie sealed in the registry."""
        return self.security.key_file or self.node.data_dir / KEY_FILE


# --- reading ------------------------------------------------------------------------------------


def _read(kind: type[S], table: object, where: str, problems: list[str]) -> S | None:
    """Make ``kind`` of a TOML table, collecting a line for each wrong key; None if any was."""
    if not isinstance(table, dict):
        problems.append(f"{where} = {table!r}: accepted is a table [{where}]")
        return None
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    before = len(problems)
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        base = key.removesuffix("_file")
        if key in known and dataclasses.is_dataclass(_section(known[key])):
            values[key] = _read(_section(known[key]), value, name, problems)
        elif key in known:
            _take(known[key], name, value, values, problems)
        elif key != base and base in known and known[base].metadata.get("secret"):
            _take_file(known[base], name, value, values, problems, both=base in table)
        else:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(known)
            problems.append(f"{name} = {_shown(value)}: unknown key; {hint}")
    return None if len(problems) > before else kind(**values)


def _section(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory if item.default_factory is not dataclasses.MISSING else None


def _take(
    item: dataclasses.Field[Any], name: str, value: Any, values: dict[str, Any], problems: list[str]
) -> None:
    try:
        values[item.name] = item.metadata["check"](value)
    except ValueError as error:
        shown = "(not shown)" if item.metadata.get("secret") else _shown(value)
        problems.append(f"{name} = {shown}: accepted is {error}")


def _take_file(
    item: dataclasses.Field[Any],
    name: str,
    value: Any,
    values: dict[str, Any],
    problems: list[str],
    *,
    both: bool,
) -> None:
    if both:
        problems.append(f"{name}: {item.name} is given as well; keep one of them")
        return
    try:
        secret = accept.path(value).read_text("utf-8").strip()
    except (ValueError, OSError) as error:
        problems.append(f"{name} = {_shown(value)}: cannot be read: {error}")
        return
    _take(item, name, secret, values, problems)


def _shown(value: object) -> str:
    text = repr(value).replace("'", '"') if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def parse(document: Mapping[str, object]) -> Settings:
    """Check a parsed TOML document and fill in what follows from other keys.

    :raises SettingsError: with one line for each wrong key.
    """
    problems: list[str] = []
    settings = _read(Settings, dict(document), "", problems)
    if settings is None:
        raise SettingsError(problems)
    node, proxy, nameserver = settings.node, settings.proxy, settings.nameserver
    if "nameserver" in node.roles and not proxy.addresses:
        problems.append(
            "proxy.addresses = []: accepted is at least one address with the role nameserver"
            " (it is what DNS answers for the sites)"
        )
    for role, value in (("nameserver", nameserver.names), ("console", nameserver.names)):
        if role in node.roles and not value:
            problems.append(
                f"nameserver.names = []: accepted is at least one name with the role {role}"
            )
            break
    problems += _wrong_authorities(settings.certificates)
    problems += _wrong_logs(settings.logs)
    if len(nameserver.addresses) > 0 and len(nameserver.addresses) < len(nameserver.names):
        problems.append(
            "nameserver.addresses: accepted is one address for each of nameserver.names"
        )
    for role, name, value in (
        ("proxy", "proxy.http", proxy.http + proxy.https),
        ("nameserver", "nameserver.listen", nameserver.listen),
        ("console", "console.http", settings.console.http),
    ):
        if role in node.roles and not value:
            problems.append(f"{name} = []: accepted is at least one endpoint with the role {role}")
    if problems:
        raise SettingsError(problems)
    registry = settings.registry.url or f"sqlite://{node.data_dir}/registry.sqlite"
    logs = settings.logs.url or f"chdb://{node.data_dir}/logs"
    security = settings.security
    required = security.require_delegation
    if required is None:
        required = not security.allow_private_origins or bool(node.resolvers)
    return dataclasses.replace(
        settings,
        security=dataclasses.replace(security, require_delegation=required),
        registry=RegistrySettings(url=_absolute_sqlite(registry)),
        logs=dataclasses.replace(settings.logs, url=logs),
    )


def _wrong_logs(logs: LogsSettings) -> list[str]:
    is_server = logs.url.startswith(f"{SCHEME}:")
    if not logs.cluster:
        if is_server and len(parse_log_servers(logs.url).hosts) > 1:
            return ["logs.url: accepted is one host, or several with logs.cluster, what they are"]
        return []
    if not is_server:
        return [
            f'logs.cluster = "{logs.cluster}": accepted only with servers in logs.url, such as'
            " clickhouse://user:password@one:9000,other:9000/database"
        ]
    if logs.async_insert:
        # What the server collects of several shippers is no block of which one can tell later
        # whether it came before.
        return ["logs.async_insert = True: accepted only without logs.cluster"]
    return []


def _wrong_authorities(certificates: CertificatesSettings) -> list[str]:
    problems = []
    fallback = certificates.fallback
    for table, one in (("certificates", certificates), ("certificates.fallback", fallback)):
        if bool(one.eab_kid) is not bool(one.eab_key):
            problems.append(f"{table}.eab_kid and eab_key: accepted are both of them, or neither")
    if fallback.directory and not certificates.directory:
        problems.append("certificates.fallback.directory: accepted only beside a first directory")
    return problems


def _absolute_sqlite(url: str) -> str:
    """Give SQLAlchemy the four slashes it wants for an absolute path: ours are always absolute."""
    scheme, _, rest = url.partition("://")
    return f"sqlite:////{rest.lstrip('/')}" if scheme == "sqlite" else url


def load(path: Path) -> Settings:
    """Read ``path``.

    :raises SettingsError: not readable, not TOML, or wrong values.
    """
    return parse(read_document(path))


def read_document(path: Path) -> dict[str, Any]:
    """Return what the TOML file says, unchecked.

    :raises SettingsError: not readable, or not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: not TOML: {error}"]) from error


def embedded(data_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the document used without a file: loopback, unprivileged ports, embedded stores."""
    here = "interface=127.0.0.1"
    return {
        "node": {"name": "local", "data_dir": str(data_dir.absolute())},
        "proxy": {
            "http": [f"tcp:8080:{here}"],
            "https": [f"tcp:8443:{here}"],
            "addresses": ["127.0.0.1"],
        },
        "nameserver": {
            "listen": [f"udp:5300:{here}", f"tcp:5300:{here}"],
            "names": ["ns1.watchducks.example", "ns2.watchducks.example"],
            "addresses": ["127.0.0.1", "127.0.0.1"],
        },
        # Nobody's registrar delegates to this machine's loopback.
        "security": {"require_delegation": False},
    }


def find(path: Path | None) -> Settings:
    """Return the settings of ``path``, of /etc/watchducks/watchducks.toml, or the embedded ones."""
    return parse(find_document(path))


def find_document(path: Path | None) -> dict[str, Any]:
    """Return the document that :func:`find` reads, unchecked."""
    if path is not None:
        return read_document(path)
    if DEFAULT_PATH.exists():
        return read_document(DEFAULT_PATH)
    return embedded(Path("var"))
