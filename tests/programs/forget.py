"""Forgets to close, as its first argument specifies.

read-all, end-unread, blocked: prints its port, accepts, and keeps what its peers leave. pool: connects twelve times to
the port of its second argument, and uses none.
"""

import socket
import sys
import threading

mode = sys.argv[1]
kept = []
if mode == "pool":
    kept = [socket.create_connection(("127.0.0.1", int(sys.argv[2]))) for _ in range(12)]
    print(0, flush=True)
    threading.Event().wait()
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)


def read_all(connection):
    while connection.recv(4096):
        pass


def wait_for_ever(connection):
    threading.Event().wait()


while True:
    connection, _ = listener.accept()
    kept.append(connection)
    if mode == "read-all":
        threading.Thread(target=read_all, args=[connection], daemon=True).start()
    elif mode == "blocked":
        threading.Thread(target=wait_for_ever, args=[connection], daemon=True).start()
