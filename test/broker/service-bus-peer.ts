import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the peer does instead of answering: a status, or silence. */
export type Fault = number | "hang";

export interface PeerMessage {
  id: string;
  body: Buffer;
  contentType: string | undefined;
}

export interface ServiceBusPeer {
  readonly connectionString: string;
  /** Why a request was answered with 401, in order. */
  readonly refusals: string[];
  /** Asked before each request is looked at. */
  fault: (path: string) => Fault | undefined;
  /** The peer's clock for tokens, in milliseconds. */
  now: () => number;
  /** Makes a queue and returns what is sent to it. */
  addQueue(name: string): PeerMessage[];
  close(): Promise<void>;
}

const KEY_NAME = "RootManageSharedAccessKey";
const KEY = "aB+c/dE0123456789abcdefghijklmnopqrstuvwxyz+/=";

/**
 * A peer for sending over the HTTP API of Service Bus, written from Microsoft's reference alone: it
 * checks each token's form, signature, scope and expiry.
 */
export async function startServiceBusPeer(): Promise<ServiceBusPeer> {
  const queues = new Map<string, PeerMessage[]>();
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;

  const peer: ServiceBusPeer = {
    connectionString:
      `Endpoint=sb://127.0.0.1:${port}/;SharedAccessKeyName=${KEY_NAME};` +
      `SharedAccessKey=${KEY};UseDevelopmentEmulator=true`,
    refusals: [],
    fault: () => undefined,
    now: Date.now,
    addQueue(name) {
      const messages: PeerMessage[] = [];
      queues.set(name, messages);
      return messages;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "", "http://peer");
    const fault = peer.fault(pathname);
    if (fault === "hang") return;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const reply = (status: number) => void response.writeHead(status).end();
    if (fault) return reply(fault);
    const refusal = tokenFault(request.headers.authorization, pathname, port, peer.now());
    if (refusal !== undefined) {
      peer.refusals.push(refusal);
      return reply(401);
    }
    const [, name = ""] = /^\/(.+)\/messages$/.exec(pathname) ?? [];
    const queue = queues.get(decodeURIComponent(name));
    if (!queue) return reply(404);
    if (request.method !== "POST") return reply(405);
    const body = Buffer.concat(chunks);
    if (body.length > 256 * 1024) return reply(403);
    const properties = JSON.parse(String(request.headers.brokerproperties));
    queue.push({ id: properties.MessageId, body, contentType: request.headers["content-type"] });
    reply(201);
  }

  return peer;
}

/** What is wrong with a token, by https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas. */
function tokenFault(
  header: string | undefined,
  pathname: string,
  port: number,
  now: number,
): string | undefined {
  const [, list] = /^SharedAccessSignature (\S+)$/.exec(header ?? "") ?? [];
  if (list === undefined) return "no token";
  const fields = new Map(list.split("&").map((field) => field.split("=", 2) as [string, string]));
  if ([...fields.keys()].sort().join() !== "se,sig,skn,sr") return "wrong fields";
  for (const [field, value] of fields) {
    if (!/^(?:[A-Za-z0-9._~!'()*-]|%[0-9A-Fa-f]{2})+$/.test(value))
      return `${field} is not URL-encoded`;
  }
  const raw = (field: string) => fields.get(field) ?? "";
  if (decodeURIComponent(raw("skn")) !== KEY_NAME) return "unknown key";
  const expected = createHmac("sha256", Buffer.from(KEY, "utf8"))
    .update(Buffer.from(`${raw("sr")}\n${raw("se")}`, "utf8"))
    .digest("base64");
  if (decodeURIComponent(raw("sig")) !== expected) return "wrong signature";
  if (!/^\d+$/.test(raw("se")) || Number(raw("se")) * 1_000 <= now) return "expired";
  const scope = new URL(decodeURIComponent(raw("sr")));
  const folder = scope.pathname.endsWith("/") ? scope.pathname : `${scope.pathname}/`;
  if (scope.host !== `127.0.0.1:${port}` || !`${pathname}/`.startsWith(folder))
    return "out of scope";
  return undefined;
}
