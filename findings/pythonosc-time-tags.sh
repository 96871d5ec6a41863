#!/usr/bin/env bash
# One expects: an OSC server of python-osc keeps taking messages while a bundle with a time tag waits for its time.
# What happens: the dispatcher sleeps in the receiving thread until the tag: a bundle stamped 1.5 s ahead holds
# up each message that comes after it, also those without a bundle. The late ones then arrive all at once.
# Why it matters: VMC and ARKit streams come from phones and other PCs. A sender's clock that is 1.5 s fast freezes the face.
# What helps: ThreadingOSCUDPServer, or the tag IMMEDIATELY for whatever is live.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check python-osc==1.10.2
venv/bin/python - <<'PYTHON'
import importlib.metadata
import socket
import sys
import threading
import time

from pythonosc import osc_bundle_builder, osc_message_builder
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer, ThreadingOSCUDPServer

AHEAD_S = 1.5


def message(address, value):
    builder = osc_message_builder.OscMessageBuilder(address)
    builder.add_arg("A")
    builder.add_arg(value)
    return builder.build()


def delays(kind):
    """address -> seconds from sending a message to handling it."""
    sent, delay, done, dispatcher = {}, {}, threading.Event(), Dispatcher()

    def handle(address, *_):
        delay[address] = time.monotonic() - sent[address]
        if len(delay) == 3:
            done.set()

    dispatcher.map("/*", handle)
    with kind(("127.0.0.1", 0), dispatcher) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bundle = osc_bundle_builder.OscBundleBuilder(time.time() + AHEAD_S)
        bundle.add_content(message("/ahead", 0.5))
        for address, packet in (("/before", message("/before", 0.1)), ("/ahead", bundle.build()),
                                ("/after", message("/after", 0.9))):  # fmt: skip
            sent[address] = time.monotonic()
            client.sendto(packet.dgram, server.server_address)
            time.sleep(0.05)
        assert done.wait(20)
        server.shutdown()
    return delay


print(f"python-osc {importlib.metadata.version('python-osc')}")
found = {kind: delays(kind) for kind in (BlockingOSCUDPServer, ThreadingOSCUDPServer)}
for kind, delay in found.items():
    print(f"{kind.__name__:21}", ", ".join(f"{address} {seconds:.1f} s late" for address, seconds in delay.items()))
if found[BlockingOSCUDPServer]["/after"] < 1 or found[ThreadingOSCUDPServer]["/after"] > 1:
    sys.exit("the behaviour has changed")
PYTHON
