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
                self.end()

    def end(self):
        if self.failed:
            print(f"{self.client_name}: failed: {', '.join(self.failed)}", flush=True)
            sys.exit(1)
        print(f"{self.client_name}: all that was seen equals the truth", flush=True)
        sys.exit(0)


def happenings(control, chats, members, count, seed):
    """Events in these chats, such as people cause them: posts, replies, edits, deletions."""
    chance = random.Random(seed)
    events = []
    for chat in chats:
        truth = control.truth(chat["chat_id"])
        ids = sorted(truth)[-50:]
        # Edits and deletions need messages that exist; service messages are left alone.
        theirs = [id for id in ids if truth[id]["service"] is None]
        authors = members.get(chat["chat_id"]) or [None]
        for at in range(count // len(chats)):
            kind = chance.choices(("post", "edit", "delete"), (8, 2, 1))[0] if len(theirs) > 5 else "post"
            event = {"event": kind, "chat": chat["chat_id"]}
            if kind == "post":
                event["text"] = f"{seed}-{at}: {chance.choice(('ship', 'گشتی', '船', 'корабль 🚢'))}"
                author = chance.choice(authors)
                if author is not None:
                    event["from"] = author
                if theirs and chance.random() < 0.3:
                    event["reply_to"] = chance.choice(theirs)
            elif kind == "edit":
                event |= {"id": chance.choice(theirs), "text": f"{seed}-{at}: edited"}
            else:
                event["ids"] = [theirs.pop(chance.randrange(len(theirs)))]
            events.append(event)
    # Chats take turns, as they do in life.
    chance.shuffle(chats)
    return interleaved(events, chance)


def interleaved(events, chance):
    """The events of each chat stay in their order."""
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
