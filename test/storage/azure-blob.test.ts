import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { after, before, describe, it } from "node:test";
import { inspect } from "node:util";
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  BlobServiceClient,
  generateAccountSASQueryParameters,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { ConfigError, loadConfig } from "../../src/config.ts";
import { AppError } from "../../src/errors.ts";
import { createLogger, describeError } from "../../src/log.ts";
import { openParts } from "../../src/parts.ts";
import { AzureBlobStorage } from "../../src/storage/azure-blob.ts";
import { InvalidBlobKey } from "../../src/storage/keys.ts";
import { BlobExists, BlobNotFound } from "../../src/storage/storage.ts";
import {
  ACCOUNT,
  ACCOUNT_KEY,
  type Azurite,
  connectionStringFor,
  startAzurite,
} from "../support/azurite.ts";

const lines: string[] = [];
const log = createLogger({ level: "debug", readable: false, write: (line) => lines.push(line) });
const open = (connectionString: string, container: string) =>
  new AzureBlobStorage({ connectionString, container });

/** Of a test that waits for what only the code under test brings about. */
const LIMIT = { timeout: 60_000 };

const isUnavailable = (error: unknown) => error instanceof AppError && error.code === "unavailable";

/** A SAS for the emulator's account: `resources` is any of `s`, `c` and `o` (service, container, object). */
function sasConnectionString(
  port: number,
  resources: string,
): { connectionString: string; signature: string } {
  const query = generateAccountSASQueryParameters(
    {
      services: AccountSASServices.parse("b").toString(),
      resourceTypes: AccountSASResourceTypes.parse(resources).toString(),
      permissions: AccountSASPermissions.parse("rwdlc"),
      expiresOn: new Date(Date.now() + 3_600_000),
    },
    new StorageSharedKeyCredential(ACCOUNT, ACCOUNT_KEY),
  );
  const endpoint = `http://127.0.0.1:${port}/${ACCOUNT}`;
  return {
    connectionString: `BlobEndpoint=${endpoint};SharedAccessSignature=${query.toString()}`,
    signature: query.signature,
  };
}

/** Everything of an error that a log or an inspection could show. */
const shown = (error: unknown) =>
  inspect(error, { depth: 20, showHidden: true }) +
  JSON.stringify(error) +
  JSON.stringify(describeError(error));

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function eventually(what: string, done: () => boolean): Promise<void> {
  const end = Date.now() + 60_000;
  while (!done()) {
    assert.ok(Date.now() < end, `waited in vain for ${what}`);
    await new Promise(setImmediate);
  }
}

