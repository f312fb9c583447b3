"""The names and types that zones usually have: what is asked for where no transfer is allowed.

Collected from what hosting panels make by themselves and what the guides of mail, chat and shop
services tell their customers to add. A name that is not here is found after the change of the name
servers, when somebody asks for it (:mod:`watchducks.lookups.missing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dns import rdatatype


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# What is asked for a host besides its addresses, once it is known that the name is there at all.
HOST_TYPES: Final = (
    rdatatype.A,
    rdatatype.AAAA,
    rdatatype.MX,
    rdatatype.TXT,
    rdatatype.CAA,
    rdatatype.HTTPS,
)
APEX_TYPES: Final = (
    *HOST_TYPES,
    rdatatype.NS,
    rdatatype.SVCB,
    rdatatype.SRV,
    rdatatype.NAPTR,
    rdatatype.SSHFP,
    rdatatype.LOC,
)
# A name below a wildcard is told from one of its own by the same questions.
WILDCARD_TYPES: Final = (*APEX_TYPES, rdatatype.TLSA)
# For a name of a service ("_imaps._tcp"), of which nothing else is known.
SERVICE_TYPES: Final = (rdatatype.TXT, rdatatype.SRV, rdatatype.TLSA)

# Hosts, the most usual ones first: when time runs out it was for the others.
HOSTS: Final = _words(
    """
    www mail smtp imap pop pop3 webmail ftp autodiscover autoconfig mx mx1 mx2 mail1 mail2
    ns ns1 ns2 ns3 ns4 m mobile api app apps shop store blog news forum wiki docs help support
    dev test stage staging beta demo preview cdn static assets img images media files download
    vpn remote ssh git gitlab jenkins ci status monitor stats admin panel cpanel whm webdisk
    cpcalendars cpcontacts plesk phpmyadmin db mysql sql cloud nextcloud owncloud drive
    intranet extranet portal login auth sso id accounts my secure pay payment checkout
    calendar contacts meet chat sip voip lyncdiscover msoid enterpriseregistration
    enterpriseenrollment email mailer newsletter lists list send go link links click track
    em bounce bounces return pm-bounces server host home office web web1 www1 www2 old new
    en de fr ko jp search video events jobs careers about mta-sts
    """
)

# Names that hold text: policies and proofs.
TEXTS: Final = (
    "_dmarc",
    "_mta-sts",
    "_smtp._tls",
    "_domainkey",
    "_spf",
    "_adsp._domainkey",
    "_acme-challenge",
    "_acme-challenge.www",
    "_atproto",
    "_dnslink",
    "_github-challenge",
    "_bimi",
    "default._bimi",
)

# Selectors of DKIM keys (RFC 6376 section 3.1): those that services tell their customers to use.
# Some are CNAMEs, which the answer to a question for TXT shows as well.
DKIM_SELECTORS: Final = _words(
    """
    default google selector1 selector2 k1 k2 k3 s1 s2 s3 mail dkim dkim1 dkim2 email key1 key2
    mandrill mailjet mailgun mg smtp smtpapi pic mta sig1 20161025 20230601 zoho zmail zb1 zb2
    protonmail protonmail2 protonmail3 fm1 fm2 fm3 mesmtp amazonses ses everlytickey1
    everlytickey2 hs1 hs2 cm ctct1 ctct2 sendgrid sib brevo1 brevo2 mxvault turbo-smtp
    postmark pm hey x scph0618 krs klaviyo tm1 tm2 titan1 titan2 hostingermail-a
    hostingermail-b hostingermail-c hostingermail1 yandex spop1024 improvmx ic1 ic2 intercom
    """
)

# Services found by SRV (RFC 2782), in the words of their protocols.
SERVICES: Final = _words(
    """
    _sip._tcp _sip._udp _sip._tls _sips._tcp _sipfederationtls._tcp _xmpp-client._tcp
    _xmpp-server._tcp _xmpps-client._tcp _xmpps-server._tcp _jabber._tcp _caldav._tcp
    _caldavs._tcp _carddav._tcp _carddavs._tcp _imap._tcp _imaps._tcp _pop3._tcp _pop3s._tcp
    _submission._tcp _submissions._tcp _autodiscover._tcp _sieve._tcp _jmap._tcp _matrix._tcp
    _matrix-fed._tcp _minecraft._tcp _ts3._udp _turn._udp _turns._tcp _stun._udp _h323cs._tcp
    _ldap._tcp _ldaps._tcp _kerberos._tcp _kerberos._udp _ntp._udp _stripe-verification
    _vlmcs._tcp _collab-edge._tls _mqtt._tcp
    """
)

# Keys of TLS servers (RFC 6698), mostly of mail exchangers (RFC 7672), as far as those are usual
# names of the zone; and of the web server.
TLSA_HOSTS: Final = ("mail", "mx", "mx1", "mx2", "smtp", "imap", "www", "")
TLSA_SERVICES: Final = ("_25._tcp", "_443._tcp", "_465._tcp", "_587._tcp", "_993._tcp")


def questions() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give each name, with the types to ask for, the most useful first.

    The first type also tells whether the name is there at all.
    """
    yield "", APEX_TYPES
    for name in TEXTS:
        yield name, (rdatatype.TXT,)
    for host in HOSTS:
        yield host, HOST_TYPES
    for selector in DKIM_SELECTORS:
        yield f"{selector}._domainkey", (rdatatype.TXT,)
    for service in SERVICES:
        yield service, (rdatatype.SRV, rdatatype.TXT)
    for service in TLSA_SERVICES:
        for host in TLSA_HOSTS:
            yield f"{service}.{host}".removesuffix("."), (rdatatype.TLSA,)
