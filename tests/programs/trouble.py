"""A process that misbehaves as its first argument says, which is also its name.

deaf: listens with a backlog of 4, and never accepts. forgetful: may have 100 descriptors, accepts, and never closes. Both print their
port. dialer: connects to the port of its second argument until no local port is left, and goes on trying.
"""

import resource
import socket
import struct
import sys
import threading
import time

trouble = sys.argv[1]
with open("/proc/self/comm", "w") as name:
    name.write(trouble)


def listen(backlog):
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    print(listener.getsockname()[1], flush=True)
    return listener


kept = []
if trouble == "deaf":
    listener = listen(4)
    threading.Event().wait()
elif trouble == "forgetful":
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    listener = listen(128)
    while True:
        kept.append(listener.accept()[0])
elif trouble == "dialer":
    print(0, flush=True)
    while True:
        client = socket.socket()
        # When the process is killed, its connections are reset, and leave no TIME_WAIT.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            client.connect(("127.0.0.1", int(sys.argv[2])))
            kept.append(client)
        except OSError:
            time.sleep(0.05)
