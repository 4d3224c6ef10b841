import { createHmac } from "node:crypto";
import { unavailable } from "../errors.ts";
import type { Broker, Message } from "./broker.ts";

const REQUEST_TIMEOUT_MS = 10_000;
const PING_TIMEOUT_MS = 3_000;
/** Each request has a token of its own; clocks differ. */
const TOKEN_SECONDS = 3_600;

/** Publishes to existing queues of Azure Service Bus, over its HTTPS API. */
export class AzureServiceBusBroker implements Broker {
  readonly description: string;
  readonly #access: ReturnType<typeof parseConnectionString>;
  #refusal: Error | undefined;

  constructor({ connectionString }: { connectionString: string }) {
    this.#access = parseConnectionString(connectionString);
    this.description = `Azure Service Bus at ${this.#access.host}`;
  }

  async connect(): Promise<void> {}

  /** https://learn.microsoft.com/rest/api/servicebus/send-message-to-queue */
  async publish(queue: string, message: Message): Promise<void> {
    const path = queue.split("/").map(encodeURIComponent).join("/");
    const url = `${this.#access.origin}/${path}`;
    const status = await exchange(`${url}/messages`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Authorization: this.#token(url),
        BrokerProperties: JSON.stringify({ MessageId: message.id }),
      },
      body: message.body,
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    this.#refusal = undefined;
    if (status === 201) return;
    this.#refusal = new Error(`Service Bus answered for queue ${queue} with status ${status}.`);
    throw this.#refusal;
  }

  /** Any answer will do: a key that may only send may ask nothing else. */
  async ping(): Promise<void> {
    const signal = AbortSignal.timeout(PING_TIMEOUT_MS);
    await exchange(`${this.#access.origin}/`, { method: "HEAD", signal });
    if (this.#refusal) throw this.#refusal;
  }

  async close(): Promise<void> {}

  /** https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas */
  #token(url: string): string {
    const { keyName, key } = this.#access;
    const resource = encodeURIComponent(url);
    const expiry = Math.floor(Date.now() / 1_000) + TOKEN_SECONDS;
    const signature = createHmac("sha256", key).update(`${resource}\n${expiry}`).digest("base64");
    return (
      `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}` +
      `&se=${expiry}&skn=${encodeURIComponent(keyName)}`
    );
  }
}

/** The status of the answer; `unavailable` when there is none, or the service is busy. */
async function exchange(url: string, init: RequestInit): Promise<number> {
  try {
    const response = await fetch(url, { ...init, redirect: "error" });
    await response.arrayBuffer(); // frees the connection
    const { status } = response;
    if (status !== 408 && status !== 429 && status < 500) return status;
    throw new Error(`Service Bus answered with status ${status}.`);
  } catch (error) {
    throw unavailable("The message broker", error);
  }
}

/** With `UseDevelopmentEmulator=true` HTTP is spoken without TLS. The error repeats no value. */
function parseConnectionString(connectionString: string) {
  const field = (name: string) =>
    new RegExp(`(?:^|;)\\s*${name}=([^;]*)`, "i").exec(connectionString)?.[1]?.trim() ?? "";
  const scheme = /^true$/i.test(field("UseDevelopmentEmulator")) ? "http" : "https";
  const address = URL.parse(field("Endpoint").replace(/^sb/i, scheme));
  if (!address) throw new Error("The Service Bus connection string needs Endpoint=sb://host.");
  const { origin, host } = address;
  return { origin, host, keyName: field("SharedAccessKeyName"), key: field("SharedAccessKey") };
}
