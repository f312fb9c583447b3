"""One packet in, one packet (or none) out: the rules in front of the answer, and its cache.

The rules, in the order in which they are tried:

======================================  ==================================
the packet                              the response
======================================  ==================================
shorter than a header, or QR set        none (else two servers could argue for ever)
opcode other than QUERY                 NOTIMP, a header alone
cannot be read                          FORMERR, a header alone
EDNS version other than 0               BADVERS
no question, but a cookie               a cookie; BADCOOKIE if what was shown is not valid
anything else                           see :mod:`watchducks.nameserver.answer`
about a signed zone, keys away          SERVFAIL, a header alone
the same, too many signatures made      TC by UDP, SERVFAIL by TCP
our own failure while answering         SERVFAIL, a header alone; logged
======================================  ==================================

What is to be sent by UDP then passes :mod:`watchducks.nameserver.guard`.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.names import dns

from watchducks.model.verdicts import Verdicts
from watchducks.nameserver import wire
from watchducks.nameserver.answer import Answer, answer
from watchducks.nameserver.cookies import CLIENT_OCTETS, OPTION_HEAD_OCTETS
from watchducks.nameserver.counts import Counts, Subject
from watchducks.nameserver.guard import (
    MAX_AMPLIFICATION,
    Kind,
    Network,
    RateLimit,
    Verdict,
    network_of,
)
from watchducks.nameserver.identity import Identity
from watchducks.nameserver.misses import Misses
from watchducks.nameserver.options import COOKIE, NOTHING, Options
from watchducks.nameserver.replies import (
    MAX_CACHED_OCTETS,
    Exact,
    Ready,
    ReplyCache,
    cache_key,
    cookie_octets,
    make_ready,
)
from watchducks.nameserver.signatures import CannotSign, TooManySignatures
from watchducks.nameserver.signing import Signer
from watchducks.nameserver.wire import Malformed, Query
from watchducks.nameserver.zones import ZoneTable

# What EDNS options of ours may add to a response: a cookie, an NSID of 63, the idle limit.
MAX_OPTIONS_OCTETS: Final = 128
# One report of a failure this often, with the number of those left out: a packet that makes us
# fail can be sent a hundred thousand times a second.
FAILURE_REPORT_SECONDS: Final = 10.0

_OUTSIDE: Final = b""
_NO_QUESTION: Final = bytes(2)
# Others (the address of an ALIAS that is not known yet) may be different in a moment.
_LASTING: Final = frozenset((dns.OK, dns.ENAME, dns.EREFUSED))


class Responder:
    """Answers packets, for any number of sockets. Never raises.

    Ready responses are kept by question and kind of EDNS, so that a repeated question costs a
    look-up and the patching of what differs; and the octets of a few by those of the question, so
    that the most frequent ones cost the look-up alone. They are forgotten with every change of a
    zone or a verdict, which both are rarer than questions by orders of magnitude.

    :ivar tally: response code -> questions, since the start.
    :ivar made: responses that were not ready and had to be made.
    """

    _log = Logger()

    def __init__(
        self,
        zones: ZoneTable,
        verdicts: Verdicts,
        *,
        clock: IReactorTime,
        options: Options | None = None,
        limit: RateLimit | None = None,
        counts: Counts | None = None,
        identity: Identity | None = None,
        signer: Signer | None = None,
        misses: Misses | None = None,
    ) -> None:
        """
        :param options: None: they are ignored, and everyone is taken to be where he says he is.
        :param limit: None: no response rate limiting.
        :param counts: None: nothing is counted.
        :param identity: None: nobody is told which server this is.
        :param signer: None: no zone is signed.
        :param misses: None: nobody wants to know which names are asked for in vain.
        """
        self._zones = zones
        self._verdicts = verdicts
        self._signer = signer
        self._misses = misses
        self._clock = clock
        self._options = options
        self._limit = limit
        self._counts = counts
        self._identity = identity
        self._cache = ReplyCache()
        self._failures = 0
        self._reported: float | None = None
        self.tally: Counter[int] = Counter()
        self.made = 0

    def respond(self, data: bytes, host: str = "", *, datagram: bool) -> bytes | None:
        """Return the response to one packet; None: let it go unanswered.

        :param host: the client's address; "": it has none.
        :param datagram: it came by UDP, so the response has limits of its own.
        """
        if not wire.is_query(data):
            return None
        try:
            return self._cached(data, host, datagram=datagram)
        except Malformed:
            rcode = dns.EFORMAT
        except (CannotSign, TooManySignatures):
            rcode = dns.ESERVER
        except Exception:  # whatever it is, it concerns this packet alone
            self._report_failure()
            rcode = dns.ESERVER
        return self._bare(data, host, rcode, datagram=datagram)

    def _cached(self, data: bytes, host: str, *, datagram: bool) -> bytes | None:
        cache = self._cache
        cache.keep_up(self._zones.revision, self._verdicts.revision, self._clock.seconds())
        if datagram:
            exact = cache.exact.get(data[2:])
            if exact is not None:
                return self._again(data, exact, b"", host, known=False)
            octets = cookie_octets(data)
            exact = cache.cookie.get(data[2:-octets]) if octets else None
            if exact is not None and self._options is not None:
                option, known = self._options.cookies.respond(data[-octets:], host)
                # One that is not ours, or old, makes the asker a stranger: other limits are his.
                if known or octets == CLIENT_OCTETS:
                    return self._again(data, exact, option, host, known=known)
        key = cache_key(data)
        ready = None
        if key is not None:
            ready = cache.replies.get(key) or cache.others.get(key)
        if key is None or ready is None:
            return self._answered(data, key, host, datagram=datagram)
        # The key's own question is the packet's, so it ends where the key says (see cache_key).
        end = data.find(0, wire.HEADER_OCTETS) + 5
        octets, options = wire.MIN_UDP_OCTETS, b""
        if len(data) > end:
            octets = data[end + 3] << 8 | data[end + 4]
            options = data[end + wire.OPT_OCTETS :]
        response = self._sent(data, end, octets, options, ready, host, datagram=datagram)
        heard = not options or self._options is not None
        if datagram and heard and response is not None and not response[2] & wire.TC:
            cache.remember_exact(data, options, key, response, ready)
        return response

    def _again(
        self, data: bytes, exact: Exact, cookie: bytes, host: str, *, known: bool
    ) -> bytes | None:
        """Return the response to a datagram that came before.

        :param cookie: the option to be sent; b"": none.
        """
        verdict = self._account(exact.ready, network_of(host), known=known)
        if verdict is Verdict.SEND:
            return data[:2] + exact.response + cookie[OPTION_HEAD_OCTETS:]
        if verdict is Verdict.DROP:
            return None
        end = data.find(0, wire.HEADER_OCTETS) + 5
        response = exact.ready.render(data, end, cut=True)
        return _with_options(response, cookie) if cookie else response

    def _answered(
        self, data: bytes, key: bytes | None, host: str, *, datagram: bool
    ) -> bytes | None:
        self.made += 1
        if data[2] & wire.OPCODE:
            return self._bare(data, host, dns.ENOTIMP, datagram=datagram)
        if data[4:6] == _NO_QUESTION and self._options is not None:
            return self._cookie_alone(self._options, data, host, datagram=datagram)
        query = wire.parse_query(data)
        edns = query.edns
        if edns is not None and edns.version != 0:
            subject = Subject(_OUTSIDE, 0, wire.BADVERS)
            response = wire.bad_version(query, data)
            return response if self._may_send(subject, host, datagram=datagram) else None
        try:
            ready = self._ready(query, key, data, datagram=datagram)
        except TooManySignatures:
            if not datagram:
                raise
            ready = make_ready(wire.come_by_tcp(query), query, _OUTSIDE, spare=False)
        size, options = (edns.udp_octets, edns.options) if edns else (wire.MIN_UDP_OCTETS, b"")
        return self._sent(data, query.end + 4, size, options, ready, host, datagram=datagram)

    def _cookie_alone(
        self, options: Options, data: bytes, host: str, *, datagram: bool
    ) -> bytes | None:
        """Respond to who asks nothing but for a cookie, or for the state of his (RFC 7873 5.4)."""
        asked = wire.parse_without_question(data).options
        cookie = wire.read_options(asked).get(COOKIE)
        if cookie is None:
            raise Malformed("neither a question nor a cookie")
        extra = options.respond(asked, host, datagram=datagram)
        valid = extra.known or len(cookie) == CLIENT_OCTETS
        rcode = dns.OK if valid else wire.BADCOOKIE
        if not self._may_send(Subject(_OUTSIDE, 0, rcode), host, datagram=datagram):
            return None
        return wire.without_question(data, rcode, extra.options)

    def _ready(self, query: Query, key: bytes | None, data: bytes, *, datagram: bool) -> Ready:
        """Answer a question, and remember the answer if it may come again."""
        question = query.question
        if question.cls == dns.CH and self._identity is not None:
            return make_ready(self._identity.reply(query), query, _OUTSIDE, spare=False)
        answered = self._answer(query, datagram=datagram)
        zone = _OUTSIDE if answered.zone is None else answered.zone.apex
        reply = wire.encode(query, answered, wire.MAX_TCP_OCTETS - MAX_OPTIONS_OCTETS)
        absent = answered.authoritative and answered.zone is not None and answered.node is None
        ready = make_ready(reply, query, zone, spare=bool(answered.additional), absent=absent)
        if (
            key is not None
            # A label may hold a zero octet; then the key does not end where the name does.
            and data.find(0, wire.HEADER_OCTETS) + 1 == query.end
            and query.end + 4 + len(reply.sections) <= MAX_CACHED_OCTETS
            and answered.rcode in _LASTING
        ):
            good = bool(answered.answers) and self._exists(question.name)
            self._cache.remember(key, ready, good=good)
        return ready

    def _answer(self, query: Query, *, datagram: bool) -> Answer:
        answered = answer(self._zones, self._verdicts, query.question)
        if answered.rcode == dns.ENAME and answered.zone is not None and self._misses is not None:
            self._misses.note(answered.zone.apex, answered.last)
        if self._signer is None:
            return answered
        return self._signer.sign(query, answered, datagram=datagram)

    def _exists(self, name: bytes) -> bool:
        """Whether the zone has records of that very name, and not only a wildcard for it."""
        found = self._zones.find(name)
        return found is not None and self._zones.node(*found) is not None

    def _sent(
        self,
        data: bytes,
        end: int,
        size: int,
        asked: bytes,
        ready: Ready,
        host: str,
        *,
        datagram: bool,
    ) -> bytes | None:
        """Return what is sent of ``ready`` to this client.

        :param end: where the question ends in ``data``.
        :param size: what the client takes in one datagram, as it says.
        :param asked: its EDNS options.
        """
        extra = NOTHING
        if asked and self._options is not None:
            extra = self._options.respond(asked, host, datagram=datagram)
        verdict = self._account(ready, network_of(host), known=extra.known or not datagram)
        if verdict is Verdict.DROP:
            return None
        cut = verdict is Verdict.TRUNCATE
        if datagram and not cut:
            most = min(max(size, wire.MIN_UDP_OCTETS), wire.MAX_UDP_OCTETS)
            if not extra.known and self._options is not None:
                most = min(most, MAX_AMPLIFICATION * len(data))
            room = most - end - len(extra.options)
            if len(ready.sections) > room and ready.spare:
                ready = self._smaller(data, most - len(extra.options), ready)
            cut = len(ready.sections) > room
        response = ready.render(data, end, cut=cut)
        return _with_options(response, extra.options) if extra.options else response

    def _account(self, ready: Ready, network: Network, *, known: bool) -> Verdict:
        """Count the question, and return what becomes of its response.

        :param known: the client is where it says it is.
        """
        self.tally[ready.subject.rcode] += 1
        if self._counts is not None:
            self._counts.add(ready.subject, network)
        if known or self._limit is None:
            return Verdict.SEND
        return self._limit.verdict(network, ready.kind)

    def _smaller(self, data: bytes, limit: int, whole: Ready) -> Ready:
        """Return the same reply without additional records, if that is within ``limit``."""
        query = wire.parse_query(data)
        reply = wire.encode(query, self._answer(query, datagram=True), limit)
        return make_ready(reply, query, whole.kind.zone, spare=False)

    def _bare(self, data: bytes, host: str, rcode: int, *, datagram: bool) -> bytes | None:
        """Return a response of nothing but a header, unless there were too many of them."""
        subject = Subject(_OUTSIDE, 0, rcode)
        if not self._may_send(subject, host, datagram=datagram):
            return None
        return wire.bare_response(data, rcode)

    def _may_send(self, subject: Subject, host: str, *, datagram: bool) -> bool:
        """Count a response that cannot be made smaller, and return whether it is sent."""
        network = network_of(host)
        self.tally[subject.rcode] += 1
        if self._counts is not None:
            self._counts.add(subject, network)
        if not datagram or self._limit is None:
            return True
        return self._limit.verdict(network, _ERRORS) is not Verdict.DROP

    def _report_failure(self) -> None:
        self._failures += 1
        now = self._clock.seconds()
        if self._reported is None or now - self._reported >= FAILURE_REPORT_SECONDS:
            self._log.failure("{count} questions were answered with SERVFAIL", count=self._failures)
            self._reported = now
            self._failures = 0


def _with_options(response: bytes, options: bytes) -> bytes:
    # The OPT is the last record, and the length of its data the last two octets.
    return response[:-2] + len(options).to_bytes(2, "big") + options


_ERRORS: Final = Kind(_OUTSIDE, b"error")
