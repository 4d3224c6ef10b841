import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the peer does instead of answering: a status (with `Retry-After: 1` for 429 and 503), or silence. */
export type Fault = { status: number; headers?: Record<string, string> } | "hang";

export interface PeerMessage {
  id: string;
  body: Buffer;
  contentType: string | undefined;
  sequence: number;
  deliveryCount: number;
  lock: { token: string; until: number } | undefined;
}

export interface PeerQueue {
  messages: PeerMessage[];
  deadLetters: { message: PeerMessage; reason: string }[];
  /** Milliseconds. */
  lockDuration: number;
  maxDeliveryCount: number;
}

export interface ServiceBusPeer {
  readonly connectionString: string;
  readonly requests: string[];
  /** Why a request was answered with 401, in order. */
  readonly refusals: string[];
  /** Asked before each request is looked at. */
  fault: (method: string, path: string) => Fault | undefined;
  /** The peer's clock for tokens, in milliseconds. */
  now: () => number;
  /** What a lost lock is answered with: 404 by the reference, 410 as seen of the service. */
  lockLost: number;
  addQueue(name: string, settings?: Partial<PeerQueue>): PeerQueue;
  close(): Promise<void>;
}

/**
 * A peer for the HTTP API of Service Bus, written from Microsoft's reference alone: it checks each token's form, signature,
 * scope and expiry, keeps locks that run out, counts deliveries and dead-letters.
 */
