"""One server, one question: on real sockets, with servers that do not behave."""

from __future__ import annotations

import ipaddress
import random
import socket
import struct
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.servers.waiting import eventually
from tests.wire.dns_answering import AnsweringServer, answer
from watchducks.lookups.client import MAX_OUTSTANDING, Client, LookupFailed, Server
from watchducks.lookups.message import MAX_ANSWER_RECORDS, Message
from watchducks.lookups.resolver import Resolver, find_resolvers

WWW = dns.name.from_text("www.pond.example")
ZONE = dns.name.from_text("pond.example")
A = dns.rdatatype.A
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest_twisted.async_yield_fixture
async def server() -> Any:
    running = AnsweringServer()
    running.start()
    yield running
    await running.stop()


@pytest.fixture
def client() -> Client:
    return Client(
        reactor=reactor,
        allow_private=True,
        udp_seconds=0.3,
        tcp_seconds=0.6,
        max_transfer_records=500,
    )


def at(server: AnsweringServer) -> Server:
    return Server(ipaddress.ip_address(server.address), server.port)


def texts(found: Any) -> list[str]:
    return [f"{record.owner} {record.ttl} {record.rdata}" for record in found]


@pytest_twisted.ensureDeferred
async def test_an_answer(server: AnsweringServer, client: Client) -> None:
    server.by_udp = lambda query: [answer(query, "@ 60 A 192.0.2.1", "@ 60 A 192.0.2.2")]
    response = await client.ask(at(server), WWW, A)
    assert texts(response.answer) == [
        "www.pond.example. 60 192.0.2.1",
        "www.pond.example. 60 192.0.2.2",
    ]
    assert response.authoritative
    [(query, _)] = server.asked
    assert (query.edns, query.payload, query.flags & dns.flags.RD) == (0, 1232, 0)
    await client.ask_resolver(at(server), WWW, A)
    assert server.asked[1][0].flags & dns.flags.RD


@pytest_twisted.ensureDeferred
async def test_each_question_has_a_port_and_an_id_of_its_own(
    server: AnsweringServer, client: Client
) -> None:
    for _ in range(10):
        await client.ask(at(server), WWW, A)
    assert len({query.id for query, _ in server.asked}) > 5
    assert len({address[1] for _, address in server.asked}) > 5


@pytest_twisted.ensureDeferred
async def test_another_case_is_the_same_name(server: AnsweringServer, client: Client) -> None:
    server.by_udp = lambda query: [answer(query, "@ 60 A 192.0.2.1").replace(b"\3www", b"\3wWw")]
    response = await client.ask(at(server), WWW, A)
    assert len(response.answer) == 1


def forged(query: dns.message.Message) -> list[bytes]:
    """What is not the answer, in many ways."""
    good = answer(query, "@ 60 A 192.0.2.66")
    other = dns.message.make_query("www.lake.example", "A", id=query.id)
    plain = dns.message.make_query("www.pond.example", "A", id=query.id)
    return [
        b"",
        good[:11],
        struct.pack("!H", query.id ^ 1) + good[2:],
        good[:2] + bytes([good[2] & 0x7F]) + good[3:],  # a question
        good[:2] + bytes([good[2] | 0x28]) + good[3:],  # another opcode
        answer(other, "@ 60 A 192.0.2.66"),
        good[:4] + b"\0\0" + good[6:],  # no question
        good[:6] + b"\0\x09" + good[8:],  # nine answers, of which one is there
        good[:-1],
        answer(plain, "@ 60 A 192.0.2.66")[:-1],  # cut off within the address
        good.replace(b"\3www", b"\xc0\x0cw"),  # a name that points to itself
        bytes(1300),
    ]


@pytest_twisted.ensureDeferred
async def test_what_is_malformed_or_forged_does_not_count(
    server: AnsweringServer, client: Client
) -> None:
    server.by_udp = lambda query: [*forged(query), answer(query, "@ 60 A 192.0.2.1")]
    response = await client.ask(at(server), WWW, A)
    assert texts(response.answer) == ["www.pond.example. 60 192.0.2.1"]
    server.by_udp = forged
    with pytest.raises(LookupFailed, match=r"did not answer within 0\.6 s"):
        await client.ask(at(server), WWW, A)


