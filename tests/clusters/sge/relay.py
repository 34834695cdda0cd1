"""Passes connections on from an address of its own: relay.py PORT ADDRESS PORT-OF-THE-MASTER."""

import asyncio
import contextlib
import sys


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError), contextlib.closing(writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def _relay(port: int, address: str, master: int) -> None:
    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", master, local_addr=(address, 0))
        except OSError:  # as if the master itself had refused
            writer.close()
            return
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    async with await asyncio.start_server(passed, "127.0.0.1", port) as server:
        print("listening", flush=True)
        await server.serve_forever()


asyncio.run(_relay(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
