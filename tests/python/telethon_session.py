"""Signs in to a simulated datacentre with Telethon, from nothing, and prints its session string."""

import asyncio
import json
import sys
import urllib.request

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession


def told(control, path):
    # Loopback is never reached through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(control + path) as answer:
        return json.load(answer)


async def main(control, phone):
    rsa.add_key(told(control, "/rsa_key")["pem"], old=False)
    session = StringSession()
    number, address = next(iter(told(control, "/datacentres").items()))
    host, port = address.rsplit(":", 1)
    session.set_dc(int(number), host, int(port))
    client = TelegramClient(session, 1, "none")
    await client.connect()
    sent = await client.send_code_request(phone)
    code = told(control, "/code/" + phone.lstrip("+"))["code"]
    await client.sign_in(phone, code, phone_code_hash=sent.phone_code_hash)
    print(session.save())
    await client.disconnect()


asyncio.run(main(*sys.argv[1:]))
