"""Telethon against the simulator: from nothing, through the key exchange, to all that an account sees."""

import asyncio
import hashlib
import logging
import re
import sys

from judging import Judge, becomes_true, equal, happenings
from telethon import TelegramClient, errors, events, functions, utils
from telethon.crypto import rsa
from telethon.sessions import MemorySession
from telethon.tl import types as tl

DOCUMENTS = (
    (tl.DocumentAttributeSticker, "sticker"),
    (tl.DocumentAttributeAnimated, "animation"),
    (tl.DocumentAttributeVideo, "video"),
    (tl.DocumentAttributeAudio, "audio"),
)
MEDIA = {
    tl.MessageMediaPhoto: "photo",
    tl.MessageMediaGeo: "location",
    tl.MessageMediaGeoLive: "location",
    tl.MessageMediaVenue: "location",
    tl.MessageMediaContact: "contact",
    tl.MessageMediaWebPage: "webpage",
    tl.MessageMediaGame: "game",
    tl.MessageMediaInvoice: "invoice",
    tl.MessageMediaPoll: "poll",
    tl.MessageMediaDice: "dice",
    tl.MessageMediaStory: "story",
    tl.MessageMediaGiveaway: "giveaway",
    tl.MessageMediaGiveawayResults: "giveaway_results",
    tl.MessageMediaPaidMedia: "paid_media",
    tl.MessageMediaToDo: "todo",
}


def media_type(media):
    if media is None or isinstance(media, tl.MessageMediaEmpty):
        return None
    if not isinstance(media, tl.MessageMediaDocument):
        return MEDIA.get(type(media), "unsupported")
    found = {type(attribute): attribute for attribute in media.document.attributes}
    for kind, name in DOCUMENTS:
        if kind in found:
            if getattr(found[kind], "round_message", False):
                return "video_note"
            return "voice" if getattr(found[kind], "voice", False) else name
    return "document"


def content(message):
    """A message as the truth tells it."""
    service = isinstance(message, tl.MessageService)
    sender = message.from_id
    return {
        "chat_id": utils.get_peer_id(message.peer_id),
        "message_id": message.id,
        "date": int(message.date.timestamp()),
        "edit_date": int(message.edit_date.timestamp()) if not service and message.edit_date else None,
        "text": "" if service else message.message,
        "from_user_id": sender.user_id if isinstance(sender, tl.PeerUser) else None,
        "reply_to_message_id": getattr(message.reply_to, "reply_to_msg_id", None),
        "media_type": None if service else media_type(message.media),
        "service": re.sub(r"(?<!^)([A-Z])", r"_\1", type(message.action).__name__[13:]).lower() if service else None,
    }


def short_content(update, me):
    """A text message in a private chat or basic group, as updates tell it in short."""
    private = isinstance(update, tl.UpdateShortMessage)
    sender = (me if update.out else update.user_id) if private else update.from_id
    return {
        "chat_id": update.user_id if private else -update.chat_id,
        "message_id": update.id,
        "date": int(update.date.timestamp()),
        "edit_date": None,
        "text": update.message,
        "from_user_id": sender,
        "reply_to_message_id": getattr(update.reply_to, "reply_to_msg_id", None),
        "media_type": None,
        "service": None,
    }


class View:
    """What updates told, on top of what was read."""

    def __init__(self, other=None):
        self.chats = other.chats if other else {}
        self.me = other.me if other else None

    def note(self, told):
        self.chats.setdefault(told["chat_id"], {})[told["message_id"]] = told

    def of(self, chat):
        return self.chats.setdefault(chat, {})

    async def difference(self, told):
        """New messages come in a list of their own; an edit or deletion is newer than they."""
        for message in told.new_messages:
            self.note(content(message))
        for update in told.other_updates:
            await self.update(update)

    async def update(self, update):
        if isinstance(update, (tl.UpdateNewMessage, tl.UpdateNewChannelMessage, tl.UpdateEditMessage, tl.UpdateEditChannelMessage)):
            self.note(content(update.message))
        elif isinstance(update, (tl.UpdateShortMessage, tl.UpdateShortChatMessage)):
            self.note(short_content(update, self.me))
        elif isinstance(update, tl.UpdateDeleteChannelMessages):
            for id in update.messages:
                self.of(utils.get_peer_id(tl.PeerChannel(update.channel_id))).pop(id, None)
        elif isinstance(update, tl.UpdateDeleteMessages):
            # Private chats and basic groups share one numbering.
            for id in update.messages:
                for chat, known in self.chats.items():
                    if chat > -1_000_000_000_000:
                        known.pop(id, None)


