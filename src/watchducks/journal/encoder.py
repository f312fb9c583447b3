"""From rows to the frames of a segment file; on the visitor's path, so each look-up counts."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from watchducks.journal.records import (
    CHECKSUM,
    CLIENT_CHARACTERS,
    FRAME_ROWS,
    FRAME_TEXT_BYTES,
    HOST_CHARACTERS,
    LENGTHS,
    QUERY_MARK,
    REASON_CHARACTERS,
    REFERRER_CHARACTERS,
    REFERRER_MARK,
    ROW,
    SOURCE_MARK,
    SOURCE_TEXTS,
    TARGET_CHARACTERS,
    TARGET_MARK,
    TEXT,
    USER_AGENT_CHARACTERS,
    WORD_CHARACTERS,
    Source,
)
from watchducks.model.rows import Row

_U16: Final = 0xFFFF
_U32: Final = 0xFFFF_FFFF
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF
# The latest time that fits a DateTime: 2106.
_LAST_US: Final = _U32 * 1_000_000


class Encoded(NamedTuple):
    """Rows as frames.

    :ivar failures: rows that are left out because a field has the wrong type.
    :ivar error: why the last of them could not be encoded.
    """

    content: bytes
    rows: int
    failures: int
    error: Exception | None


class Encoder:
    """Makes the frames of one segment file, which must stand in it in the order of their making.

    It remembers the texts that are in the file, so it lives as long as the file is open.
    """

    def __init__(self) -> None:
        self._sources: dict[tuple[object, ...], int] = {}
        self._targets: dict[str, int] = {}
        self._referrers: dict[str, int] = {}
        self._texts: list[bytes] = []  # of the frame that is being made
        self._texts_bytes = 0

    def encode(self, rows: Iterable[Row]) -> Encoded:
        """Return the frames of ``rows``. Texts beyond their bound are cut, numbers clamped."""
        frames: list[bytes] = []
        packed: list[bytes] = []
        count = failures = 0
        error: Exception | None = None
        sources, targets, referrers, pack = (
            self._sources,
            self._targets,
            self._referrers,
            ROW.pack,
        )
        for row in rows:
            (
                time_us,
                site_id,
                kind,
                scheme,
                protocol,
                method,
                host,
                path,
                status,
                reason,
                client,
                user_agent,
                referrer,
                request_bytes,
                response_bytes,
                duration_us,
                origin_us,
                query,
                traits,
            ) = row
            try:
                key = (site_id, kind, scheme, protocol, method, host, reason, client, user_agent)
                source_at = sources.get(key)
                if source_at is None:
                    source_at = self._new_source(Source(*key))
                target = f"{path}{QUERY_MARK}{query}" if query else path
                target_at = targets.get(target)
                if target_at is None:
                    target_at = self._new_text(target, targets, TARGET_CHARACTERS, TARGET_MARK)
                referrer_at = referrers.get(referrer)
                if referrer_at is None:
                    referrer_at = self._new_text(
                        referrer, referrers, REFERRER_CHARACTERS, REFERRER_MARK
                    )
                try:
                    packed.append(
                        pack(
                            time_us,
                            duration_us,
                            origin_us,
                            request_bytes,
                            response_bytes,
                            time_us // 1_000_000,
                            source_at,
                            target_at,
                            referrer_at,
                            status,
                            traits,
                        )
                    )
                except struct.error:
                    packed.append(_clamped(row, source_at, target_at, referrer_at))
            except (AttributeError, TypeError, ValueError) as problem:
                # A fault of ours in one row must not take the turn's other rows along.
                failures += 1
                error = problem
                continue
            count += 1
            if len(packed) == FRAME_ROWS or self._texts_bytes > FRAME_TEXT_BYTES:
                frames.append(self._frame(packed))
                packed = []
        if packed or self._texts:
            frames.append(self._frame(packed))
        return Encoded(b"".join(frames), count, failures, error)

    def _frame(self, packed: Sequence[bytes]) -> bytes:
        texts = b""
        if self._texts:
            texts, self._texts, self._texts_bytes = b"".join(self._texts), [], 0
        rows = b"".join(packed)
        body = LENGTHS.pack(len(texts), len(rows)) + texts + rows
        return CHECKSUM.pack(crc32(body)) + body

    def _new_source(self, source: Source) -> int:
        """Return the number of a source that was not found as it is: new, or to be cut."""
        site_id, kind, scheme, protocol, method, host, reason, client, user_agent = source
        cut = Source(
            _clamp(site_id, _U32),
            kind[:WORD_CHARACTERS],
            scheme[:WORD_CHARACTERS],
            protocol[:WORD_CHARACTERS],
            method[:WORD_CHARACTERS],
            host[:HOST_CHARACTERS],
            reason[:REASON_CHARACTERS],
            client[:CLIENT_CHARACTERS],
            user_agent[:USER_AGENT_CHARACTERS],
        )
        known = self._sources.get(cut)
        if known is not None:
            return known
        text = "".join(cut[1:]).encode("utf-8", "surrogatepass")
        self._add(SOURCE_TEXTS.pack(SOURCE_MARK, cut.site_id, *map(len, cut[1:]), len(text)) + text)
        self._sources[cut] = number = len(self._sources)
        return number

    def _new_text(self, text: str, known: dict[str, int], characters: int, mark: int) -> int:
        """Return the number of a text that was not found as it is: new, or to be cut."""
        if len(text) > characters:
            text = text[:characters]
            if text in known:
                return known[text]
        encoded = text.encode("utf-8", "surrogatepass")
        self._add(TEXT.pack(mark, len(encoded)) + encoded)
        known[text] = number = len(known)
        return number

    def _add(self, text: bytes) -> None:
        self._texts.append(text)
        self._texts_bytes += len(text)


def _clamped(row: Row, *texts: int) -> bytes:
    """Return the packed row with each number as near to its own as it can be written."""
    time_us = _clamp(row.time_us, _LAST_US)
    return ROW.pack(
        time_us,
        _clamp(row.duration_us, _U64),
        _clamp(row.origin_us, _U64),
        _clamp(row.request_bytes, _U64),
        _clamp(row.response_bytes, _U64),
        time_us // 1_000_000,
        *texts,
        _clamp(row.status, _U16),
        _clamp(row.traits, _U16),
    )


def _clamp(number: int, highest: int) -> int:
    """Return ``number``, or the nearest end of 0..highest."""
    return min(max(int(number), 0), highest)
