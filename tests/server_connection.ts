/** Answers over a connection of one's own, read as fast or slowly as a test wants. */
import { connect, type Socket } from "node:net";

/** A request on a connection of its own, whose answer is read when its reader wants. */
export function open(url: string, body: object): Socket {
  const { hostname, port } = new URL(url);
  const text = JSON.stringify(body);
  const head =
    `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n`;
  const socket = connect(Number(port), hostname);
  socket.setEncoding("utf8");
  socket.write(`${head}Content-Length: ${text.length}\r\n\r\n${text}`);
  return socket;
}

/** The rest of an answer: its events, out of the chunks of the transfer. */
export async function rest(socket: Socket): Promise<string> {
  let got = "";
  socket.on("data", (text: string) => got += text);
  await new Promise<void>((resolve, reject) => {
    socket.on("end", resolve);
    socket.on("error", reject);
  });
  socket.destroy();
  const [, body] = got.split(/\r\n\r\n([^]*)/);
  return body!.replace(/(^|\r\n)[0-9a-f]+\r\n/g, "").replace(/\r\n$/, "");
}