@pytest_twisted.ensureDeferred
async def test_answers_from_elsewhere_do_not_count(server: AnsweringServer, client: Client) -> None:
    """Somebody who sees the question answers first, from another address and from another port."""
    others = []
    for address in ("127.0.0.1", "127.0.0.9"):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind((address, 0))
        others.append(other)

    def respond(query: dns.message.Message) -> list[bytes]:
        for other in others:
            other.sendto(answer(query, "@ 60 A 192.0.2.66"), server.asked[-1][1])
        return [answer(query, "@ 60 A 192.0.2.1")]

    server.by_udp = respond
    response = await client.ask(at(server), WWW, A)
    assert texts(response.answer) == ["www.pond.example. 60 192.0.2.1"]
    for other in others:
        other.close()


@pytest_twisted.ensureDeferred
async def test_a_lost_packet_is_asked_again(server: AnsweringServer, client: Client) -> None:
    server.by_udp = lambda query: [] if len(server.asked) == 1 else [answer(query)]
    await client.ask(at(server), WWW, A)
    assert len(server.asked) == 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("whole", [True, False])
async def test_a_server_that_does_not_know_edns(
    server: AnsweringServer, client: Client, whole: bool
) -> None:
    def respond(query: dns.message.Message) -> list[bytes]:
        if query.edns < 0:
            return [answer(query, "@ 60 A 192.0.2.1")]
        refused = answer(query, rcode=dns.rcode.FORMERR)
        return [refused if whole else refused[:4] + bytes(8)]

    server.by_udp = respond
    response = await client.ask(at(server), WWW, A)
    assert len(response.answer) == 1


@pytest_twisted.ensureDeferred
async def test_what_does_not_fit_comes_by_tcp(server: AnsweringServer, client: Client) -> None:
    server.by_udp = lambda query: [answer(query, flags=dns.flags.TC)]
    long = '"' + '" "'.join(["x" * 250] * 20) + '"'
    server.by_tcp = lambda query: [answer(query, f"@ 60 TXT {long}")]
    response = await client.ask(at(server), WWW, dns.rdatatype.TXT)
    assert len(response.answer[0].rdata.to_text()) > 5000
    await eventually(reactor, _closed(server), "the connection to be closed", 5)


def _closed(server: AnsweringServer) -> Any:
    async def closed() -> bool:
        return not server.connections

    return closed


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ([], r"did not answer by TCP within 0\.6 s"),
        ([b""], "closed the connection without an answer"),
        (["question"], "cannot be used"),
        (["many"], "more than 200 records"),
        ([b"\0"], "shorter than a header"),
    ],
)
async def test_bad_answers_by_tcp(
    server: AnsweringServer, client: Client, packets: list[Any], why: str
) -> None:
    def respond(query: dns.message.Message) -> list[bytes]:
        many = struct.pack("!H", MAX_ANSWER_RECORDS + 1)
        words = {
            "question": query.to_wire(),
            "many": answer(query)[:6] + many + answer(query)[8:],
        }
        return [words.get(packet, packet) for packet in packets]

    server.by_udp = lambda query: [answer(query, flags=dns.flags.TC)]
    server.by_tcp = respond
    with pytest.raises(LookupFailed, match=why):
        await client.ask(at(server), WWW, A)
    await eventually(reactor, _closed(server), "the connection to be closed", 5)


@pytest_twisted.ensureDeferred
async def test_nobody_listens_by_tcp(client: Client) -> None:
    with pytest.raises(LookupFailed, match="cannot be reached by TCP"):
        await client.transfer(Server(LOOPBACK, 1), ZONE)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::ffff:192.168.0.1", "fe80::1"])
async def test_private_addresses_are_not_asked(address: str) -> None:
    strict = Client(reactor=None, allow_private=False)
    for asking in (
        strict.ask(Server(ipaddress.ip_address(address)), WWW, A),
        strict.transfer(Server(ipaddress.ip_address(address)), ZONE),
    ):
        with pytest.raises(LookupFailed, match="where we do not ask"):
            await asking


