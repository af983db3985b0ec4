"""Prints its port, accepts, and never closes."""

import socket

listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
leaked = []
while True:
    leaked.append(listener.accept())
