// Given two ports: opens connections to both, forgets those to the first, and closes those to the second.
import { connect } from "node:net";

const [, , leaking, closing] = process.argv.map(Number);
const kept = [];

function fetchAndForget() {
  kept.push(connect({ port: leaking, host: "127.0.0.1", allowHalfOpen: true }).on("error", () => {}));
}

function fetchAndClose() {
  const socket = connect(closing, "127.0.0.1", () => socket.destroy());
  socket.on("error", () => {});
}

console.log("0 0");
setInterval(() => {
  fetchAndForget();
  fetchAndClose();
}, 50);
