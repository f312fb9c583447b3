"""The registry's tables. Migrations make them; tests compare the two.

One row a site, an owner and a token; one row a removed zone; and one row, ``registry``, that holds
the revision. Every write begins by locking that row: writes happen one after another, each revision
stands for exactly one change, and nobody ever sees revision 8 before 7.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB

from watchducks.model.accounts import MAX_LABEL_CHARACTERS
from watchducks.model.blocks import MAX_REASON_CHARACTERS as MAX_BLOCK_REASON_CHARACTERS
from watchducks.model.letters import MAX_REASON_CHARACTERS
from watchducks.model.names import MAX_DOMAIN_CHARACTERS, MAX_EMAIL_CHARACTERS, MAX_NAME_CHARACTERS
from watchducks.registry.choices import MAX_PARAMETERS_CHARACTERS

# Case folding makes at most three characters of one (U+0390, for instance).
NAME_KEY_CHARACTERS: Final = 3 * MAX_NAME_CHARACTERS
# "https://" a host name ":65535", and some.
ORIGIN_CHARACTERS: Final = MAX_DOMAIN_CHARACTERS + 19
WORD_CHARACTERS: Final = 16
# SHA-256 in hexadecimal: of a token, which is shown once and kept nowhere, or of an origin's key.
DIGEST_CHARACTERS: Final = 64
LINEAGE_CHARACTERS: Final = 32
LANGUAGE_CHARACTERS: Final = 8
# "America/Argentina/ComodRivadavia" is the longest name there is, half as long.
TIME_ZONE_CHARACTERS: Final = 64
# A label of DNS (settings: node.name).
HOST_CHARACTERS: Final = 64
# 256 bits in base64.
SECRET_CHARACTERS: Final = 43
# An address, or a token's label and number.
ACTOR_CHARACTERS: Final = 320
# "2001:db8:1234::/48", and some.
NETWORK_CHARACTERS: Final = 45
# A kind, a site's number and a time.
TOPIC_CHARACTERS: Final = 120
# A token of an authority, and what goes with it: 43 and 87 characters everywhere.
CHALLENGE_CHARACTERS: Final = 255

metadata = MetaData()

# SQLite needs INTEGER, and AUTOINCREMENT, for ids that are never used again; InnoDB keeps its
# counter through restarts (MariaDB 10.2, MySQL 8.0).
_ID = BigInteger().with_variant(Integer, "sqlite")
# A BLOB of MySQL holds 64 kB, a zone up to four times that.
_BLOB = LargeBinary().with_variant(MEDIUMBLOB(), "mysql")
# Compared by code point: what is equal is decided by model.names.name_key, not by a collation.
_TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "sqlite_autoincrement": True,
}
_ROW = {**_TABLE, "sqlite_autoincrement": False}

registry = Table(
    "registry",
    metadata,
    # Always 1: there is one row.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    # Names this registry among others, so that a follower notices when it is given another one.
    Column("lineage", String(LINEAGE_CHARACTERS), nullable=False),
    # Which key its secrets are sealed with (watchducks.registry.sealing); NULL: it has none yet.
    Column("key_id", LargeBinary),
    CheckConstraint("id = 1", name="ck_registry_one_row"),
    **_ROW,
)

owners = Table(
    "owners",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("email", String(MAX_EMAIL_CHARACTERS), nullable=False),
    # What he reads, a code of the console's; "": not known.
    Column("language", String(LANGUAGE_CHARACTERS), nullable=False, server_default=""),
    # IANA name of the time zone in which he sees figures; "": he has chosen none.
    Column("time_zone", String(TIME_ZONE_CHARACTERS), nullable=False, server_default=""),
    UniqueConstraint("email", name="uq_owners_email"),
    **_TABLE,
)

sites = Table(
    "sites",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(MAX_NAME_CHARACTERS), nullable=False),
    Column("name_key", String(NAME_KEY_CHARACTERS), nullable=False),
    Column("domain", String(MAX_DOMAIN_CHARACTERS), nullable=False),
    # Of a contender (model.sites.Site) "#" and a number follow: so only one site holds a zone, and
    # no question for a zone or a host finds a contender.
    Column("zone", String(MAX_DOMAIN_CHARACTERS), nullable=False),
    Column("origin", String(ORIGIN_CHARACTERS), nullable=False),
    Column("owner_id", _ID, ForeignKey("owners.id", name="fk_sites_owner"), nullable=False),
    Column("cohort", String(MAX_NAME_CHARACTERS), nullable=False),
    Column("state", String(WORD_CHARACTERS), nullable=False),
    Column("revision", BigInteger, nullable=False),
    # POSIX seconds.
    Column("created", BigInteger, nullable=False),
    # model.sites.SiteChoices. The defaults are those of sites that were there before the columns,
    # and of what an earlier version, still running beside this one, inserts.
    Column("origin_tls", String(WORD_CHARACTERS), nullable=False, server_default="verify"),
    Column("origin_pin", String(DIGEST_CHARACTERS), nullable=False, server_default=""),
    Column("redirect_to_https", Boolean, nullable=False, server_default=false()),
    Column("hsts_seconds", Integer, nullable=False, server_default="0"),
    Column("keep_networks", Boolean, nullable=False, server_default=false()),
    Column(
        "query_parameters",
        String(MAX_PARAMETERS_CHARACTERS),
        nullable=False,
        server_default="",
    ),
    Column("honour_gpc", Boolean, nullable=False, server_default=false()),
    Column("ranked", Boolean, nullable=False, server_default=true()),
    # model.zones.ZoneContents, packed. NULL is what every new zone holds: so an earlier version,
    # still running beside this one, inserts it, and MySQL allows a BLOB no other default.
    Column("contents", _BLOB),
    # Who may see it: model.sites.Visibility, and the secret of an unlisted site's link.
    Column("visibility", String(WORD_CHARACTERS), nullable=False, server_default="public"),
    Column("share", String(SECRET_CHARACTERS), nullable=False, server_default=""),
    # POSIX seconds; 0: there is no drill.
    Column("drill_until", BigInteger, nullable=False, server_default="0"),
    # By whoever runs the service.
    Column("suspended", Boolean, nullable=False, server_default=false()),
    # model.signing.Signing, packed; NULL: not signed. Private keys in it are sealed.
    Column("signing", LargeBinary),
    UniqueConstraint("name_key", name="uq_sites_name_key"),
    UniqueConstraint("zone", name="uq_sites_zone"),
    Index("ix_sites_owner_id", "owner_id"),
    Index("ix_sites_revision", "revision"),
    Index("ix_sites_cohort_name_key", "cohort", "name_key"),
    **_TABLE,
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    # "owner": good for the one site, shown at its registration; "admin": for all, site_id is NULL;
    # "account": for the sites of an owner, or for one of them.
    Column("kind", String(WORD_CHARACTERS), nullable=False),
    Column("site_id", _ID, ForeignKey("sites.id", name="fk_tokens_site", ondelete="CASCADE")),
    Column("digest", String(DIGEST_CHARACTERS), nullable=False),
    Column("created", BigInteger, nullable=False),
    # Whose account it is of, what it is good for, what he calls it, and about when it was used.
    Column("email", String(MAX_EMAIL_CHARACTERS), nullable=False, server_default=""),
    Column("scope", String(WORD_CHARACTERS), nullable=False, server_default="write"),
    Column("label", String(MAX_LABEL_CHARACTERS), nullable=False, server_default=""),
    Column("used", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("digest", name="uq_tokens_digest"),
    Index("ix_tokens_site_id", "site_id"),
    Index("ix_tokens_email", "email"),
    **_TABLE,
)

# One row a zone that was removed and not registered again: what followers have to forget.
removals = Table(
    "removals",
    metadata,
    Column("zone", String(MAX_DOMAIN_CHARACTERS), primary_key=True),
    Column("site_id", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("ix_removals_revision", "revision"),
    **_ROW,
)

# What a site's zone held before it was ours: model.scans.KeptScan. One row a site whose scan was
# made; no part of a site's revision, because nobody who follows the sites needs it.
scans = Table(
    "scans",
    metadata,
    Column(
        "site_id",
        _ID,
        ForeignKey("sites.id", name="fk_scans_site", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("made", BigInteger, nullable=False),
    Column("records", _BLOB, nullable=False),
    Column("report", _BLOB, nullable=False),
    # NULL: none.
    Column("offers", _BLOB),
    **_ROW,
)

# How far each site's cutover has come: model.cutover.Progress. No part of a site's revision, but
# for the state, which is in its row. A site that an earlier version registered has no row at first.
cutovers = Table(
    "cutovers",
    metadata,
    Column(
        "site_id",
        _ID,
        ForeignKey("sites.id", name="fk_cutovers_site", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # When to look next, POSIX seconds.
    Column("due", BigInteger, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    Index("ix_cutovers_due", "due"),
    **_ROW,
)

# What owners are told by mail: model.letters.PostedLetter. A letter about a site that has left is
# sent all the same, so it refers to none.
letters = Table(
    "letters",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("kind", String(WORD_CHARACTERS), nullable=False),
    Column("recipient", String(MAX_EMAIL_CHARACTERS), nullable=False),
    Column("site_id", BigInteger),
    Column("language", String(LANGUAGE_CHARACTERS), nullable=False),
    # NULL: it has none.
    Column("topic", String(TOPIC_CHARACTERS)),
    # JSON.
    Column("facts", _BLOB, nullable=False),
    # POSIX seconds, as are the next two.
    Column("posted", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    # When it is tried next; of one that is not tried any more, when that was decided.
    Column("due", BigInteger, nullable=False),
    Column("state", String(WORD_CHARACTERS), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", String(MAX_REASON_CHARACTERS), nullable=False),
    UniqueConstraint("topic", name="uq_letters_topic"),
    Index("ix_letters_state_due", "state", "due"),
    Index("ix_letters_recipient", "recipient"),
    Index("ix_letters_site_id", "site_id"),
    **_TABLE,
)

# What owners want no letters about: model.subjects.Subscription. It refers to no site, because some
# letters are about none (0).
unwanted = Table(
    "unwanted",
    metadata,
    Column("email", String(MAX_EMAIL_CHARACTERS), primary_key=True),
    Column("site_id", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", String(WORD_CHARACTERS), primary_key=True),
    Index("ix_unwanted_site_id", "site_id"),
    **_ROW,
)

# The keys of visitors' ids (watchducks.registry.visitor_keys), each until its day is over.
visitor_keys = Table(
    "visitor_keys",
    metadata,
    # UTC, since 1970.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
    **_ROW,
)

# Who signs in: a link's secret, until it is used, and a session's; of both only the digest.
links = Table(
    "links",
    metadata,
    Column("digest", String(DIGEST_CHARACTERS), primary_key=True),
    Column("email", String(MAX_EMAIL_CHARACTERS), nullable=False),
    # POSIX seconds.
    Column("expires", BigInteger, nullable=False),
    Index("ix_links_email", "email"),
    Index("ix_links_expires", "expires"),
    **_ROW,
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(DIGEST_CHARACTERS), primary_key=True),
    Column("email", String(MAX_EMAIL_CHARACTERS), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_sessions_email", "email"),
    Index("ix_sessions_expires", "expires"),
    **_ROW,
)

# Whose accounts may do everything.
admins = Table(
    "admins",
    metadata,
    Column("email", String(MAX_EMAIL_CHARACTERS), primary_key=True),
    # As an owner's.
    Column("time_zone", String(TIME_ZONE_CHARACTERS), nullable=False, server_default=""),
    **_ROW,
)

# Who and what may not be registered: model.blocks.Block.
blocks = Table(
    "blocks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("kind", String(WORD_CHARACTERS), nullable=False),
    Column("value", String(MAX_EMAIL_CHARACTERS), nullable=False),
    Column("reason", String(MAX_BLOCK_REASON_CHARACTERS), nullable=False),
    Column("made_by", String(ACTOR_CHARACTERS), nullable=False),
    # POSIX seconds.
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("value", name="uq_blocks_value"),
    **_TABLE,
)

# What each host said last of itself: model.hosts.HostReport. Nobody follows it.
hosts = Table(
    "hosts",
    metadata,
    Column("name", String(HOST_CHARACTERS), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("report", _BLOB, nullable=False),
    **_ROW,
)

# Who did what: model.accounts.Entry. It tells of sites that have left, too, so it refers to none.
audit = Table(
    "audit",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(ACTOR_CHARACTERS), nullable=False),
    Column("network", String(NETWORK_CHARACTERS), nullable=False),
    Column("act", String(WORD_CHARACTERS), nullable=False),
    Column("site_id", BigInteger),
    Column("site", String(MAX_NAME_CHARACTERS), nullable=False),
    # JSON.
    Column("details", _BLOB, nullable=False),
    Index("ix_audit_site_id", "site_id"),
    Index("ix_audit_at", "at"),
    **_TABLE,
)

# model.challenges.Challenge: answers that name servers and proxies have to give. No part of any
# revision: whoever gives them reads all of them each second, and most of the time there are none.
challenges = Table(
    "challenges",
    metadata,
    Column("name", String(MAX_DOMAIN_CHARACTERS), primary_key=True),
    Column("token", String(CHALLENGE_CHARACTERS), primary_key=True),
    Column("kind", String(WORD_CHARACTERS), nullable=False),
    Column("value", String(CHALLENGE_CHARACTERS), nullable=False),
    # POSIX seconds.
    Column("created", BigInteger, nullable=False),
    **_ROW,
)

# Certificates with their keys, sealed. ``sealed`` is NULL where one was dropped, so that followers
# hear of it, until it goes some weeks later.
certificates = Table(
    "certificates",
    metadata,
    Column("name", String(MAX_DOMAIN_CHARACTERS), primary_key=True),
    # Counts the changes of this table alone.
    Column("revision", BigInteger, nullable=False),
    # Whose it is: what the keeper calls the authority, for its revocation.
    Column("authority", String(DIGEST_CHARACTERS), nullable=False),
    Column("sealed", _BLOB),
    # When it was dropped, POSIX seconds; NULL: it was not.
    Column("dropped", BigInteger),
    Index("ix_certificates_revision", "revision"),
    Index("ix_certificates_dropped", "dropped"),
    **_ROW,
)

# What the keeper of certificates remembers, sealed: its accounts' keys, the orders under way and
# what failed. A name is that of a domain or a bundle, after a word that says what it is.
acme = Table(
    "acme",
    metadata,
    Column("name", String(MAX_DOMAIN_CHARACTERS + WORD_CHARACTERS), primary_key=True),
    Column("sealed", _BLOB, nullable=False),
    **_ROW,
)

# What the keeper of certificates is asked for: another attempt for this zone; "": other keys
# of our accounts at authorities.
wishes = Table(
    "wishes",
    metadata,
    Column("zone", String(MAX_DOMAIN_CHARACTERS), primary_key=True),
    **_ROW,
)

# Who does alone what only one may do at a time, and until when (POSIX seconds).
leases = Table(
    "leases",
    metadata,
    Column("name", String(WORD_CHARACTERS), primary_key=True),
    Column("holder", String(DIGEST_CHARACTERS), nullable=False),
    Column("until", BigInteger, nullable=False),
    **_ROW,
)
