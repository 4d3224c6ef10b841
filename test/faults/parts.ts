import { createHash, randomBytes } from "node:crypto";
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BlobServiceClient } from "@azure/storage-blob";
import { connect } from "amqplib";
import { connectionStringFor, startAzurite } from "../support/azurite.ts";
import { createPrivateRabbitMQ } from "../support/rabbitmq.ts";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.ts";

export interface StoredBlob {
  size: number;
  sha256: string;
}

export interface QueuedMessage {
  id: string;
  body: string;
}

/** Storage and broker of one server, looked at without its code. */
export interface Stores {
  readonly env: Record<string, string>;
  /** By key; and what lies there that is no whole blob, one line each. */
  blobs(): Promise<{ blobs: Map<string, StoredBlob>; strays: string[] }>;
  /** All that was ever put into the queue; nobody else takes from it. */
  messages(): Promise<QueuedMessage[]>;
}

/** Parts to test on. Those of a network have a line that can be broken. */
export interface Parts {
  readonly name: string;
  readonly storage?: FaultProxy;
  readonly broker?: FaultProxy;
  /** New ones for a server whose data is in `folder`. */
  open(folder: string): Stores;
  close(): Promise<void>;
}

export const embedded: Parts = {
  name: "embedded parts",
  open: (folder) => ({
    env: {},
    blobs: () => readFolder(join(folder, "blobs")),
    messages: async () => readTable(join(folder, "nassaq.db")),
  }),
  close: async () => {},
};

/** Azurite and RabbitMQ of their own, or why there are none. */
export async function openRemote(): Promise<Parts | { skip: string }> {
  const rabbitmq = await createPrivateRabbitMQ();
  if ("skip" in rabbitmq) return rabbitmq;
  const [azurite] = await Promise.all([startAzurite(), rabbitmq.start()]);
  const storage = await startFaultProxy(azurite.port);
  const broker = await startFaultProxy(rabbitmq.port);
  const open = (): Stores => {
    const run = `faults-${randomBytes(6).toString("hex")}`;
    const taken: QueuedMessage[] = [];
    return {
      env: {
        BLOB_STORAGE_TYPE: "azure",
        BLOB_CONNECTION_STR: connectionStringFor(storage.port),
        BLOB_STORAGE_CONTAINER_NAME: run,
        MESSAGE_BROKER_URL: `amqp://guest:guest@127.0.0.1:${broker.port}`,
        OCR_QUEUE_NAME: run,
      },
      blobs: () => readContainer(azurite.connectionString, run),
      async messages() {
        taken.push(...(await takeAll(rabbitmq.url, run)));
        return taken;
      },
    };
  };
  return {
    name: "Azurite and RabbitMQ",
    storage,
    broker,
    open,
    async close() {
      await Promise.all([storage.close(), broker.close()]);
      await Promise.all([azurite.close(), rabbitmq.dispose()]);
    },
  };
}

/** Files do not change once they are whole: what was read is remembered by name, time and size. */
const hashes = new Map<string, string>();

async function hashOf(path: string): Promise<StoredBlob> {
  const { size, mtimeMs, ino } = await stat(path);
  const version = `${path} ${mtimeMs} ${size} ${ino}`;
  const sha256 = hashes.get(version) ?? hash(await readFile(path));
  hashes.set(version, sha256);
  return { size, sha256 };
}

const hash = (data: Buffer) => createHash("sha256").update(data).digest("hex");

/** The hidden folder holds what is not whole. */
async function readFolder(root: string) {
  const blobs = new Map<string, StoredBlob>();
  const strays: string[] = [];
  const visit = async (folder: string) => {
    const entries = await listed(folder);
    const where = relative(root, folder);
    const isHidden = where.startsWith(".");
    if (entries.length === 0 && where !== "" && !isHidden) strays.push(`empty folder ${where}`);
    for (const entry of entries) {
      const path = join(folder, entry.name);
      // The slash of a key, where the file needs no folder.
      const key = relative(root, path).replace("%~", "/");
      if (isHidden) strays.push(`temporary file ${key}`);
      else if (entry.isDirectory()) await visit(path);
      else {
        const blob = await hashOf(path).catch(() => undefined); // gone meanwhile
        if (blob) blobs.set(key, blob);
      }
    }
  };
  await visit(root);
  return { blobs, strays };
}

const listed = (folder: string): Promise<Dirent[]> =>
  readdir(folder, { withFileTypes: true }).catch(() => []);

function readTable(file: string): QueuedMessage[] {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const sql = "SELECT message_id AS id, body FROM Broker_Messages";
    return database.prepare(sql).all() as unknown as QueuedMessage[];
  } finally {
    database.close();
  }
}

async function readContainer(connection: string, container: string) {
  const client = BlobServiceClient.fromConnectionString(connection).getContainerClient(container);
  const blobs = new Map<string, StoredBlob>();
  if (!(await client.exists())) return { blobs, strays: [] };
  for await (const { name, properties } of client.listBlobsFlat()) {
    const version = `${client.url}/${name} ${properties.etag}`;
    if (!hashes.has(version)) {
      const data = await client
        .getBlobClient(name)
        .downloadToBuffer()
        .catch(() => undefined);
      if (!data) continue; // gone meanwhile
      hashes.set(version, hash(data));
    }
    blobs.set(name, {
      size: properties.contentLength ?? -1,
      sha256: hashes.get(version) ?? "",
    });
  }
  return { blobs, strays: [] };
}

async function takeAll(url: string, queue: string): Promise<QueuedMessage[]> {
  const connection = await connect(url);
  try {
    const channel = await connection.createChannel();
    await channel.assertQueue(queue, { durable: true });
    const messages: QueuedMessage[] = [];
    for (;;) {
      const message = await channel.get(queue, { noAck: true });
      if (!message) return messages;
      messages.push({ id: message.properties.messageId, body: message.content.toString() });
    }
  } finally {
    await connection.close();
  }
}