export async function startServiceBusPeer(
  access = {
    keyName: "RootManageSharedAccessKey",
    key: "aB+c/dE0123456789abcdefghijklmnopqrstuvwxyz+/=",
  },
): Promise<ServiceBusPeer> {
  const queues = new Map<string, PeerQueue>();
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  let sequence = 0;

  const peer: ServiceBusPeer = {
    connectionString: `Endpoint=sb://127.0.0.1:${port}/;SharedAccessKeyName=${access.keyName};SharedAccessKey=${access.key};UseDevelopmentEmulator=true`,
    requests: [],
    refusals: [],
    fault: () => undefined,
    now: Date.now,
    lockLost: 404,
    addQueue(name, settings = {}) {
      const queue: PeerQueue = {
        messages: [],
        deadLetters: [],
        lockDuration: 5_000,
        maxDeliveryCount: 10,
        ...settings,
      };
      queues.set(name, queue);
      return queue;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://peer");
    const method = request.method ?? "";
    peer.requests.push(`${method} ${pathname}`);
    const fault = peer.fault(method, pathname);
    if (fault === "hang") return;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const reply = (status: number, headers: Record<string, string> = {}, body?: Buffer) => {
      response.writeHead(status, headers).end(body);
    };
    if (fault) return reply(fault.status, fault.headers);
    const refusal = tokenFault(request.headers.authorization, pathname);
    if (refusal !== undefined) {
      peer.refusals.push(refusal);
      return reply(401);
    }
    const [, name = "", rest = ""] = /^\/(.+?)\/messages(\/.*)?$/.exec(pathname) ?? [];
    const queue = queues.get(decodeURIComponent(name));
    if (!queue) return reply(404);
    if (rest === "" && method === "POST") return send(queue, request, Buffer.concat(chunks), reply);
    if (rest === "/head" && method === "POST") {
      return receive(queue, name, Number(searchParams.get("timeout") ?? 60), response, reply);
    }
    return settle(queue, method, rest, reply);
  }

  type Reply = (status: number, headers?: Record<string, string>, body?: Buffer) => void;

  function send(queue: PeerQueue, request: IncomingMessage, body: Buffer, reply: Reply) {
    if (body.length > 256 * 1024) return reply(403);
    const properties = JSON.parse(String(request.headers.brokerproperties ?? "{}"));
    sequence += 1;
    queue.messages.push({
      id: properties.MessageId ?? randomUUID(),
      body,
      contentType: request.headers["content-type"],
      sequence,
      deliveryCount: 0,
      lock: undefined,
    });
    reply(201);
  }

  async function receive(
    queue: PeerQueue,
    name: string,
    seconds: number,
    response: ServerResponse,
    reply: Reply,
  ): Promise<void> {
    const deadline = Date.now() + seconds * 1_000;
    for (;;) {
      if (response.destroyed) return;
      expireLocks(queue);
      const message = queue.messages.find((candidate) => candidate.lock === undefined);
      if (message) {
        const now = Date.now();
        message.deliveryCount += 1;
        message.lock = { token: randomUUID(), until: now + queue.lockDuration };
        const lockedUntil = new Date(message.lock.until).toUTCString();
        const properties = {
          DeliveryCount: message.deliveryCount,
          LockToken: message.lock.token,
          LockedUntilUtc: lockedUntil,
          MessageId: message.id,
          SequenceNumber: message.sequence,
        };
        const headers = {
          Location: `http://127.0.0.1:${port}/${name}/messages/${message.sequence}/${message.lock.token}`,
          BrokerProperties: JSON.stringify(properties),
          "Content-Type": message.contentType ?? "application/octet-stream",
          Date: new Date(now).toUTCString(),
        };
        return reply(201, headers, message.body);
      }
      if (Date.now() >= deadline) return reply(204);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  function settle(queue: PeerQueue, method: string, rest: string, reply: Reply) {
    expireLocks(queue);
    const [, sequenceNumber, token] = /^\/(\d+)\/([0-9a-f-]{36})$/.exec(rest) ?? [];
    const message = queue.messages.find(
      (candidate) => candidate.sequence === Number(sequenceNumber),
    );
    if (!message?.lock || message.lock.token !== token) return reply(peer.lockLost);
    if (method === "DELETE") queue.messages.splice(queue.messages.indexOf(message), 1);
    else if (method === "PUT") unlock(queue, message);
    else if (method === "POST") message.lock.until = Date.now() + queue.lockDuration;
    else return reply(405);
    reply(200);
  }

  function expireLocks(queue: PeerQueue): void {
    for (const message of [...queue.messages]) {
      if (message.lock && message.lock.until <= Date.now()) unlock(queue, message);
    }
  }

  function unlock(queue: PeerQueue, message: PeerMessage): void {
    message.lock = undefined;
    if (message.deliveryCount < queue.maxDeliveryCount) return;
    queue.messages.splice(queue.messages.indexOf(message), 1);
    queue.deadLetters.push({ message, reason: "MaxDeliveryCountExceeded" });
  }

  /** What is wrong with a token, by https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas. */
  function tokenFault(header: string | undefined, pathname: string): string | undefined {
    const [, list] = /^SharedAccessSignature (\S+)$/.exec(header ?? "") ?? [];
    if (list === undefined) return "no token";
    const fields = new Map(list.split("&").map((field) => field.split("=", 2) as [string, string]));
    if ([...fields.keys()].sort().join() !== "se,sig,skn,sr") return "wrong fields";
    for (const [field, value] of fields) {
      if (!/^(?:[A-Za-z0-9._~!'()*-]|%[0-9A-Fa-f]{2})+$/.test(value))
        return `${field} is not URL-encoded`;
    }
    const raw = (field: string) => fields.get(field) ?? "";
    if (decodeURIComponent(raw("skn")) !== access.keyName) return "unknown key";
    const expected = createHmac("sha256", Buffer.from(access.key, "utf8"))
      .update(Buffer.from(`${raw("sr")}\n${raw("se")}`, "utf8"))
      .digest("base64");
    if (decodeURIComponent(raw("sig")) !== expected) return "wrong signature";
    if (!/^\d+$/.test(raw("se")) || Number(raw("se")) * 1_000 <= peer.now()) return "expired";
    const scope = new URL(decodeURIComponent(raw("sr")));
    const folder = scope.pathname.endsWith("/") ? scope.pathname : `${scope.pathname}/`;
    if (scope.host !== `127.0.0.1:${port}` || !`${pathname}/`.startsWith(folder))
      return "out of scope";
    return undefined;
  }

  return peer;
}
