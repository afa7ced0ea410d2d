"""A SIP user agent driven by JSON lines: the Linphone stack (liblinphone 5 of Debian 12) without a screen or sound.

One JSON object a line on standard input is a command, one a line on standard output is an event:

    {"op": "send", "to": "sip:bob@globex.example", "id": "m1", "body": "hello"}
    {"op": "quit"}

    {"event": "online"}
    {"event": "message", "from": "sip:alice@globex.example", "content_type": "text/plain", "body": "hello"}
    {"event": "sent", "id": "m1", "code": 200}          the final answer to one MESSAGE; 0: no answer came
    {"event": "failed", "reason": "..."}                registration was refused

Receipts (IMDN) and typing notices are switched off: a message is one MESSAGE, and nothing else is on the wire.
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
TRANSPORTS = ("udp", "tcp")
PORT_RANDOM = ctypes.c_int(-1)
PORT_NONE = ctypes.c_int(0)
LOG_MESSAGES = ctypes.c_int(1 << 2)
OFF = ctypes.c_int(0)
ON = ctypes.c_int(1)
ITERATION_SECONDS = 0.005

FAILURE_RESPONSE = re.compile(r"^SIP/2\.0 ([3-6]\d\d) .*?^CSeq: \d+ MESSAGE", re.MULTILINE | re.DOTALL)

linphone = ctypes.CDLL("liblinphone.so.10")

MESSAGE_RECEIVED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
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

    def __init__(self, address, password, proxy, transport, directory):
        # The library keeps pointers to these; Python must not collect them.
        self.on_registration = REGISTRATION_STATE_CHANGED(self.registration_changed)
        self.on_message = MESSAGE_RECEIVED(self.message_received)
        self.on_message_state = MESSAGE_STATE_CHANGED(self.message_state_changed)
        self.on_log = LOG_WRITTEN(self.log_written)
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
        call("linphone_core_enable_ipv6", self.core, OFF)
        call("linphone_core_enable_dns_srv", self.core, OFF)
        call("linphone_core_enable_keep_alive", self.core, OFF)
        call("linphone_im_notif_policy_clear", call("linphone_core_get_im_notif_policy", self.core))

        transports = call("linphone_transports_new")
        for name in TRANSPORTS:
            port = PORT_RANDOM if name == transport else PORT_NONE
            call(f"linphone_transports_set_{name}_port", transports, port)
        call("linphone_core_set_transports", self.core, transports)

        callbacks = call("linphone_factory_create_core_cbs", factory)
        call("linphone_core_cbs_set_account_registration_state_changed", callbacks, self.on_registration)
        call("linphone_core_cbs_set_message_received", callbacks, self.on_message)
        call("linphone_core_add_callbacks", self.core, callbacks)

        user, domain = address.split("@", 1)
        credentials = call("linphone_factory_create_auth_info", factory, user, None, password, None, None, domain)
        call("linphone_core_add_auth_info", self.core, credentials)

        parameters = call("linphone_core_create_account_params", self.core)
        call("linphone_account_params_set_identity_address", parameters, self.parse(f"sip:{address}"))
        server = self.parse(f"sip:{proxy};transport={transport}")
        call("linphone_account_params_set_server_address", parameters, server)
        call("linphone_account_params_enable_outbound_proxy", parameters, ON)
        call("linphone_account_params_enable_publish", parameters, OFF)
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
        call("linphone_chat_message_send", message, returns=None)

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
            elif command["op"] == "quit":
                return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="user@domain")
    parser.add_argument("--password", default="")
    parser.add_argument("--proxy", required=True, help="host:port")
    parser.add_argument("--transport", choices=TRANSPORTS, default="tcp")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="linphone-") as directory:
        os.environ["HOME"] = directory
        os.environ["XDG_DATA_HOME"] = directory
        agent = UserAgent(arguments.address, arguments.password, arguments.proxy, arguments.transport, directory)
        follow(agent)
        agent.stop()


if __name__ == "__main__":
    main()
