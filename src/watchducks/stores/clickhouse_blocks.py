"""clickhouse-driver, taught to send a Block as it lies in memory.

The driver packs a block value by value in Python, which is most of what an insert costs us; of a
column of type LowCardinality it looks each value up in a dictionary again. ``Client.send_data`` is
the one step of its insert that sends the values; what comes before and after stays the driver's.
It is no documented place to override, so the contract of the log stores compares what arrives with
what the driver itself sends.
"""

from __future__ import annotations

from typing import Any

from clickhouse_driver import Client
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.defines import DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str

from watchducks.stores.blocks import Block, content_of, string

__all__ = ["BlockClient", "Client"]

# "Not stored sparsely": a byte of each column that newer servers want.
_PLAIN = b"\0"


class BlockClient(Client):  # type: ignore[misc]
    """A client whose ``execute`` takes a Block as the data of an INSERT, too."""

    def send_data(
        self,
        sample_block: Any,
        data: Any,
        types_check: bool = False,  # noqa: FBT001, FBT002  the driver's own signature
        columnar: bool = False,  # noqa: FBT001, FBT002
    ) -> int:
        """Send the data of an INSERT and return the number of its rows.

        :param sample_block: the names and types that the server wants.
        :raises ValueError: a column does not fit its type.
        """
        if not isinstance(data, Block):
            sent: int = super().send_data(sample_block, data, types_check, columnar)
            return sent
        wanted = sample_block.columns_with_types
        if [name for name, _ in wanted] != list(data.columns):
            raise ValueError("the server wants other columns")
        connection = self.connection
        has_mark = (
            connection.server_info.used_revision >= DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
        )
        mark = _PLAIN if has_mark else b""
        # All of it is made before the first byte is sent: a column that does not fit must not
        # leave half a block on the connection.
        pieces = [
            string(name.encode())
            + string(kind.encode())
            + mark
            + content_of(data.columns[name], kind, data.rows)
            for name, kind in wanted
        ]
        out = connection.fout
        write_varint(ClientPacketTypes.DATA, out)
        write_binary_str("", out)  # the name of an external table, which this is none
        BlockInfo().write(out)
        write_varint(len(pieces), out)
        write_varint(data.rows, out)
        for piece in pieces:
            out.write(piece)
        out.flush()
        self.receive_profile_events()
        connection.send_data(ColumnOrientedBlock())  # an empty block: that was all
        self.receive_profile_events()
        return data.rows
