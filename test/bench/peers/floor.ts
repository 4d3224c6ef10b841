import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { authenticate, isLogging, keep, listensOn, openDocument } from "./work.ts";

/** What node:http itself costs, with the least work. Its uploads keep the body as it came. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url = "", method } = request;
  if (url === "/") {
    response.writeHead(204).end();
    if (isLogging) {
      const line = { time: new Date(), level: "info", method, path: url, status: 204 };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    }
    return;
  }
  const user = authenticate(request.headers.authorization);
  if (!user) return void response.writeHead(401).end();
  if (method === "POST")
    return json(response, 201, await keep(request, `${Math.random()}`, user.user_id));
  const docId = /^\/api\/v1\/docs\/(\d+)\/download$/.exec(url)?.[1];
  if (docId === undefined) return json(response, 200, user);
  const { size, stream } = openDocument(docId, user.user_id);
  response.writeHead(200, {
    "Content-Type": "application/octet-stream",
    "Content-Length": size,
  });
  stream.pipe(response);
}

function json(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  const length = Buffer.byteLength(text);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": length });
  response.end(text);
}

createServer(answer).listen(listensOn);