class Program(Judge):
    def __init__(self):
        super().__init__("telethon")
        key = self.control.get("/rsa_key")
        rsa.add_key(key["pem"], old=False)
        self.addresses = self.control.datacentres()
        self.session = MemorySession()
        # Not home, where there is more than one: the server has to send the client there.
        first = min(self.addresses)
        self.session.set_dc(first, *self.addresses[first])
        self.view = View()
        self.client = self.make_client()
        self.others = {}

    def make_client(self, **more):
        client = TelegramClient(self.session, 1, "none", flood_sleep_threshold=10, **more)
        client.add_event_handler(self.view.update, events.Raw)
        return client

    async def run(self):
        await self.step("sign-in", self.sign_in, needed=True)
        await self.step("dialogs", self.dialogs, needed=True)
        await self.step("history", self.history, needed=True)
        await self.step("members", self.members)
        await self.step("download", self.download)
        await self.step("live", self.live)
        await self.step("catch-up", self.catch_up)
        await self.step("differences", self.differences)
        await self.step("sign-out", self.sign_out)

    async def sign_in(self):
        await self.client.connect()
        sent = await self.client.send_code_request(self.phone)
        code = self.control.code(self.phone)
        wrong = str((int(code) + 1) % 10 ** len(code)).zfill(len(code))
        try:
            await self.client.sign_in(self.phone, wrong, phone_code_hash=sent.phone_code_hash)
            raise AssertionError("a wrong code was accepted")
        except errors.PhoneCodeInvalidError:
            pass
        try:
            await self.client.sign_in(self.phone, code, phone_code_hash=sent.phone_code_hash)
            raise AssertionError("no password was asked for")
        except errors.SessionPasswordNeededError:
            pass
        try:
            await self.client.sign_in(password=self.password + "!")
            raise AssertionError("a wrong password was accepted")
        except errors.PasswordHashInvalidError:
            pass
        me = await self.client.sign_in(password=self.password)
        self.view.me = me.id
        home = self.session.dc_id
        return f"user {me.id}, at home in DC {home}, by way of DC {min(self.addresses)}"

    async def dialogs(self):
        seen = {}
        async for dialog in self.client.iter_dialogs():
            seen[dialog.id] = {"top": dialog.message.id}
            self.others[dialog.id] = dialog.input_entity
        equal("dialogs", seen, self.dialogs_in_truth(), ("top",))
        return f"{len(seen)} chats"

    async def history(self):
        count = 0
        for chat in self.control.chats():
            truth = self.truth(chat)
            # Without a pause: the server's limits are told by the server.
            back = [message async for message in self.client.iter_messages(self.others[chat], wait_time=0)]
            forth = [message async for message in self.client.iter_messages(self.others[chat], reverse=True, wait_time=0)]
            for way, messages in (("backwards", back), ("forwards", forth)):
                ids = [message.id for message in messages]
                if ids != sorted(truth, reverse=way == "backwards"):
                    equal(f"chat {chat} {way}", {id: {} for id in ids}, {id: {} for id in truth}, ())
                    raise AssertionError(f"chat {chat} {way}: out of order, or twice")
                equal(f"chat {chat} {way}", {message.id: content(message) for message in messages}, truth)
            for message in back:
                self.view.note(content(message))
            self.view.of(chat)
            count += len(back)
        return f"{count} messages, backwards and forwards"

    async def members(self):
        count = 0
        for id, chat in self.control.chats().items():
            if chat["kind"] not in ("supergroup", "group"):
                continue
            seen = {user.id: {} async for user in self.client.iter_participants(self.others[id])}
            equal(f"members of {id}", seen, self.control.members(id), ())
            count += len(seen)
        if not count:
            raise AssertionError("no chat has members to be seen")
        return f"{count} members"

    async def download(self):
        told = []
        home = self.session.dc_id
        by_dc = {}
        for id, chat in self.control.chats().items():
            for file in self.control.files(id):
                if 0 < file["size"] < 8 * 1024 * 1024:
                    by_dc.setdefault(file["dc"], []).append(file)
        if len(self.addresses) > 1 and not by_dc.keys() - {home}:
            raise AssertionError("no file lives elsewhere")
        for dc, files in sorted(by_dc.items()):
            for file in files[:3] + files[-3:]:
                message = await self.client.get_messages(self.others[file["chat_id"]], ids=file["message_id"])
                data = await self.client.download_media(message, bytes)
                if hashlib.sha256(data).hexdigest() != file["sha256"]:
                    raise AssertionError(f"{len(data)} bytes differ: {file}")
            told.append(f"{min(6, len(files))} files of DC {dc}")
        return ", ".join(told)

    async def live(self):
        self.control.play(happenings(self.control, 60, seed=1))
        for chat in self.control.chats():
            await becomes_true(f"chat {chat}", lambda: self.view.of(chat), lambda: self.truth(chat))
        return "60 events"

    async def catch_up(self):
        """By Telethon's own means. Those lose what a difference tells of edits and deletions: its message box takes over the last
        pts first, and then takes all that comes before for old."""
        await self.client.disconnect()
        self.control.play(happenings(self.control, 500, seed=2, kinds=(("post", 1),)))
        self.client = self.make_client(catch_up=True)
        await self.client.connect()
        for chat in self.control.chats():
            await becomes_true(f"chat {chat}", lambda: self.view.of(chat), lambda: self.truth(chat))
        return "500 posts were missed and are known"

    async def differences(self):
        """The same by hand, with edits and deletions: from the state before, slice by slice."""
        state = await self.client(functions.updates.GetStateRequest())
        answer = await self.client(functions.messages.GetDialogsRequest(None, 0, tl.InputPeerEmpty(), 100, 0))
        channels = {dialog.peer.channel_id: dialog.pts for dialog in answer.dialogs if dialog.pts}
        await self.client.disconnect()
        self.view = View(self.view)
        self.control.play(happenings(self.control, 500, seed=3))
        self.client = self.make_client(receive_updates=False)
        await self.client.connect()
        slices = await self.difference(state)
        for channel, pts in channels.items():
            slices += await self.channel_difference(channel, pts)
        for chat in self.control.chats():
            equal(f"chat {chat}", self.view.of(chat), self.truth(chat))
        return f"500 posts, edits and deletions were missed and are known, in {slices} slices"

    async def difference(self, state):
        slices = 0
        while True:
            told = await self.client(functions.updates.GetDifferenceRequest(state.pts, state.date, state.qts))
            slices += 1
            if isinstance(told, tl.updates.DifferenceEmpty):
                return slices
            await self.view.difference(told)
            if isinstance(told, tl.updates.Difference):
                return slices
            state = told.intermediate_state

    async def channel_difference(self, channel, pts):
        slices = 0
        peer = utils.get_input_channel(self.others[utils.get_peer_id(tl.PeerChannel(channel))])
        while True:
            everything = tl.ChannelMessagesFilterEmpty()
            told = await self.client(functions.updates.GetChannelDifferenceRequest(peer, everything, pts, 100))
            slices += 1
            if isinstance(told, tl.updates.ChannelDifference):
                await self.view.difference(told)
            if told.final:
                return slices
            pts = told.pts

    async def sign_out(self):
        if not await self.client.log_out():
            raise AssertionError("not signed out")
        return "done"


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(asyncio.run(Program().all()))
