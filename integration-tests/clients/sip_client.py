"""A SIP user agent driven by JSON lines: the Linphone stack (liblinphone 5 of Debian 12) without a screen or sound.

One JSON object a line on standard input is a command, one a line on standard output is an event:

    {"op": "send", "to": "sip:bob@globex.example", "id": "m1", "body": "hello"}
    {"op": "compose", "to": "sip:bob@globex.example"}
    {"op": "read", "from": "sip:bob@globex.example"}     its messages count as shown
    {"op": "watch", "who": "sip:bob@globex.example"}
    {"op": "state", "activity": "busy", "note": "..."}    "" and "": open, and nothing more
    {"op": "quit"}

    {"event": "online"}
    {"event": "message", "from": "sip:alice@globex.example", "content_type": "text/plain", "body": "hello"}
    {"event": "sent", "id": "m1", "code": 200}          the final answer to one MESSAGE; 0: no answer came
    {"event": "failed", "reason": "..."}                registration was refused

    {"event": "composing", "from": "sip:...", "active": true}
    {"event": "receipt", "id": "m1", "what": "delivered"}     or "displayed", by an IMDN
    {"event": "presence", "from": "sip:...", "open": true, "activity": "busy", "note": "..."}

Unless `--all` is given, receipts (IMDN), typing notices and presence are switched off: a message is one MESSAGE, and nothing else is on the
wire.
"""

import argparse
import ctypes
import json
import os
import re
import select
import sys
import tempfile

REGISTRATION_OK = 2
REGISTRATION_FAILED = 4
MESSAGE_DELIVERED = 2
MESSAGE_NOT_DELIVERED = 3
RECEIPTS = {6: "delivered", 7: "displayed"}
BASIC_OPEN = ctypes.c_int(0)
POLICY_ACCEPT = ctypes.c_int(1)
# LinphonePresenceActivityType
ACTIVITIES = {"away": 1, "busy": 3, "meeting": 10, "on-the-phone": 11, "vacation": 24, "lunch": 8, "presentation": 16}
TRANSPORTS = ("udp", "tcp")
PORT_RANDOM = ctypes.c_int(-1)
PORT_NONE = ctypes.c_int(0)
LOG_MESSAGES = ctypes.c_int(1 << 2)
OFF = ctypes.c_int(0)
ON = ctypes.c_int(1)
ITERATION_SECONDS = 0.005
IDLE_SECONDS = ctypes.c_int(3)

FAILURE_RESPONSE = re.compile(r"^SIP/2\.0 ([3-6]\d\d) .*?^CSeq: \d+ MESSAGE", re.MULTILINE | re.DOTALL)

linphone = ctypes.CDLL("liblinphone.so.10")

MESSAGE_RECEIVED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
COMPOSING_RECEIVED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
PRESENCE_RECEIVED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
MESSAGE_STATE_CHANGED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
REGISTRATION_STATE_CHANGED = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
)
LOG_WRITTEN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)


def call(name, *arguments, returns=ctypes.c_void_p):
    """Calls one function of the library: strings go in as UTF-8, numbers as int, whatever a call returned as pointer."""
    function = getattr(linphone, name)
    function.restype = returns
    return function(*(encode(argument) for argument in arguments))


def encode(argument):
    if isinstance(argument, str):
        return ctypes.c_char_p(argument.encode("utf-8"))
    if isinstance(argument, int):
        # Opaque pointers arrive from ctypes as plain numbers; real numbers are wrapped in c_int by the caller.
        return ctypes.c_void_p(argument)
    return argument