@pytest_twisted.ensureDeferred
async def test_only_so_many_questions_are_under_way(
    server: AnsweringServer, client: Client
) -> None:
    server.by_udp = lambda query: []
    asking = [
        Deferred.fromCoroutine(client.ask(at(server), WWW, A)) for _ in range(MAX_OUTSTANDING + 5)
    ]

    async def all_there() -> bool:
        return len(server.asked) >= MAX_OUTSTANDING

    await eventually(reactor, all_there, "the first questions", 5, every=0.01)
    assert len(server.asked) == MAX_OUTSTANDING
    for one in asking:
        _ = one.addErrback(lambda _: None)
        one.cancel()
    server.by_udp = lambda query: [answer(query)]
    await client.ask(at(server), WWW, A)


# --- transfers ------------------------------------------------------------------------------------

SOA = "@ 60 SOA ns1.old.example. hostmaster.old.example. 1 7200 900 1209600 60"


@pytest_twisted.ensureDeferred
async def test_a_transfer_in_pieces(server: AnsweringServer, client: Client) -> None:
    def respond(query: dns.message.Message) -> list[bytes]:
        first = answer(query, SOA, "www 60 A 192.0.2.1")
        middle = answer(query, *(f"host{n} 60 A 192.0.2.2" for n in range(200)))
        # Later messages need not repeat the question.
        bare = dns.message.from_wire(answer(query, "mail 60 A 192.0.2.3", SOA))
        bare.question = []
        return [first, middle, bare.to_wire()]

    server.by_tcp = respond
    found = await client.transfer(at(server), ZONE)
    assert len(found) == 203
    assert texts(found)[1] == "www.pond.example. 60 192.0.2.1"
    assert texts(found)[-1] == "mail.pond.example. 60 192.0.2.3"
    await eventually(reactor, _closed(server), "the connection to be closed", 5)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("records", "rcode", "why"),
    [
        ((), dns.rcode.REFUSED, "refuses the transfer"),
        ((), dns.rcode.NOERROR, "without records"),
        (("www 60 A 192.0.2.1",), dns.rcode.NOERROR, "refuses the transfer"),
        ((SOA, "www 60 A 192.0.2.1"), dns.rcode.NOERROR, "closed the connection"),
    ],
)
async def test_what_is_no_transfer(
    server: AnsweringServer, client: Client, records: tuple[str, ...], rcode: int, why: str
) -> None:
    server.by_tcp = lambda query: [answer(query, *records, rcode=rcode), b""]
    with pytest.raises(LookupFailed, match=why):
        await client.transfer(at(server), ZONE)
    await eventually(reactor, _closed(server), "the connection to be closed", 5)


@pytest_twisted.ensureDeferred
async def test_a_transfer_without_end_is_ended(server: AnsweringServer, client: Client) -> None:
    def respond(query: dns.message.Message) -> list[bytes]:
        page = answer(query, *(f"host{n} 60 A 192.0.2.2" for n in range(100)))
        return [answer(query, SOA), *([page] * 100)]

    server.by_tcp = respond
    with pytest.raises(LookupFailed, match="larger than we read"):
        await client.transfer(at(server), ZONE)
    await eventually(reactor, _closed(server), "the connection to be closed", 5)


def test_mutated_answers_are_read_or_refused() -> None:
    """No packet makes reading raise anything but what it says, or take long."""
    dice = random.Random(4)
    query = dns.message.make_query(WWW, "ANY", id=7)
    good = answer(
        query,
        "@ 60 A 192.0.2.1",
        "@ 60 MX 10 mail.pond.example.",
        "@ 60 TXT one two",
        "@ 60 SRV 1 2 3 www.pond.example.",
        '@ 60 CAA 0 issue "ca.example"',
        "@ 60 HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1",
        "@ 60 NAPTR 1 2 u e !x!y! .",
        "@ 60 LOC 52 0 0 N 4 0 0 E 0 10 10 10",
        "mail 60 CNAME www.pond.example.",
    )
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(12, len(data))] = dice.randrange(256)
        try:
            response = Message(bytes(data), 7, WWW, dns.rdatatype.ANY).response()
        except ValueError:
            refused += 1
        else:
            for found in response.answer:
                assert found.rdata.to_text()
    assert 100 < refused < 2900


