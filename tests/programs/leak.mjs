// Prints its port, accepts, and never closes.
import { createServer } from "node:net";

const leaked = [];
const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => leaked.push(socket));
server.listen(0, "127.0.0.1", 128, () => console.log(server.address().port));
