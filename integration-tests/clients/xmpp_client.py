"""An XMPP client driven by JSON lines: slixmpp of Debian 12.

One JSON object a line on standard input is a command, one a line on standard output is an event:

    {"op": "send", "to": "bob@initech.example", "id": "m1", "body": "hello"}
    {"op": "raw", "xml": "<message ...>...</message>"}
    {"op": "quit"}

    {"event": "online"}
    {"event": "message", "from": "...", "type": "chat", "id": "m1", "body": "hello"}
    {"event": "error", "from": "...", "id": "m1", "type": "cancel", "condition": "service-unavailable", "text": ""}
    {"event": "presence", "from": "...", "type": "available", "show": "", "status": "", "priority": 0, "idle": false}
    {"event": "stanza", "from": "...", "xml": "<message ...>"}     every message, with or without a body, that is no error
    {"event": "failed", "reason": "..."}
"""

import argparse
import asyncio
import json
import sys

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

LONGEST_LINE = 16 * 1024 * 1024


def emit(**event):
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Client(slixmpp.ClientXMPP):
    """One account, logged in over plain TCP on the loopback interface."""

    def __init__(self, address, password):
        super().__init__(address, password)
        self["feature_mechanisms"].unencrypted_plain = True
        # Whoever asks to see this person is answered by the test, and by nobody else.
        self.auto_authorize = None
        self.auto_subscribe = False
        self.register_handler(Callback("every message", MatchXPath("{jabber:client}message"), self.any_message))
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("message", self.received)
        self.add_event_handler("message_error", self.refused)
        self.add_event_handler("presence", self.presence_received)
        self.add_event_handler("failed_auth", lambda _: emit(event="failed", reason="authentication"))
        self.add_event_handler("connection_failed", lambda error: emit(event="failed", reason=str(error)))

    def started(self, _event):
        # Only who has asked for the roster is told of answers to its subscriptions (RFC 6121 §2.2).
        self.get_roster()
        self.send_presence()
        emit(event="online")

    def received(self, message):
        if message["type"] != "error":
            emit(
                event="message",
                **{"from": str(message["from"])},
                type=message["type"],
                id=message["id"],
                body=message["body"],
            )

    def any_message(self, message):
        if message["type"] != "error":
            emit(event="stanza", **{"from": str(message["from"])}, xml=str(message))

    def refused(self, message):
        error = message["error"]
        emit(
            event="error",
            **{"from": str(message["from"])},
            id=message["id"],
            type=error["type"],
            condition=error["condition"],
            text=error["text"],
        )

    def presence_received(self, presence):
        emit(
            event="presence",
            **{"from": str(presence["from"])},
            type=presence["type"],
            show=presence["show"],
            status=presence["status"],
            priority=presence["priority"],
            idle=presence.xml.find("{urn:xmpp:idle:1}idle") is not None,
        )

    def obey(self, command):
        if command["op"] == "send":
            message = self.make_message(mto=command["to"], mbody=command["body"], mtype="chat")
            message["id"] = command["id"]
            message.send()
        elif command["op"] == "raw":
            self.send_raw(command["xml"])


async def run(arguments):
    client = Client(arguments.address, arguments.password)
    client.connect(("127.0.0.1", arguments.port), disable_starttls=True)
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        if command["op"] == "quit":
            break
        client.obey(command)
    await client.disconnect()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="user@domain")
    parser.add_argument("--password", required=True)
    parser.add_argument("--port", required=True, type=int, help="of 127.0.0.1")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
