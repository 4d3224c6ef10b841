import { createHmac } from "node:crypto";
import { brokerUnavailable } from "./broker.ts";

/** Milliseconds that one operation may take, a renewal of its token included. */
export const REQUEST_TIMEOUT = 10_000;
/** Seconds. */
const TOKEN_LIFETIME = 3_600;
const TOKEN_RESERVE = 300;
/** Milliseconds of rest that a throttling or failing service gets when it does not say how long (`Retry-After`). */
const DEFAULT_REST = 2_000;
const LONGEST_REST = 60_000;

export interface ServiceBusReply {
  status: number;
  headers: Headers;
  /** The exact bytes, read as UTF-8; a byte order mark stays. */
  body: string;
}

export interface ServiceBusRequest {
  method: "POST" | "PUT" | "DELETE";
  /** The queue that the token is for. */
  queue: string;
  /** Path and query, as they go on the wire. */
  target: string;
  headers?: Record<string, string>;
  body?: string;
  timeout?: number;
  signal?: AbortSignal;
}

/** `/queue/path`, percent-encoded. */
export function queueTarget(queue: string): string {
  return `/${queue.split("/").map(encodeURIComponent).join("/")}`;
}

/**
 * Reads `Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…`, in any order; `EntityPath` and `UseDevelopmentEmulator`
 * are optional. The emulator speaks HTTP without TLS, on the endpoint's own port. Errors repeat no value.
 */
function parseConnectionString(connectionString: string) {
  const fields = new Map<string, string>();
  for (const part of connectionString.split(";")) {
    const split = part.indexOf("="); // the first: keys are base64 and may end in others
    if (split > 0)
      fields.set(part.slice(0, split).trim().toLowerCase(), part.slice(split + 1).trim());
  }
  const required = (name: string) => {
    const value = fields.get(name.toLowerCase());
    if (value) return value;
    throw new Error(`The Service Bus connection string has no ${name}.`);
  };
  const scheme = fields.get("usedevelopmentemulator")?.toLowerCase() === "true" ? "http" : "https";
  const [, authority] = /^sb:\/\/([^/?#@\s]+)\/?$/i.exec(required("Endpoint")) ?? [];
  if (authority === undefined || !URL.canParse(`${scheme}://${authority}`)) {
    throw new Error("The Service Bus connection string has an Endpoint that is not sb://host.");
  }
  return {
    baseUrl: new URL(`${scheme}://${authority}`).origin,
    keyName: required("SharedAccessKeyName"),
    key: required("SharedAccessKey"),
    entityPath: fields.get("entitypath"),
  };
}

export type ServiceBusHttp = ReturnType<typeof createServiceBusHttp>;

/** The HTTPS API of one Service Bus namespace, with a SAS token that renews itself. */
export function createServiceBusHttp(options: { connectionString: string; now?: () => Date }) {
  const { baseUrl, keyName, key, entityPath } = parseConnectionString(options.connectionString);
  const now = options.now ?? (() => new Date());
  const tokens = new Map<string, { value: string; renewAt: number }>();
  let restUntil = 0;

  /** A shared access signature (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas). */
  function token(queue: string): string {
    const seconds = Math.floor(now().getTime() / 1_000);
    const cached = tokens.get(queue);
    if (cached && seconds < cached.renewAt) return cached.value;
    const resource = encodeURIComponent(baseUrl + queueTarget(queue));
    const expiry = seconds + TOKEN_LIFETIME;
    const signature = createHmac("sha256", key).update(`${resource}\n${expiry}`).digest("base64");
    const value =
      `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}` +
      `&se=${expiry}&skn=${encodeURIComponent(keyName)}`;
    tokens.set(queue, { value, renewAt: expiry - TOKEN_RESERVE });
    return value;
  }

  function rest(headers: Headers): void {
    const given = headers.get("Retry-After");
    const milliseconds =
      given !== null && /^\d+$/.test(given) ? Number(given) * 1_000 : DEFAULT_REST;
    restUntil = performance.now() + Math.min(LONGEST_REST, milliseconds);
  }

  async function exchange(url: string, init: RequestInit): Promise<ServiceBusReply> {
    let reply: ServiceBusReply;
    try {
      const response = await fetch(url, { ...init, redirect: "error" });
      const body = Buffer.from(await response.arrayBuffer()).toString();
      reply = { status: response.status, headers: response.headers, body };
    } catch (error) {
      throw brokerUnavailable(error instanceof TypeError && error.cause ? error.cause : error);
    }
    if (reply.status === 408 || reply.status === 429 || reply.status >= 500) {
      rest(reply.headers);
      throw brokerUnavailable(new Error(`Service Bus answered with status ${reply.status}.`));
    }
    return reply;
  }

  return {
    description: `Azure Service Bus at ${new URL(baseUrl).host}`,

    /** Throws while the service, by its own word, is too busy or broken to be asked. */
    assertNotResting(): void {
      const milliseconds = Math.ceil(restUntil - performance.now());
      if (milliseconds <= 0) return;
      throw brokerUnavailable(
        new Error(`Service Bus was busy or failing; asked again in ${milliseconds} ms.`),
      );
    },

    /**
     * One operation. Rejects with the `unavailable` AppError after a time-out, when the service can't be reached, and on
     * 408, 429 and 5xx; any other status is the caller's to judge. A 401 is tried once more with a new token.
     */
    async request({ method, queue, target, headers, body, timeout, signal }: ServiceBusRequest) {
      if (entityPath !== undefined && entityPath !== queue) {
        throw new Error(
          `The Service Bus connection string is for the queue ${entityPath}, not ${queue}.`,
        );
      }
      const limit = AbortSignal.timeout(timeout ?? REQUEST_TIMEOUT);
      const send = () =>
        exchange(baseUrl + target, {
          method,
          headers: { ...headers, Authorization: token(queue) },
          ...(body === undefined ? {} : { body }),
          signal: signal ? AbortSignal.any([limit, signal]) : limit,
        });
      const reply = await send();
      if (reply.status !== 401) return reply;
      tokens.delete(queue);
      return send();
    },

    /** Rejects when the namespace does not answer. Any answer will do: a key that may only send may ask nothing else. */
    async reach(timeout: number): Promise<void> {
      await exchange(`${baseUrl}/`, { method: "HEAD", signal: AbortSignal.timeout(timeout) });
    },
  };
}

/** The error for a status that is not what was asked for. */
export function refusal(queue: string, status: number): Error {
  const reasons: Record<number, string> = {
    401: "the key is not accepted; check its name, its value and this machine's clock",
    403: "the message is too large, the queue is full, or the key lacks the right",
    404: "the queue does not exist",
    410: "the queue does not exist",
  };
  const reason = reasons[status] ?? "unexpected";
  return new Error(`Service Bus answered for the queue ${queue} with status ${status}: ${reason}.`);
}
