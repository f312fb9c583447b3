"""Requests that two parsers could read differently: refused with 400, the connection closed.

Each is followed by a second request that must never reach the origin: not as one of its own, and
not inside the first.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.wire.proxying import running
from tests.wire.world import World
from watchducks.proxy.limits import Limits

HOST = b"Host: www.example.com\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def get(fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n"


CL4 = b"Content-Length: 4\r\n"
TE = b"Transfer-Encoding: chunked\r\n"

REFUSED: dict[str, bytes] = {
    "length and coding": post(CL4 + TE, b"0\r\n\r\n"),
    "coding and length": post(TE + CL4, b"0\r\n\r\n"),
    "two equal lengths": post(CL4 + CL4, b"abcd"),
    "two different lengths": post(CL4 + b"Content-Length: 0\r\n", b"abcd"),
    "a list of lengths": post(b"Content-Length: 4, 4\r\n", b"abcd"),
    "length with a plus": post(b"Content-Length: +4\r\n", b"abcd"),
    "length with a minus": post(b"Content-Length: -4\r\n", b"abcd"),
    "length in hex": post(b"Content-Length: 0x4\r\n", b"abcd"),
    "length with a space inside": post(b"Content-Length: 4 4\r\n", b"abcd"),
    "empty length": post(b"Content-Length: \r\n"),
    "length with a fraction": post(b"Content-Length: 4.0\r\n", b"abcd"),
    "length that overflows": post(b"Content-Length: 18446744073709551620\r\n", b"abcd"),
    "length with other digits": post("Content-Length: ٤\r\n".encode(), b"abcd"),
    "two codings": post(TE + TE, b"0\r\n\r\n"),
    "unknown coding": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "chunked not last": post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "a coding before chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n"),
    "coding after a tab and VT": post(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"),
    "coding in quotes": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "empty coding": post(b"Transfer-Encoding:\r\n"),
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + TE + b"\r\n0\r\n\r\n",
    "space before the colon": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "tab before the colon": post(b"Content-Length\t: 4\r\n", b"abcd"),
    "folded line": post(b"X: a\r\n Transfer-Encoding: chunked\r\n"),
    "folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "space before the first field": b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "bare LF after the start line": b"GET / HTTP/1.1\nHost: www.example.com\r\n\r\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nX: y\nHost: www.example.com\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\n",
    "bare CR in a value": get(b"X: a\rTransfer-Encoding: chunked\r\n"),
    "bare CR at the end of a value": get(b"X: a\r\r\n"),
    "NUL in a value": get(b"X: a\0b\r\n"),
    "NUL in a name": get(b"X\0: a\r\n"),
    "control byte in a name": get(b"X\x01: a\r\n"),
    "8-bit byte in a name": get(b"X\xe9: a\r\n"),
    "empty name": get(b": a\r\n"),
    "no colon": get(b"X\r\n"),
    "length in disguise": post(b"Content_Length: 4\r\n"),
    "coding in disguise": post(b"Transfer_Encoding: chunked\r\n"),
    "our field in disguise": get(b"X_Forwarded-For: 6.6.6.6\r\n"),
    "chunk size with a prefix": post(TE, b"0x4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a plus": post(TE, b"+4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a space": post(TE, b"4 \r\nabcd\r\n0\r\n\r\n"),
    "chunk size that overflows": post(TE, b"10000000000000004\r\nabcd\r\n0\r\n\r\n"),
    "empty chunk size": post(TE, b"\r\nabcd\r\n0\r\n\r\n"),
    "chunk size before bare LF": post(TE, b"4\nabcd\r\n0\r\n\r\n"),
    "extension with bare CR": post(TE, b"4;a\rb\r\nabcd\r\n0\r\n\r\n"),
    "extension with bare LF": post(TE, b"4;a\nabcd\r\n0\r\n\r\n"),
    "endless extension": post(TE, b"4;" + b"a" * 5000 + b"\r\nabcd\r\n0\r\n\r\n"),
    "chunk longer than it says": post(TE, b"4\r\nabcdef\r\n0\r\n\r\n"),
    "chunk without its end": post(TE, b"4\r\nabcd0\r\n\r\n"),
    "trailer that is folded": post(TE, b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer that is a request": post(TE, b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    "endless trailers": post(TE, b"0\r\n" + b"A: bcdefgh\r\n" * 5000 + b"\r\n"),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "no Host in HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "two Hosts": get(b"Host: www.example.com\r\n"),
    "two different Hosts": get(b"Host: other.example\r\n"),
    "empty Host": b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: www.example.com/x\r\n\r\n",
    "Host with a user": b"GET / HTTP/1.1\r\nHost: u@www.example.com\r\n\r\n",
    "Host with a space": b"GET / HTTP/1.1\r\nHost: www.example.com x\r\n\r\n",
    "Host with two ports": b"GET / HTTP/1.1\r\nHost: www.example.com:1:2\r\n\r\n",
    "Host with a huge port": b"GET / HTTP/1.1\r\nHost: www.example.com:99999\r\n\r\n",
    "Host list": b"GET / HTTP/1.1\r\nHost: www.example.com, other.example\r\n\r\n",
    "target of another host": b"GET http://other.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a user": b"GET http://u@www.example.com/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a space": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a tab": b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with NUL": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "target without a slash": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk for GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces in the start line": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the start line": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space after the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": b"GET / RTSP/1.0\r\n" + HOST + b"\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n",
    "lower-case version": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "lower-case method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    # --- lengths ---
    "three lengths": post(CL4 + CL4 + CL4, b"abcd"),
    "two lengths in two spellings": post(CL4 + b"content-length: 5\r\n", b"abcd"),
    "a list of different lengths": post(b"Content-Length: 4, 5\r\n", b"abcd"),
    "a list that ends with nothing": post(b"Content-Length: 4,\r\n", b"abcd"),
    "a list that begins with nothing": post(b"Content-Length: ,4\r\n", b"abcd"),
    "length with a semicolon": post(b"Content-Length: 4;x\r\n", b"abcd"),
    "length with an exponent": post(b"Content-Length: 4e0\r\n", b"abcd"),
    "length with an underscore": post(b"Content-Length: 1_0\r\n", b"abcdefghij"),
    "length in octal": post(b"Content-Length: 0o4\r\n", b"abcd"),
    "length with a letter": post(b"Content-Length: 4a\r\n", b"abcd"),
    "length in quotes": post(b'Content-Length: "4"\r\n', b"abcd"),
    "length with VT before it": post(b"Content-Length: \x0b4\r\n", b"abcd"),
    "length with FF after it": post(b"Content-Length: 4\x0c\r\n", b"abcd"),
    "length with NUL after it": post(b"Content-Length: 4\0\r\n", b"abcd"),
    "length with a no-break space": post(b"Content-Length: \xa04\r\n", b"abcd"),
    "length with superscript digits": post("Content-Length: ²\r\n".encode("latin-1"), b"ab"),
    "length just above 2**63": post(b"Content-Length: 9223372036854775808\r\n", b"abcd"),
    "length of nineteen digits": post(b"Content-Length: 0000000000000000004\r\n", b"abcd"),
    "length of only a sign": post(b"Content-Length: -\r\n"),
    "length of two words": post(b"Content-Length: 4 chunked\r\n", b"abcd"),
    "folded length": post(b"Content-Length:\r\n 4\r\n", b"abcd"),
    "length folded after a digit": post(b"Content-Length: 1\r\n 0\r\n", b"abcdefghij"),
    "length folded with a tab": post(b"Content-Length: 1\r\n\t0\r\n", b"abcdefghij"),
    "length behind a bare CR": post(b"X: y\rContent-Length: 4\r\n", b"abcd"),
    "length behind a bare LF": post(b"X: y\nContent-Length: 4\r\n", b"abcd"),
    "length on a GET, twice": get(CL4 + b"Content-Length: 5\r\n"),
    "length and coding on a GET": get(CL4 + TE),
    "length of zero and coding": post(b"Content-Length: 0\r\n" + TE, b"0\r\n\r\n"),
    "empty length and coding": post(b"Content-Length:\r\n" + TE, b"0\r\n\r\n"),
    "bad length and coding": post(b"Content-Length: x\r\n" + TE, b"0\r\n\r\n"),
    "length in HTTP/1.0, twice": b"POST / HTTP/1.0\r\n" + HOST + CL4 + CL4 + b"\r\nabcd",
    # --- codings ---
    "coding and a length in disguise": post(TE + b"Content_Length: 4\r\n", b"0\r\n\r\n"),
    "length and a coding in disguise": post(CL4 + b"Transfer_Encoding: chunked\r\n", b"abcd"),
    "coding twice in a list": post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "coding and identity": post(TE + b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "identity and coding": post(b"Transfer-Encoding: identity\r\n" + TE, b"0\r\n\r\n"),
    "coding and an unknown one": post(TE + b"Transfer-Encoding: cow\r\n", b"0\r\n\r\n"),
    "coding with a comma after it": post(b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n"),
    "coding with a comma before it": post(b"Transfer-Encoding: ,chunked\r\n", b"0\r\n\r\n"),
    "coding with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    "coding with a semicolon": post(b"Transfer-Encoding: chunked;\r\n", b"0\r\n\r\n"),
    "coding with FF": post(b"Transfer-Encoding: \x0cchunked\r\n", b"0\r\n\r\n"),
    "coding with NUL": post(b"Transfer-Encoding: chunked\0\r\n", b"0\r\n\r\n"),
    "coding with a control byte": post(b"Transfer-Encoding: chunk\x01ed\r\n", b"0\r\n\r\n"),
    "coding with DEL": post(b"Transfer-Encoding: chunked\x7f\r\n", b"0\r\n\r\n"),
    "coding with a no-break space": post(b"Transfer-Encoding: \xa0chunked\r\n", b"0\r\n\r\n"),
    "coding with a byte order mark": post(b"Transfer-Encoding: \xef\xbb\xbfchunked\r\n"),
    "coding with a full-width letter": post("Transfer-Encoding: \uff43hunked\r\n".encode()),
    "coding cut short": post(b"Transfer-Encoding: chunke\r\n", b"0\r\n\r\n"),
    "coding in two words": post(b"Transfer-Encoding: chunked x\r\n", b"0\r\n\r\n"),
    "coding behind a bare CR": post(b"X: y\rTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding behind a bare LF": post(b"X: y\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding behind a bare CR at its line's start": post(b"\rTransfer-Encoding: chunked\r\n"),
    "coding folded in two": post(b"Transfer-Encoding: chu\r\n nked\r\n", b"0\r\n\r\n"),
    "coding folded with a tab": post(b"Transfer-Encoding:\r\n\tchunked\r\n", b"0\r\n\r\n"),
    "colon and space before the coding": post(b": Transfer-Encoding: chunked\r\n"),
    "space before the coding's name": post(b" Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "tab before the coding's name": post(b"\tTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "tab before the coding's colon": post(b"Transfer-Encoding\t: chunked\r\n", b"0\r\n\r\n"),
    "VT before the coding's colon": post(b"Transfer-Encoding\x0b: chunked\r\n", b"0\r\n\r\n"),
    "NUL in the coding's name": post(b"Transfer\0Encoding: chunked\r\n", b"0\r\n\r\n"),
    "space in the coding's name": post(b"Transfer Encoding: chunked\r\n", b"0\r\n\r\n"),
    "no-break space in a name": post(b"Transfer-Encoding\xa0: chunked\r\n", b"0\r\n\r\n"),
    "coding with an equals sign": post(b"Transfer-Encoding= chunked\r\n", b"0\r\n\r\n"),
    "gzip alone": post(b"Transfer-Encoding: gzip\r\n", b"0\r\n\r\n"),
    "a coding in single quotes": post(b"Transfer-Encoding: 'chunked'\r\n", b"0\r\n\r\n"),
    "coding in an HTTP/1.0 GET": b"GET / HTTP/1.0\r\n" + HOST + TE + b"\r\n0\r\n\r\n",
    # --- chunks ---
    "chunk size with a minus": post(TE, b"-4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a tab": post(TE, b"4\t\r\nabcd\r\n0\r\n\r\n"),
    "chunk size after a space": post(TE, b" 4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with an underscore": post(TE, b"1_0\r\nabcdefghijklmnop\r\n0\r\n\r\n"),
    "chunk size with NUL": post(TE, b"4\0\r\nabcd\r\n0\r\n\r\n"),
    "chunk size that is no number": post(TE, b"xyz\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a comma": post(TE, b"4,4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a point": post(TE, b"4.0\r\nabcd\r\n0\r\n\r\n"),
    "chunk size before bare CR": post(TE, b"4\rabcd\r\n0\r\n\r\n"),
    "chunk size before CR CR LF": post(TE, b"4\r\r\nabcd\r\n0\r\n\r\n"),
    "chunk size of sixteen zeros": post(TE, b"0" * 16 + b"\r\n\r\n"),
    "chunk size just above 2**64": post(TE, b"1" + b"0" * 15 + b"4\r\nabcd\r\n0\r\n\r\n"),
    "space before an extension": post(TE, b"4 ;a=b\r\nabcd\r\n0\r\n\r\n"),
    "extension with NUL": post(TE, b"4;a\0\r\nabcd\r\n0\r\n\r\n"),
    "extension with a control byte": post(TE, b"4;a=\x02\r\nabcd\r\n0\r\n\r\n"),
    "extension with CR CR LF": post(TE, b"4;a\r\r\nabcd\r\n0\r\n\r\n"),
    "chunk that ends with bare LF": post(TE, b"4\r\nabcd\n0\r\n\r\n"),
    "chunk that ends with bare CR": post(TE, b"4\r\nabcd\r0\r\n\r\n"),
    "chunk that ends with LF CR": post(TE, b"4\r\nabcd\n\r0\r\n\r\n"),
    "chunk that ends with two CRLF": post(TE, b"4\r\nabcd\r\n\r\n0\r\n\r\n"),
    "chunk that ends with two other bytes": post(TE, b"4\r\nabcdXX0\r\n\r\n"),
    "last chunk before bare LF": post(TE, b"0\n\r\n"),
    "last chunk that ends with bare LF": post(TE, b"0\r\n\n"),
    "last chunk with a minus": post(TE, b"-0\r\n\r\n"),
    "last chunk in hex": post(TE, b"0x0\r\n\r\n"),
    "a request where a size belongs": post(TE, b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"),
    "trailer with a space before its colon": post(TE, b"0\r\nA : b\r\n\r\n"),
    "trailer with NUL": post(TE, b"0\r\nA: b\0\r\n\r\n"),
    "trailer with bare CR": post(TE, b"0\r\nA: b\rc\r\n\r\n"),
    "trailer with bare LF": post(TE, b"0\r\nA: b\nc: d\r\n\r\n"),
    "trailer without a colon": post(TE, b"0\r\nA\r\n\r\n"),
    "trailer without a name": post(TE, b"0\r\n: b\r\n\r\n"),
    # --- lines and names ---
    "bare LF throughout": b"GET / HTTP/1.1\nHost: www.example.com\n\n",
    "LF CR": b"GET / HTTP/1.1\n\rHost: www.example.com\n\r\n\r",
    "bare CR throughout": b"GET / HTTP/1.1\rHost: www.example.com\r\r",
    "bare LF before the request": b"\n" + get(b""),
    "bare CR before the request": b"\r" + get(b""),
    "space before the request": b" " + get(b""),
    "NUL before the request": b"\0" + get(b""),
    "CR CR LF after the start line": b"GET / HTTP/1.1\r\r\nHost: www.example.com\r\n\r\n",
    "CR CR LF at the end": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\r\n",
    "space in the empty line": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n \r\n\r\n",
    "tab in the empty line": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\t\r\n\r\n",
    "DEL in a value": get(b"X: a\x7fb\r\n"),
    "ESC in a value": get(b"X: a\x1bb\r\n"),
    "backspace in a value": get(b"X: a\x08b\r\n"),
    "DEL in a name": get(b"X\x7f: a\r\n"),
    "parenthesis in a name": get(b"X(a): b\r\n"),
    "slash in a name": get(b"X/Y: b\r\n"),
    "at sign in a name": get(b"X@Y: b\r\n"),
    "quotes in a name": get(b'"X": b\r\n'),
    "comma in a name": get(b"X,Y: b\r\n"),
    "semicolon in a name": get(b"X;Y: b\r\n"),
    "brackets in a name": get(b"X[0]: b\r\n"),
    "braces in a name": get(b"{X}: b\r\n"),
    "backslash in a name": get(b"X\\: b\r\n"),
    "equals sign in a name": get(b"X=Y: b\r\n"),
    "question mark in a name": get(b"X?: b\r\n"),
    "our Forwarded in disguise": get(b"X-Forwarded_Proto: https\r\n"),
    "a real address in disguise": get(b"X_Real_IP: 6.6.6.6\r\n"),
    "a loop in disguise": get(b"CDN_Loop: x\r\n"),
    "a proxy's credentials in disguise": get(b"Proxy_Authorization: Basic eA==\r\n"),
    # --- hosts ---
    "Host in two spellings": get(b"hOsT: www.example.com\r\n"),
    "Host with a query": b"GET / HTTP/1.1\r\nHost: www.example.com?x\r\n\r\n",
    "Host with a fragment": b"GET / HTTP/1.1\r\nHost: www.example.com#x\r\n\r\n",
    "Host with a backslash": b"GET / HTTP/1.1\r\nHost: www.example.com\\x\r\n\r\n",
    "Host with a scheme": b"GET / HTTP/1.1\r\nHost: http://www.example.com\r\n\r\n",
    "Host with a per cent sign": b"GET / HTTP/1.1\r\nHost: www.example%2ecom\r\n\r\n",
    "Host with NUL": b"GET / HTTP/1.1\r\nHost: www.example.com\0.x\r\n\r\n",
    "Host with an 8-bit byte": b"GET / HTTP/1.1\r\nHost: www.example.com\xff\r\n\r\n",
    "Host with a port that is none": b"GET / HTTP/1.1\r\nHost: www.example.com:x\r\n\r\n",
    "Host with a negative port": b"GET / HTTP/1.1\r\nHost: www.example.com:-1\r\n\r\n",
    "Host with a port of six digits": b"GET / HTTP/1.1\r\nHost: www.example.com:000080\r\n\r\n",
    "Host that begins with a point": b"GET / HTTP/1.1\r\nHost: .www.example.com\r\n\r\n",
    "Host with two points": b"GET / HTTP/1.1\r\nHost: www..example.com\r\n\r\n",
    "Host without its bracket": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "Host folded": b"GET / HTTP/1.1\r\nHost: www.example\r\n .com\r\n\r\n",
    "space before Host's colon": b"GET / HTTP/1.1\r\nHost : www.example.com\r\n\r\n",
    "Host in the target and another": b"GET http://www.example.com/ HTTP/1.1\r\nHost: a\r\n\r\n",
    # --- start lines ---
    "absolute target without a host": b"GET http:/// HTTP/1.1\r\n" + HOST + b"\r\n",
    "target of another scheme": b"GET ftp://www.example.com/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with two hosts": b"GET http://www.example.com@a/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target of a backslash": b"GET \\ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target of an authority": b"GET www.example.com:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with DEL": b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with CR": b"GET /a\rb HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with LF": b"GET /a\nb HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with VT": b"GET /a\x0bb HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "no method": b"/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "a version too many": b"GET / HTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1": b"GET / HTTP/1\r\n" + HOST + b"\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\n" + HOST + b"\r\n",
    "HTTP/01.1": b"GET / HTTP/01.1\r\n" + HOST + b"\r\n",
    "HTTP/3.0": b"GET / HTTP/3.0\r\n" + HOST + b"\r\n",
    "HTTP/1,1": b"GET / HTTP/1,1\r\n" + HOST + b"\r\n",
    "version with a tab": b"GET /\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with a colon": b"GET: / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with a control byte": b"G\x01T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with a slash": b"GET/ / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a mixed-case method": b"Get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method that begins with a digit": b"1GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


def test_the_corpus_is_as_large_as_it_is_said_to_be() -> None:
    assert len(set(REFUSED.values())) >= 200


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
@pytest_twisted.ensureDeferred
async def test_it_is_refused_and_nothing_is_smuggled(sent: bytes) -> None:
    async with running(lambda _side, _head: None, limits=Limits(linger_seconds=0.1)) as run:
        visitor = await run.visit(sent + SMUGGLED)
        data = await visitor.until_closed()
        assert_refused(data)
        # A head may have gone out before a bad body was seen; a second one never.
        assert len(run.origin.heads) <= 1
        assert not any(b"smuggled" in head for head in run.origin.heads)
        assert not any(b"smuggled" in side.extra for side in run.origin.connections)
        # One row if the request named our site, and else none.
        assert [row.reason for row in run.rows] in ([], ["bad-request"])


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_byte_by_byte(sent: bytes) -> None:
    world = World()
    for byte in sent + SMUGGLED:
        world.receive(bytes([byte]))
    assert_refused(world.transport.value())
    assert world.transport.half_closed
    assert world.sent_to_origins().count(b" HTTP/1.1\r\n") <= 1
    assert b"smuggled" not in world.sent_to_origins()
    assert [row.reason for row in world.rows] in ([], ["bad-request"])


def assert_refused(data: bytes) -> None:
    assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n"), data[:200]
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in data


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 60_000, 414),
        (get(b"X: " + b"a" * 40_000 + b"\r\n"), 431),
        (get(b"X: " + b"a" * 40_000), 431),
        (get(b"X: a\r\n" * 100), 431),
        (b"\r\n" * 20_000, 431),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_too_large_is_named(sent: bytes, status: int) -> None:
    async with running(limits=Limits(linger_seconds=0.1)) as run:
        visitor = await run.visit(sent)
        data = await visitor.until_closed()
        assert data.startswith(b"HTTP/1.1 %d " % status), data[:100]
        assert not run.origin.heads


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n" + get(b""),
        get(b"X:\r\nY: \t \r\n"),
        get(b"X: caf\xe9 \x80\r\n"),
        get(b"x_custom_field: a\r\n"),
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /%00%ff//../a;b?c[]=d&&=% HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"VERSION-CONTROL / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"MY_OWN9 / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xff\x80?caf\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
        b'GET /"<>\\^`{|} HTTP/1.1\r\n' + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nhOST:www.EXAMPLE.com.:80  \r\n\r\n",
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_unusual_but_clear_passes(sent: bytes) -> None:
    async with running() as run:
        visitor = await run.visit(sent)
        await visitor.until_has(b"hello")
        (head,) = run.origin.heads
        assert head.split(b"\r\n")[0] == sent.strip().split(b"\r\n")[0]