# --- resolvers ------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_resolvers_are_asked_in_turn(server: AnsweringServer, client: Client) -> None:
    bad = AnsweringServer("127.0.0.9")
    bad.start()
    bad.by_udp = lambda query: [answer(query, rcode=dns.rcode.SERVFAIL)]
    server.by_udp = lambda query: [answer(query, rcode=dns.rcode.NXDOMAIN)]
    resolver = Resolver([at(bad), at(server)], client)
    for _ in range(3):
        assert (await resolver.ask(WWW, A)).rcode == dns.rcode.NXDOMAIN
    assert (len(bad.asked), len(server.asked)) == (1, 3)
    server.by_udp = bad.by_udp
    with pytest.raises(LookupFailed, match=r"127\.0\.0\.1:\d+ answered SERVFAIL; 127\.0\.0\.9"):
        await resolver.ask(WWW, A)
    await bad.stop()


@pytest_twisted.ensureDeferred
async def test_addresses_follow_aliases(server: AnsweringServer, client: Client) -> None:
    def respond(query: dns.message.Message) -> list[bytes]:
        if query.question[0].rdtype != A:
            return [answer(query, rcode=dns.rcode.SERVFAIL)]
        return [
            answer(
                query,
                "@ 50 CNAME web.lake.example.",
                "web.lake.example. 40 CNAME a.lake.example.",
                "a.lake.example. 60 A 192.0.2.1",
                "elsewhere.lake.example. 5 A 192.0.2.66",
            )
        ]

    server.by_udp = respond
    resolver = Resolver([at(server)], client)
    assert await resolver.addresses(WWW) == ((ipaddress.ip_address("192.0.2.1"),), 40)
    server.by_udp = lambda query: [answer(query, "@ 5 CNAME www.pond.example.")]
    assert await resolver.addresses(WWW) == ((), 0)
    server.by_udp = lambda query: [answer(query, rcode=dns.rcode.SERVFAIL)]
    with pytest.raises(LookupFailed, match="SERVFAIL"):
        await resolver.addresses(WWW)
    with pytest.raises(LookupFailed, match=r"node\.resolvers"):
        await Resolver([], client).addresses(WWW)


def test_the_systems_resolvers(tmp_path: Any) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# nameserver 192.0.2.9\nsearch pond.example\nnameserver\t192.0.2.1\nnameserver nonsense\n"
        "nameserver\nnameserver fe80::1%eth0\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
    )
    assert [str(server) for server in find_resolvers((), file)] == [
        "192.0.2.1",
        "fe80::1",
        "192.0.2.2",
    ]
    assert find_resolvers((), tmp_path / "none") == []
    one = (ipaddress.ip_address("::1"), 5353)
    assert [str(server) for server in find_resolvers([one], file)] == ["[::1]:5353"]


@pytest_twisted.ensureDeferred
async def test_less_than_a_name_has_is_not_taken_for_all_of_it(
    server: AnsweringServer, client: Client
) -> None:
    resolver = Resolver([at(server)], client)

    def only(type_: int, *records: str) -> None:
        server.by_udp = lambda query: [
            answer(query, *records)
            if query.question[0].rdtype == type_
            else answer(query, rcode=dns.rcode.SERVFAIL)
        ]

    only(A, "@ 50 A 192.0.2.1")
    assert await resolver.addresses(WWW) == ((ipaddress.ip_address("192.0.2.1"),), 50)
    for type_, records in (
        (A, ()),
        (dns.rdatatype.AAAA, ()),
        (dns.rdatatype.AAAA, ("@ 50 AAAA ::2",)),
    ):
        only(type_, *records)
        with pytest.raises(LookupFailed, match="SERVFAIL"):
            await resolver.addresses(WWW)