describe("AzureBlobStorage", () => {
  let azurite: Azurite;
  before(async () => {
    azurite = await startAzurite();
  });
  after(() => azurite?.close());
  const sdk = (container: string) =>
    BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient(container);

  it("names the container's address as its description, without secrets", async () => {
    const storage = open(sasConnectionString(azurite.port, "sco").connectionString, "docs");
    assert.equal(
      storage.description,
      `Azure Blob Storage http://127.0.0.1:${azurite.port}/${ACCOUNT}/docs`,
    );
  });

  it("keeps a server with a malformed connection string from starting, and is not repeated", async (test) => {
    const folder = await mkdtemp(join(tmpdir(), "nassaq-azure-"));
    test.after(() => rm(folder, { recursive: true, force: true }));
    const open = async (bad: string) => {
      const closing: (() => unknown)[] = [];
      const config = loadConfig({
        DATA_DIR: folder,
        BLOB_STORAGE_TYPE: "azure",
        BLOB_CONNECTION_STR: bad,
        BLOB_STORAGE_CONTAINER_NAME: "docs",
      });
      try {
        await openParts(config, log, (_name, close) => closing.push(close));
      } finally {
        for (const close of closing) await close();
      }
    };
    for (const bad of [
      "",
      "secret",
      "AccountName=a;AccountKey=secret",
      "BlobEndpoint=secret;SharedAccessSignature=secret",
    ]) {
      await assert.rejects(
        open(bad),
        (error) => error instanceof ConfigError && !shown(error).includes("secret"),
      );
    }
  });

  it("creates the container with the first upload, and again when it is removed", async () => {
    const storage = open(azurite.connectionString, "created");
    assert.equal(await storage.exists("early"), false);
    await assert.rejects(storage.download("early"), BlobNotFound);
    await storage.delete("early");
    assert.equal(await sdk("created").exists(), false);
    await storage.upload(Readable.from(["1"]), "one");
    assert.equal(await sdk("created").exists(), true);
    await sdk("created").delete();
    await storage.upload(Readable.from(["2"]), "two");
    await sdk("created").delete();
    await storage.upload(Readable.from([]), "empty");
    assert.deepEqual(await storage.list(""), ["empty"]);
    await sdk("created").delete();
    assert.deepEqual(await storage.list(""), []);
    assert.equal(await sdk("created").exists(), false);
    await storage.ping();
    assert.equal(await sdk("created").exists(), true);
  });

  it("keeps the content type as a property", async () => {
    const storage = open(azurite.connectionString, "properties");
    await storage.upload(Readable.from(["%PDF"]), "a.pdf", { contentType: "application/pdf" });
    const found = await sdk("properties").getBlobClient("a.pdf").getProperties();
    assert.equal(found.contentType, "application/pdf");
  });

  it("refuses URLs of another account, container or host, and takes its own with a SAS behind it", async () => {
    const storage = open(azurite.connectionString, "own");
    const url = await storage.upload(Readable.from(["x"]), "k");
    assert.equal(url, `http://127.0.0.1:${azurite.port}/${ACCOUNT}/own/k`);
    assert.equal(await storage.exists(`${url}?sv=2024&sig=abc`), true);
    for (const [part, other] of [
      ["/own/", "/other/"],
      [ACCOUNT, "other"],
      ["127.0.0.1", "localhost"],
      ["/own/", "/own2/"],
    ] as const) {
      await assert.rejects(storage.download(url.replace(part, other)), InvalidBlobKey);
    }
  });

  it("works with a SAS, also one that may not create containers, and shows it nowhere", async () => {
    lines.length = 0;
    await sdk("shared").createIfNotExists();
    for (const resources of ["sco", "co", "o"]) {
      const { connectionString, signature } = sasConnectionString(azurite.port, resources);
      const storage = open(connectionString, "shared");
      const url = await storage.upload(Readable.from(["x"]), `by-${resources}`);
      assert.equal(url, `http://127.0.0.1:${azurite.port}/${ACCOUNT}/shared/by-${resources}`);
      assert.equal((await storage.download(url)).toString(), "x");
      const missing = await storage.download("missing").catch((error: unknown) => error);
      const taken = await storage
        .upload(Readable.from(["x"]), `by-${resources}`)
        .catch((error: unknown) => error);
      assert.ok(taken instanceof BlobExists);
      for (const text of [shown(missing), shown(taken), lines.join(""), inspect(storage)]) {
        assert.ok(
          !text.includes(signature) &&
            !text.includes(encodeURIComponent(signature)) &&
            !text.includes("sig="),
        );
      }
    }
    const { connectionString } = sasConnectionString(azurite.port, "o");
    const missing = open(connectionString, "missing");
    await assert.rejects(missing.upload(Readable.from(["x"]), "k"), isUnavailable);
  });

  it("reports a wrong key as unavailable, without the key or a signature", async () => {
    const wrong = Buffer.from("wrong key").toString("base64");
    const storage = open(azurite.connectionString.replace(ACCOUNT_KEY, wrong), "docs");
    const error = await storage.ping().catch((reason: unknown) => reason);
    assert.ok(isUnavailable(error), shown(error));
    assert.doesNotMatch(shown(error), /SharedKey|sig=/);
    assert.ok(!shown(error).includes(wrong));
  });

  it("opens while the service is down, fails each call soon as unavailable, and heals by itself", async () => {
    const probe = createTcpServer();
    const port = await listen(probe);
    probe.close();
    await once(probe, "close");
    const { connectionString, signature } = sasConnectionString(port, "sco");
    for (const text of [connectionString, connectionStringFor(port)]) {
      const storage = open(text, "docs");
      const source = Readable.from(["x"]);
      const errors = await Promise.all(
        [
          storage.ping(),
          storage.upload(source, "k"),
          storage.download("k"),
          storage.list(""),
          storage.delete("k"),
        ].map((promise) =>
          promise.then(
            () => undefined,
            (reason: unknown) => reason,
          ),
        ),
      );
      for (const error of errors) {
        assert.ok(isUnavailable(error), shown(error));
        assert.ok(
          !shown(error).includes(encodeURIComponent(signature)) && !shown(error).includes("sig="),
        );
      }
      assert.equal(source.destroyed, true);
    }
  });

  it(
    "survives a service that stops during an upload, at the next upload after its return",
    LIMIT,
    async () => {
      const own = await startAzurite();
      try {
        const storage = open(own.connectionString, "docs");
        await storage.upload(Readable.from(["x"]), "before");
        const source = new PassThrough();
        const rejected = assert.rejects(storage.upload(source, "midway"), isUnavailable);
        for (let chunk = 0; chunk < 80; chunk += 1) {
          if (!source.write(Buffer.alloc(64 * 1024))) await once(source, "drain");
        }
        await own.stop();
        source.on("error", () => {});
        source.write(Buffer.alloc(4 * 1024 * 1024));
        await eventually("the end of the source", () => source.destroyed);
        await rejected;
        await assert.rejects(storage.ping(), isUnavailable);
        await own.start();
        await storage.ping();
        assert.equal(await storage.exists("midway"), false);
        await storage.upload(Readable.from(["second try"]), "midway");
        assert.equal((await storage.download("midway")).toString(), "second try");
      } finally {
        await own.close();
      }
    },
  );

  it("leaves no blob when the client leaves while a block is on its way", LIMIT, async () => {
    const blocks: Socket[] = [];
    const { port, close } = await startProxy((incoming, answer, forward) => {
      if (!incoming.url?.includes("comp=block&")) return forward();
      blocks.push(incoming.socket);
      incoming.resume();
      answer.on("error", () => {});
    });
    try {
      const storage = open(connectionStringFor(port), "leaving");
      const source = new PassThrough();
      const failure = new Error("gone");
      const rejected = assert.rejects(storage.upload(source, "k"), (error) => error === failure);
      source.write(Buffer.alloc(5 * 1024 * 1024));
      await eventually("a block", () => blocks.length > 0);
      const closed = Promise.all(
        blocks.map((socket) => new Promise((resolve) => socket.once("close", resolve))),
      );
      source.destroy(failure);
      await rejected;
      await closed;
      assert.equal(await storage.exists("k"), false);
    } finally {
      await close();
    }
  });

  it("fails an upload whose commit's answer is lost, and leaves its blob for the caller to delete", async () => {
    let lost = 0;
    const { port, close } = await startProxy((incoming, answer, forward) => {
      forward(() => {
        if (!incoming.url?.includes("comp=blocklist") || lost > 0) return true;
        lost += 1;
        answer.socket?.destroy();
        return false;
      });
    });
    try {
      const storage = open(connectionStringFor(port), "lost");
      await assert.rejects(storage.upload(Readable.from(["whole"]), "k"), BlobExists);
      assert.equal(lost, 1);
      await storage.delete("k");
      assert.equal(await storage.exists("k"), false);
    } finally {
      await close();
    }
  });

  it("ends a download with an error when the service goes away midway", async () => {
    let cut = false;
    const { port, close } = await startProxy((incoming, answer, forward) => {
      if (incoming.method !== "GET") return forward();
      if (cut) return answer.socket?.destroy();
      cut = true;
      answer.writeHead(200, {
        "Content-Length": 1_000_000,
        ETag: '"1"',
        "Last-Modified": new Date().toUTCString(),
      });
      answer.write(Buffer.alloc(1000), () => answer.socket?.destroy());
    });
    try {
      const storage = open(connectionStringFor(port), "cut");
      const stream = await storage.downloadStream("k");
      stream.resume();
      await assert.rejects(finished(stream), isUnavailable);
    } finally {
      await close();
    }
  });

  it("shows nothing of an address's query that an error message quotes", async () => {
    const { port, close } = await startProxy((_incoming, answer) => {
      answer.writeHead(400, { "Content-Type": "application/xml" });
      answer.end("<Error><Code>Odd</Code><Message>Odd /docs/k?sig=secret here</Message></Error>");
    });
    try {
      const storage = open(connectionStringFor(port), "odd");
      const error = await storage.download("k").catch((reason: unknown) => reason);
      assert.ok(isUnavailable(error));
      assert.match(shown(error), /Odd \/docs\/k here/);
      assert.ok(!shown(error).includes("secret"));
    } finally {
      await close();
    }
  });

  it("gives up a service that accepts connections and says nothing", LIMIT, async (test) => {
    const sockets = new Set<Socket>();
    const mute = createTcpServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.resume();
    });
    const port = await listen(mute);
    try {
      const storage = open(connectionStringFor(port), "docs");
      const connected = once(mute, "connection");
      const connectedAgain = connected.then(() => once(mute, "connection"));
      test.mock.timers.enable({ apis: ["setTimeout"] });
      const rejected = assert.rejects(storage.ping(), isUnavailable);
      await connected;
      test.mock.timers.tick(10_000);
      await connectedAgain;
      test.mock.timers.tick(10_000);
      await rejected;
    } finally {
      test.mock.timers.reset();
      for (const socket of sockets) socket.destroy();
      mute.close();
    }
  });

  it("gives up a download that stalls, but waits for a reader that pauses", LIMIT, async (test) => {
    let answered: ServerResponse | undefined;
    const { port, close } = await startProxy((_incoming, answer) => {
      answer.writeHead(200, {
        "Content-Length": 1_000_000,
        ETag: '"1"',
        "Last-Modified": new Date().toUTCString(),
      });
      answer.write(Buffer.alloc(400_000));
      answered = answer;
    });
    try {
      const storage = open(connectionStringFor(port), "stall");
      test.mock.timers.enable({ apis: ["setTimeout"] });
      const stream = await storage.downloadStream("k");
      const chunks = stream.iterator();
      let size = ((await chunks.next()).value as Buffer).length;
      const full = () => stream.readableLength >= stream.readableHighWaterMark;
      await eventually("a full buffer", full);
      test.mock.timers.tick(60_000);
      while (size < 400_000) size += ((await chunks.next()).value as Buffer).length;
      const last = assert.rejects(chunks.next(), isUnavailable);
      await new Promise(setImmediate);
      test.mock.timers.tick(30_000);
      await last;
      assert.ok(answered);
      if (!answered.closed) await once(answered, "close");
    } finally {
      test.mock.timers.reset();
      await close();
    }
  });

  it("repeats a call that has no answer in time, and sends one deletion at a time", async (test) => {
    const swallowed = new Set<string>();
    let swallow: (() => void) | undefined;
    let inFlight = 0;
    let peak = 0;
    const { port, close } = await startProxy((incoming, _answer, forward) => {
      const { method = "", url = "" } = incoming;
      const kind = method === "DELETE" ? method : url.includes("comp=list") ? "LIST" : undefined;
      if (kind !== undefined && !swallowed.has(kind)) {
        swallowed.add(kind);
        incoming.resume();
        return swallow?.();
      }
      if (method !== "DELETE") return forward();
      inFlight += 1;
      peak = Math.max(peak, inFlight);
      return forward(() => {
        inFlight -= 1;
        return true;
      });
    });
    try {
      const storage = open(connectionStringFor(port), "bulk");
      const keys = Array.from({ length: 40 }, (_, index) => `many/${index}`);
      for (const key of keys) await storage.upload(Readable.from(["x"]), key);
      test.mock.timers.enable({ apis: ["setTimeout"] });
      swallow = () => setImmediate(() => test.mock.timers.tick(10_000));
      await storage.deleteDir("many");
      assert.deepEqual([...swallowed], ["LIST", "DELETE"]);
      // And the one that the clock overtook.
      assert.ok(peak <= 2, `${peak} deletions in flight at once`);
      assert.deepEqual(await storage.list(""), []);
    } finally {
      test.mock.timers.reset();
      await close();
    }
  });

  /** An HTTP proxy before Azurite. `handle` answers a request itself or forwards it; `deliver` may drop the answer. */
  async function startProxy(
    handle: (
      incoming: IncomingMessage,
      answer: ServerResponse,
      forward: (deliver?: () => boolean) => void,
    ) => unknown,
  ): Promise<{ port: number; close: () => Promise<void> }> {
    const server = createServer((incoming, answer) => {
      handle(incoming, answer, (deliver = () => true) => {
        const { method, url, headers } = incoming;
        const onward = request(
          { host: "127.0.0.1", port: azurite.port, method, path: url, headers },
          (reply) => {
            if (!deliver()) return reply.resume();
            answer.writeHead(reply.statusCode ?? 502, reply.headers);
            return reply.pipe(answer);
          },
        );
        onward.on("error", () => answer.destroy());
        incoming.pipe(onward);
      });
    });
    const port = await listen(server);
    return {
      port,
      async close() {
        server.closeAllConnections();
        server.close();
        await once(server, "close");
      },
    };
  }
});
