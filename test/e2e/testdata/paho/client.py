"""Clients of paho-mqtt, 1.6 or 2.x, for the tests. Commands come as lines of JSON on
standard input, answers and messages leave the same way; foreign_test.go has the form of
both."""

import json
import socket
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

NAMES = {
    "contentType": "ContentType",
    "responseTopic": "ResponseTopic",
    "correlationData": "CorrelationData",
    "messageExpiryInterval": "MessageExpiryInterval",
    "payloadFormatIndicator": "PayloadFormatIndicator",
    "sessionExpiryInterval": "SessionExpiryInterval",
    "subscriptionIdentifier": "SubscriptionIdentifier",
    "topicAlias": "TopicAlias",
    "topicAliasMaximum": "TopicAliasMaximum",
    "willDelayInterval": "WillDelayInterval",
    "reasonString": "ReasonString",
}

output = threading.Lock()


def say(client, event, **more):
    with output:
        print(json.dumps({"client": client, "event": event, **more}), flush=True)


def to_wire(packet, properties):
    if not properties:
        return None
    wire = Properties(packet)
    for name, value in properties.items():
        if name == "userProperties":
            wire.UserProperty = [(key, v) for key, values in value.items() for v in values]
        elif name == "correlationData":
            wire.CorrelationData = value.encode()
        else:
            setattr(wire, NAMES[name], int(value) if isinstance(value, bool) else value)
    return wire


def from_wire(wire):
    properties = {}
    for name, attribute in NAMES.items():
        if hasattr(wire, attribute):
            properties[name] = getattr(wire, attribute)
    if "correlationData" in properties:
        properties["correlationData"] = properties["correlationData"].decode()
    if "payloadFormatIndicator" in properties:
        properties["payloadFormatIndicator"] = bool(properties["payloadFormatIndicator"])
    if "subscriptionIdentifier" in properties:  # paho has a list of them
        properties["subscriptionIdentifier"] = properties["subscriptionIdentifier"][0]
    for key, value in getattr(wire, "UserProperty", []):
        properties.setdefault("userProperties", {}).setdefault(key, []).append(value)
    return properties


def numbers(codes):
    """The reason codes as numbers: paho has them in several forms."""
    if not isinstance(codes, (list, tuple)):
        codes = [codes]
    return [getattr(code, "value", code) for code in codes]


class Client:
    """One MQTT client. Its callbacks take what either version of paho hands them."""

    def __init__(self, name, port, version, clean, properties=None, will=None, **_):
        self.name = name
        self.five = version == mqtt.MQTTv5
        settings = {"client_id": name, "protocol": version, "reconnect_on_failure": False}
        if not self.five:
            settings["clean_session"] = clean
        if hasattr(mqtt, "CallbackAPIVersion"):
            settings["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
        self.mqtt = mqtt.Client(**settings)
        self.mqtt.on_connect = self.on_connect
        self.mqtt.on_disconnect = self.on_disconnect
        self.mqtt.on_message = self.on_message
        self.mqtt.on_publish = self.on_publish
        self.mqtt.on_subscribe = self.on_subscribe
        self.mqtt.on_unsubscribe = self.on_unsubscribe
        self.publishing = threading.Lock()
        self.waiting, self.codes = 0, []
        if will:
            self.mqtt.will_set(will["topic"], will["payload"], will["qos"], will["retain"],
                               self.properties(PacketTypes.WILLMESSAGE, will.get("properties")))
        more = {"clean_start": clean, "properties": to_wire(PacketTypes.CONNECT, properties)} if self.five else {}
        self.mqtt.connect("127.0.0.1", port, keepalive=300, **more)
        self.mqtt.loop_start()

    def properties(self, packet, properties):
        return to_wire(packet, properties) if self.five else None

    def on_connect(self, _client, _userdata, flags, code, properties=None):
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        say(self.name, "connected", present=bool(present), codes=numbers(code), properties=from_wire(properties))

    def on_disconnect(self, _client, _userdata, *rest):
        code = rest[1] if len(rest) == 3 else rest[0]
        say(self.name, "disconnected", codes=numbers(code))

    def on_message(self, _client, _userdata, message):
        say(self.name, "received", topic=message.topic, payload=message.payload.decode(), qos=message.qos,
            retain=bool(message.retain), properties=from_wire(getattr(message, "properties", None)))

    def publish(self, topic, payloads, qos, retain=False, properties=None):
        """Hands over all messages at once; on_publish tells when the last is acknowledged."""
        self.waiting, self.codes = len(payloads), []
        for payload in payloads:
            self.mqtt.publish(topic, payload, qos, retain, self.properties(PacketTypes.PUBLISH, properties))

    def on_publish(self, _client, _userdata, _mid, code=0, _properties=None):
        with self.publishing:
            self.codes += numbers(code)
            done = len(self.codes) == self.waiting
        if done:
            say(self.name, "published", codes=self.codes)

    def subscribe(self, filter, qos, properties=None):
        if self.five:
            options = mqtt.SubscribeOptions(qos=qos)
            self.mqtt.subscribe(filter, options=options, properties=to_wire(PacketTypes.SUBSCRIBE, properties))
        else:
            self.mqtt.subscribe(filter, qos)

    def on_subscribe(self, _client, _userdata, _mid, codes, _properties=None):
        say(self.name, "subscribed", codes=numbers(codes))

    def unsubscribe(self, filter):
        self.mqtt.unsubscribe(filter)

    def on_unsubscribe(self, _client, _userdata, _mid, *rest):
        # MQTT 3 has no codes; paho 1.6 hands over properties before them, 2.x after.
        codes = rest[-1] if rest and not isinstance(rest[-1], Properties) else rest[0] if rest else []
        say(self.name, "unsubscribed", codes=numbers(codes or []))

    def leave(self):
        self.mqtt.disconnect()

    def die(self):
        self.mqtt.socket().shutdown(socket.SHUT_RDWR)


def main():
    clients = {}
    for line in sys.stdin:
        command = json.loads(line)
        name, verb = command.pop("client"), command.pop("do")
        if verb == "connect":
            clients[name] = Client(name, **command)
        else:
            getattr(clients[name], verb)(**command)


if __name__ == "__main__":
    main()