def emit(**event):
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class UserAgent:
    """One account, registered at one proxy."""

    def __init__(self, address, password, proxy, transport, directory, everything):
        # The library keeps pointers to these; Python must not collect them.
        self.on_registration = REGISTRATION_STATE_CHANGED(self.registration_changed)
        self.on_message = MESSAGE_RECEIVED(self.message_received)
        self.on_message_state = MESSAGE_STATE_CHANGED(self.message_state_changed)
        self.on_log = LOG_WRITTEN(self.log_written)
        self.on_composing = COMPOSING_RECEIVED(self.composing_received)
        self.on_presence = PRESENCE_RECEIVED(self.presence_received)
        self.sent = {}
        self.sending = {}
        self.failure_code = 0

        factory = call("linphone_factory_get")
        logging = call("linphone_logging_service_get")
        call("linphone_logging_service_set_log_level_mask", logging, LOG_MESSAGES)
        log_callbacks = call("linphone_factory_create_logging_service_cbs", factory)
        call("linphone_logging_service_cbs_set_log_message_written", log_callbacks, self.on_log)
        call("linphone_logging_service_add_callbacks", logging, log_callbacks)
        self.core = call("linphone_factory_create_core_3", factory, None, None, None)
        settings = call("linphone_core_get_config", self.core)
        # Without a message database ("null") this version crashes when a message is sent.
        call("linphone_config_set_string", settings, "storage", "uri", f"{directory}/messages.db")
        # Whoever presses no key for so long has stopped to write; 15 s when nothing is said.
        call("linphone_config_set_int", settings, "sip", "composing_idle_timeout", IDLE_SECONDS)
        call("linphone_core_enable_ipv6", self.core, OFF)
        call("linphone_core_enable_dns_srv", self.core, OFF)
        call("linphone_core_enable_keep_alive", self.core, OFF)
        policy = call("linphone_core_get_im_notif_policy", self.core)
        call("linphone_im_notif_policy_enable_all" if everything else "linphone_im_notif_policy_clear", policy)

        transports = call("linphone_transports_new")
        for name in TRANSPORTS:
            port = PORT_RANDOM if name == transport else PORT_NONE
            call(f"linphone_transports_set_{name}_port", transports, port)
        call("linphone_core_set_transports", self.core, transports)

        callbacks = call("linphone_factory_create_core_cbs", factory)
        call("linphone_core_cbs_set_account_registration_state_changed", callbacks, self.on_registration)
        call("linphone_core_cbs_set_message_received", callbacks, self.on_message)
        if everything:
            call("linphone_core_cbs_set_is_composing_received", callbacks, self.on_composing)
            call("linphone_core_cbs_set_notify_presence_received", callbacks, self.on_presence)
        call("linphone_core_add_callbacks", self.core, callbacks)

        user, domain = address.split("@", 1)
        credentials = call("linphone_factory_create_auth_info", factory, user, None, password, None, None, domain)
        call("linphone_core_add_auth_info", self.core, credentials)

        parameters = call("linphone_core_create_account_params", self.core)
        call("linphone_account_params_set_identity_address", parameters, self.parse(f"sip:{address}"))
        server = self.parse(f"sip:{proxy};transport={transport}")
        call("linphone_account_params_set_server_address", parameters, server)
        call("linphone_account_params_enable_outbound_proxy", parameters, ON)
        call("linphone_account_params_enable_publish", parameters, ON if everything else OFF)
        if everything:
            call("linphone_account_params_enable_cpim_in_basic_chat_room", parameters, ON)
        call("linphone_account_params_enable_register", parameters, ON)
        account = call("linphone_core_create_account", self.core, parameters)
        call("linphone_core_add_account", self.core, account)
        call("linphone_core_set_default_account", self.core, account)

        call("linphone_core_start", self.core)

    def parse(self, uri):
        return call("linphone_factory_create_address", call("linphone_factory_get"), uri)

    def iterate(self):
        call("linphone_core_iterate", self.core, returns=None)

    def stop(self):
        call("linphone_core_stop", self.core, returns=None)

    def send(self, to, identifier, body):
        room = call("linphone_core_get_chat_room", self.core, self.parse(to))
        message = call("linphone_chat_room_create_message_from_utf8", room, body)
        callbacks = call("linphone_factory_create_chat_message_cbs", call("linphone_factory_get"))
        call("linphone_chat_message_cbs_set_msg_state_changed", callbacks, self.on_message_state)
        call("linphone_chat_message_add_callbacks", message, callbacks)
        self.sending[message] = identifier
        self.sent[message] = identifier
        call("linphone_chat_message_send", message, returns=None)

    def compose(self, to):
        call("linphone_chat_room_compose", call("linphone_core_get_chat_room", self.core, self.parse(to)), returns=None)

    def read(self, sender):
        call("linphone_chat_room_mark_as_read", call("linphone_core_get_chat_room", self.core, self.parse(sender)), returns=None)

    def watch(self, who):
        friend = call("linphone_core_create_friend_with_address", self.core, who)
        call("linphone_friend_enable_subscribes", friend, ON)
        call("linphone_friend_set_inc_subscribe_policy", friend, POLICY_ACCEPT)
        call("linphone_core_add_friend", self.core, friend)

    def state(self, activity, note):
        if activity:
            kind = ctypes.c_int(ACTIVITIES[activity])
            model = call("linphone_core_create_presence_model_with_activity", self.core, kind, None)
        else:
            model = call("linphone_core_create_presence_model", self.core)
        call("linphone_presence_model_set_basic_status", model, BASIC_OPEN)
        if note:
            # Beside the activity, of the person: this version writes no other.
            person = call("linphone_presence_model_get_nth_person", model, ctypes.c_uint(0))
            if not person:
                person = call("linphone_presence_person_new", "person")
                call("linphone_presence_model_add_person", model, person)
            call("linphone_presence_person_add_note", person, call("linphone_presence_note_new", note, "en"))
        call("linphone_core_set_presence_model", self.core, model, returns=None)

    def composing_received(self, _core, room):
        # Its bool_t is one byte: what else is in the register says nothing.
        active = call("linphone_chat_room_is_remote_composing", room, returns=ctypes.c_ubyte)
        emit(event="composing", **{"from": self.uri(call("linphone_chat_room_get_peer_address", room))}, active=bool(active))

    def presence_received(self, _core, friend):
        model = call("linphone_friend_get_presence_model", friend)
        address = self.uri(call("linphone_friend_get_address", friend))
        if not model:
            emit(event="presence", **{"from": address}, open=None, activity="", note="")
            return
        activity = call("linphone_presence_model_get_activity", model)
        name = call("linphone_presence_activity_to_string", activity, returns=ctypes.c_char_p) if activity else b""
        note = call("linphone_presence_model_get_note", model, None)
        text = call("linphone_presence_note_get_content", note, returns=ctypes.c_char_p) if note else b""
        emit(
            event="presence",
            **{"from": address},
            open=call("linphone_presence_model_get_basic_status", model, returns=ctypes.c_int) == 0,
            activity=(name or b"").decode("utf-8"),
            note=(text or b"").decode("utf-8"),
        )

    def uri(self, address):
        return call("linphone_address_as_string_uri_only", address, returns=ctypes.c_char_p).decode("utf-8")

    def registration_changed(self, _core, _account, state, reason):
        if state == REGISTRATION_OK:
            emit(event="online")
        elif state == REGISTRATION_FAILED:
            emit(event="failed", reason=(reason or b"").decode("utf-8", "replace"))

    def message_received(self, _core, _room, message):
        sender = call("linphone_chat_message_get_from_address", message)
        content_type = call("linphone_chat_message_get_content_type", message, returns=ctypes.c_char_p)
        body = call("linphone_chat_message_get_utf8_text", message, returns=ctypes.c_char_p)
        emit(
            event="message",
            **{"from": call("linphone_address_as_string_uri_only", sender, returns=ctypes.c_char_p).decode("utf-8")},
            content_type=(content_type or b"").decode("utf-8"),
            body=(body or b"").decode("utf-8"),
        )

    def message_state_changed(self, message, state):
        if state in RECEIPTS and message in self.sent:
            emit(event="receipt", id=self.sent[message], what=RECEIPTS[state])
        if state not in (MESSAGE_DELIVERED, MESSAGE_NOT_DELIVERED) or message not in self.sending:
            return
        identifier = self.sending.pop(message)
        if state == MESSAGE_DELIVERED:
            emit(event="sent", id=identifier, code=200)
        else:
            emit(event="sent", id=identifier, code=self.failure_code)
            self.failure_code = 0

    def log_written(self, _service, _domain, _level, text):
        # This version forgets the answer's code before it reports the failed message: the log is the only place left.
        for response in FAILURE_RESPONSE.finditer((text or b"").decode("utf-8", "replace").replace("\r\n", "\n")):
            self.failure_code = int(response.group(1))


