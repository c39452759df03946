"""Downloads one file from a simulated datacentre with Telethon or kurigram, as their documentation shows it. Run by benches/download.sh."""

import asyncio
import base64
import hashlib
import json
import os
import resource
import struct
import sys
import time
import urllib.request


def told(control, path):
    # Loopback is never reached through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(control + path, timeout=120) as answer:
        return answer.read().decode()


async def with_telethon(account, control, chat, message, path):
    from telethon import TelegramClient
    from telethon.crypto import AuthKey
    from telethon.sessions import MemorySession

    session = MemorySession()
    session.set_dc(account["dc"], account["address"], account["port"])
    session.auth_key = AuthKey(bytes.fromhex(account["key"]))
    client = TelegramClient(session, 1, "0", receive_updates=False)
    await client.connect()
    await client.get_dialogs()
    found = await client.get_messages(chat, ids=message)
    took = await timed(client.download_media(found, file=path))
    await client.disconnect()
    return took


async def with_kurigram(account, control, chat, message, path):
    from pyrogram import Client
    from pyrogram.connection import Connection
    from pyrogram.storage.storage import Storage

    class Local(Connection):
        """Finds the datacentre where the simulator has it."""

        def __init__(self, *, dc_id, **rest):
            rest["server_address"], rest["port"] = account["address"], account["port"]
            super().__init__(dc_id=dc_id, **rest)

    packed = struct.pack(
        Storage.SESSION_STRING_FORMAT, account["dc"], 1, False, bytes.fromhex(account["key"]), account["user_id"], False
    )
    client = Client(
        "bench",
        api_id=1,
        api_hash="none",
        session_string=base64.urlsafe_b64encode(packed).decode().rstrip("="),
        in_memory=True,
        no_updates=True,
        connection_factory=Local,
    )
    await client.connect()
    async for _ in client.get_dialogs():
        pass
    found = await client.get_messages(chat, message)
    took = await timed(client.download_media(found, file_name=path))
    await client.disconnect()
    return took


async def timed(download):
    """MiB before it, then what it took: seconds, and seconds of CPU."""
    idle, start, own = memory(), time.monotonic(), time.process_time()
    await download
    return idle, time.monotonic() - start, time.process_time() - own


def memory():
    """The largest resident set so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    name, session, control, folder = sys.argv[1:]
    with open(session) as file:
        account = json.load(file)
    chat = json.loads(told(control, "/chats"))[0]["chat_id"]
    truth = json.loads(told(control, f"/chats/{chat}/files").splitlines()[0])
    path = os.path.join(os.path.abspath(folder), f"{name}.bin")
    work = {"telethon": with_telethon, "kurigram": with_kurigram}[name]
    idle, seconds, own = asyncio.run(work(account, control, chat, truth["message_id"], path))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    os.remove(path)
    print(
        json.dumps(
            {
                "name": name,
                "seconds": round(seconds, 3),
                "bytes": truth["size"],
                "right": digest.hexdigest() == truth["sha256"],
                "cpu_s": round(own, 2),
                "rss_mib": round(memory() - idle, 1),
            }
        )
    )


main()
