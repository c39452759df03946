"""The simulator's control port: what is true, and what shall happen."""

import json
import urllib.request


class Control:
    """Speaks with one simulator."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        # Loopback is never reached through a proxy.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _request(self, path, body=None):
        request = urllib.request.Request(self.url + path, data=body, headers={"Content-Type": "application/json"})
        try:
            with self.opener.open(request, timeout=120) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.code} {error.read().decode()}") from None

    def get(self, path):
        return json.loads(self._request(path))

    def lines(self, path):
        return [json.loads(line) for line in self._request(path).splitlines()]

    def post(self, path, body):
        answer = self._request(path, json.dumps(body).encode())
        return json.loads(answer) if answer else None

    def code(self, phone):
        return self.get(f"/code/{phone.lstrip('+')}")["code"]

    def datacentres(self):
        """Host and port by the datacentre's number."""
        told = self.get("/datacentres")
        return {int(dc): (address.rsplit(":", 1)[0], int(address.rsplit(":", 1)[1])) for dc, address in told.items()}

    def chats(self):
        return {chat["chat_id"]: chat for chat in self.get("/chats")}

    def truth(self, chat):
        """What exists in a chat now, by message id."""
        return {line["message_id"]: line for line in self.lines(f"/truth/{chat}")}

    def truth_of(self, account, chat):
        """What an account can know of a chat now, by the ids that messages have for it."""
        return {line["message_id"]: line for line in self.lines(f"/truth/{chat}/at?account={account}")}

    def members(self, chat):
        """Who is in a chat now, by user id."""
        absent = ("banned", "left")
        return {line["user_id"]: line for line in self.lines(f"/chats/{chat}/members") if line["role"] not in absent}

    def files(self, chat):
        return [line for line in self.lines(f"/chats/{chat}/files") if line["sha256"]]

    def play(self, events):
        """Lets events happen, in their order."""
        self._request("/events", "".join(json.dumps(event) + "\n" for event in events).encode())