def follow(agent):
    """Obeys the commands until `quit` or the end of standard input."""
    os.set_blocking(sys.stdin.fileno(), False)
    pending = b""
    while True:
        agent.iterate()
        readable, _, _ = select.select([sys.stdin], [], [], ITERATION_SECONDS)
        if not readable:
            continue
        received = os.read(sys.stdin.fileno(), 65536)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["op"] == "send":
                agent.send(command["to"], command["id"], command["body"])
            elif command["op"] == "compose":
                agent.compose(command["to"])
            elif command["op"] == "read":
                agent.read(command["from"])
            elif command["op"] == "watch":
                agent.watch(command["who"])
            elif command["op"] == "state":
                agent.state(command["activity"], command["note"])
            elif command["op"] == "quit":
                return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="user@domain")
    parser.add_argument("--password", default="")
    parser.add_argument("--proxy", required=True, help="host:port")
    parser.add_argument("--transport", choices=TRANSPORTS, default="tcp")
    parser.add_argument("--all", action="store_true", help="receipts, typing and presence too")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="linphone-") as directory:
        os.environ["HOME"] = directory
        os.environ["XDG_DATA_HOME"] = directory
        agent = UserAgent(arguments.address, arguments.password, arguments.proxy, arguments.transport, directory, arguments.all)
        follow(agent)
        agent.stop()


if __name__ == "__main__":
    main()
