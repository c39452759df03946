"""Steps that a client goes through, each compared with the truth."""

import asyncio
import os
import random
import sys
import time
import traceback

from control import Control

FIELDS = ("chat_id", "message_id", "date", "edit_date", "text", "from_user_id", "reply_to_message_id", "media_type", "service")
# How long a client may take until what it sees equals the truth, in seconds.
PATIENCE = float(os.environ.get("JUDGE_PATIENCE", "60"))


class Differs(AssertionError):
    """What a client sees is not what is true."""


def differences(seen, truth, fields=FIELDS):
    """The first differences between two views of a chat by id, in words; none if both are equal."""
    told = []
    for what, ids in (("missing", truth.keys() - seen.keys()), ("not true", seen.keys() - truth.keys())):
        if ids:
            told.append(f"{len(ids)} {what} (first {sorted(ids)[:5]})")
    for id in sorted(truth.keys() & seen.keys()):
        for field in fields:
            if seen[id].get(field) != truth[id].get(field):
                told.append(f"{id}: {field} is {seen[id].get(field)!r}, in truth {truth[id].get(field)!r}")
        if len(told) > 8:
            break
    return told


def equal(what, seen, truth, fields=FIELDS):
    told = differences(seen, truth, fields)
    if told:
        raise Differs(f"{what}: " + "; ".join(told[:8]))


async def becomes_true(what, view, truth, fields=FIELDS):
    """Waits until a view equals the truth."""
    until = time.monotonic() + PATIENCE
    while told := differences(view(), truth(), fields):
        if time.monotonic() > until:
            raise Differs(f"{what}, after {PATIENCE:.0f} s: " + "; ".join(told[:8]))
        await asyncio.sleep(0.1)


class Needed(Exception):
    """A step failed without which the others cannot be tried."""


class Judge:
    """Runs the steps of one client and says how each went."""

    def __init__(self, client_name):
        self.client_name = client_name
        if len(sys.argv) < 5:
            sys.exit(f"usage: {sys.argv[0]} CONTROL_URL ACCOUNT PHONE PASSWORD [STEP…]")
        self.control = Control(sys.argv[1])
        self.account, self.phone, self.password = sys.argv[2:5]
        self.wanted = sys.argv[5:]
        self.failed = []

    def truth(self, chat):
        """What this client's account can know of a chat."""
        return self.control.truth_of(self.account, chat)

    def dialogs_in_truth(self):
        """The newest message of each chat that has one."""
        tops = {chat: max(self.truth(chat), default=None) for chat in self.control.chats()}
        return {chat: {"top": top} for chat, top in tops.items() if top}

    async def step(self, name, work, needed=False):
        """One step; a failed one does not keep the others from being tried, unless they need it."""
        if self.wanted and name not in self.wanted and not needed:
            return
        began = time.monotonic()
        try:
            told = await work()
            print(f"{self.client_name}: {name}: {told} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            traceback.print_exc()
            self.failed.append(name)
            print(f"{self.client_name}: {name}: FAILED", flush=True)
            if needed:
                raise Needed(name) from None

    async def all(self):
        """All steps, within a time that a hanging client cannot stretch. Gives the exit code."""
        try:
            await asyncio.wait_for(self.run(), float(os.environ.get("JUDGE_LIMIT", "300")))
        except Needed:
            pass
        except asyncio.TimeoutError:
            self.failed.append("ending in time")
        if self.failed:
            print(f"{self.client_name}: failed: {', '.join(self.failed)}", flush=True)
            return 1
        print(f"{self.client_name}: all that was seen equals the truth", flush=True)
        return 0


def happenings(control, count, seed, kinds=(("post", 8), ("edit", 2), ("delete", 1))):
    """Events in all chats, such as people cause them: posts, replies, edits, deletions, so often in proportion."""
    chance = random.Random(seed)
    chats = list(control.chats().values())
    events = []
    for chat in chats:
        truth = control.truth(chat["chat_id"])
        # Service messages are left alone.
        theirs = [id for id in sorted(truth)[-50:] if truth[id]["service"] is None]
        authors = sorted({truth[id]["from_user_id"] for id in theirs} - {None})
        for at in range(count // len(chats)):
            # What is edited, deleted or replied to was there before.
            kind = chance.choices(*zip(*kinds))[0] if len(theirs) > 5 else "post"
            event = {"event": kind, "chat": chat["chat_id"]}
            if kind == "post":
                event["text"] = f"{seed}-{at}: {chance.choice(('ship', 'گشتی', '船', 'корабль 🚢'))}"
                if chat["kind"] != "channel":
                    event["from"] = chance.choice(authors)
                if theirs and chance.random() < 0.3:
                    event["reply_to"] = chance.choice(theirs)
            elif kind == "edit":
                event |= {"id": chance.choice(theirs), "text": f"{seed}-{at}: edited"}
            else:
                event["ids"] = [theirs.pop(chance.randrange(len(theirs)))]
            events.append(event)
    return interleaved(events, chance)


def interleaved(events, chance):
    """Chats take turns, as they do in life; the events of each stay in their order."""
    waiting = {}
    for event in events:
        waiting.setdefault(event["chat"], []).append(event)
    told = []
    while waiting:
        chat = chance.choice(list(waiting))
        told.append(waiting[chat].pop(0))
        if not waiting[chat]:
            del waiting[chat]
    return told
