"""The peer of scripts/bench pipeline: reads every chat of an account and writes a document for each message, and keeps nothing.

Prints one line of JSON: documents, seconds, rss_mib (the largest resident set).
"""

import asyncio
import json
import resource
import sys
import time

from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from telethon import TelegramClient
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession


def session_of(path):
    with open(path) as file:
        account = json.load(file)
    session = MemorySession()
    session.set_dc(account["dc"], account["address"], account["port"])
    session.auth_key = AuthKey(bytes.fromhex(account["key"]))
    return session


async def documents(client, chat, index):
    # wait_time: Telethon would sleep for a second between pages.
    async for message in client.iter_messages(chat, wait_time=0):
        yield {
            "_index": index,
            "_id": f"{chat.id}:{message.id}",
            "chat_id": chat.id,
            "message_id": message.id,
            "sender_id": message.sender_id,
            "date": message.date.isoformat(),
            "text": message.message,
            "reply_to": message.reply_to_msg_id,
            "views": message.views,
        }


async def main(path, address, index):
    begun = time.monotonic()
    elastic = AsyncElasticsearch(address, request_timeout=60)
    client = TelegramClient(session_of(path), 1, "0", receive_updates=False)
    await client.connect()
    chats = [dialog.entity for dialog in await client.get_dialogs()]
    written = await asyncio.gather(*(async_bulk(elastic, documents(client, chat, index), chunk_size=500) for chat in chats))
    seconds = time.monotonic() - begun
    await client.disconnect()
    await elastic.close()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"documents": sum(count for count, _ in written), "seconds": round(seconds, 2), "rss_mib": round(rss)}))


asyncio.run(main(*sys.argv[1:]))
