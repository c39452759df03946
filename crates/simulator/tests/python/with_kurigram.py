"""kurigram (a maintained fork of Pyrogram) against the simulator: sign-in, history, members, download."""

import hashlib
import logging
import sys

import rsa
from judging import FIELDS, Judge, equal
from pyrogram import Client, errors, utils
from pyrogram.connection import Connection
from pyrogram.crypto.rsa import PublicKey, server_public_keys

MEDIA = {
    "web_page": "webpage",
    "venue": "location",
    "live_photo": "photo",
    "giveaway_winners": "giveaway_results",
    "checklist": "todo",
}


def content(message):
    """A message as the truth tells it; of a service message only that it is one."""
    service = message.service is not None
    kind = message.media.name.lower() if message.media and not service else None
    return {
        "chat_id": message.chat.id,
        "message_id": message.id,
        "date": int(message.date.timestamp()),
        "edit_date": int(message.edit_date.timestamp()) if message.edit_date else None,
        "text": "" if service else str(message.text or message.caption or ""),
        "from_user_id": message.from_user.id if message.from_user else None,
        "reply_to_message_id": message.reply_to_message_id,
        "media_type": MEDIA.get(kind, kind),
        "service": service,
    }


class Program(Judge):
    def __init__(self):
        super().__init__("kurigram")
        key = self.control.get("/rsa_key")
        public = rsa.PublicKey.load_pkcs1(key["pem"].encode())
        server_public_keys[int(key["fingerprint"])] = PublicKey(public.n, public.e)
        addresses = self.control.datacentres()

        class Local(Connection):
            """Finds the datacentres where the simulator has them."""

            def __init__(self, *, dc_id, **rest):
                rest["server_address"], rest["port"] = addresses[dc_id]
                super().__init__(dc_id=dc_id, **rest)

        self.client = Client(
            "judge",
            api_id=1,
            api_hash="none",
            in_memory=True,
            no_updates=True,
            connection_factory=Local,
            fetch_replies=False,
            fetch_topics=False,
            fetch_stories=False,
            fetch_stickers=False,
        )
        self.chats = {}

    async def run(self):
        await self.step("sign-in", self.sign_in, needed=True)
        await self.step("dialogs", self.dialogs, needed=True)
        await self.step("history", self.history)
        await self.step("members", self.members)
        await self.step("download", self.download)
        await self.client.disconnect()

    async def sign_in(self):
        await self.client.connect()
        sent = await self.client.send_phone_number_code(self.phone)
        try:
            await self.client.sign_in(self.phone, sent.phone_code_hash, self.control.code(self.phone))
            raise AssertionError("no password was asked for")
        except errors.SessionPasswordNeeded:
            pass
        me = await self.client.check_password(self.password)
        return f"user {me.id}, at home in DC {await self.client.storage.dc_id()}"

    async def dialogs(self):
        seen = {}
        async for dialog in self.client.get_dialogs():
            seen[dialog.chat.id] = {"top": dialog.top_message.id}
        self.chats = self.control.chats()
        equal("dialogs", seen, self.dialogs_in_truth(), ("top",))
        return f"{len(seen)} chats"

    async def history(self):
        count = 0
        for chat in self.chats:
            truth = {id: line | {"service": line["service"] is not None} for id, line in self.truth(chat).items()}
            for reverse in (False, True):
                ids, seen = [], {}
                async for message in self.client.get_chat_history(chat, reverse=reverse):
                    ids.append(message.id)
                    seen[message.id] = content(message)
                equal(f"chat {chat}", seen, truth, FIELDS)
                if ids != sorted(truth, reverse=not reverse):
                    raise AssertionError(f"chat {chat}: out of order, or twice")
            count += len(truth)
        return f"{count} messages, backwards and forwards"

    async def members(self):
        count = 0
        for id, chat in self.chats.items():
            if chat["kind"] not in ("supergroup", "group"):
                continue
            seen = {}
            async for member in self.client.get_chat_members(id):
                seen[member.user.id] = {}
            equal(f"members of {id}", seen, self.control.members(id), ())
            count += len(seen)
        if not count:
            raise AssertionError("no chat has members to be seen")
        return f"{count} members"

    async def download(self):
        home = await self.client.storage.dc_id()
        by_dc = {}
        for id in self.chats:
            for file in self.control.files(id):
                if 0 < file["size"] < 4 * 1024 * 1024:
                    by_dc.setdefault(file["dc"], []).append(file)
        if len(self.control.datacentres()) > 1 and not by_dc.keys() - {home}:
            raise AssertionError("no file lives elsewhere")
        told = []
        for dc, files in sorted(by_dc.items()):
            files.sort(key=lambda file: file["size"])
            chosen = files[:3] + files[len(files) // 2 :][:1]
            for file in chosen:
                message = await self.client.get_messages(file["chat_id"], file["message_id"])
                data = await self.client.download_media(message, in_memory=True)
                if hashlib.sha256(data.getvalue()).hexdigest() != file["sha256"]:
                    raise AssertionError(f"{len(data.getvalue())} bytes differ: {file}")
            told.append(f"{len(chosen)} files of DC {dc}")
        return ", ".join(told)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(utils.get_event_loop().run_until_complete(Program().all()))
