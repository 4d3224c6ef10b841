import { createServer, type Server, type Socket } from "node:net";
import { BSON } from "mongodb";
import { matches, sorted, textScore } from "./mongo-query.ts";

type Doc = Record<string, unknown>;

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;

/**
 * A MongoDB server as far as the content store needs one, independent of it: OP_MSG and the legacy handshake of the wire
 * protocol (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/), documents kept in memory as BSON.
 */
export interface MongoPeer {
  readonly port: number;
  readonly commands: string[];
  /** Stored documents by `database.collection`, each as BSON. */
  readonly collections: Map<string, Uint8Array[]>;
  readonly indexes: Map<string, Doc[]>;
  /** What the next commands of a name are answered instead, first come first served; `hang up` closes the connection. */
  readonly failures: { command: string; reply: Doc | "hang up" | "silence" }[];
  /** Fields that replace those of the handshake. */
  hello: Doc;
  /** Drops all connections and refuses new ones. */
  stop(): Promise<void>;
  /** Listens again on the same port. */
  start(): Promise<void>;
}

export async function startMongoPeer(): Promise<MongoPeer> {
  const sockets = new Set<Socket>();
  let server: Server;
  let port = 0;
  const peer = {
    get port() {
      return port;
    },
    commands: [] as string[],
    collections: new Map<string, Uint8Array[]>(),
    indexes: new Map<string, Doc[]>(),
    failures: [] as MongoPeer["failures"],
    hello: {} as Doc,
    async start() {
      server = createServer((socket) => {
        sockets.add(socket);
        socket.on("close", () => sockets.delete(socket)).on("error", () => {});
        serve(socket, (command) => answer(peer, command));
      });
      await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
      port = (server.address() as { port: number }).port;
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  await peer.start();
  return peer;
}

function serve(socket: Socket, respond: (command: Doc) => Doc | "hang up" | "silence"): void {
  let pending = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 16 && pending.length >= pending.readInt32LE(0)) {
      const message = pending.subarray(0, pending.readInt32LE(0));
      pending = pending.subarray(message.length);
      const opcode = message.readInt32LE(12);
      const command = opcode === OP_MSG ? readMessage(message) : readQuery(message);
      const reply = respond(command);
      if (reply === "hang up") socket.destroy();
      else if (reply !== "silence") socket.write(frame(opcode, message.readInt32LE(4), reply));
    }
  });
}

function frame(opcode: number, responseTo: number, reply: Doc): Buffer {
  // OP_REPLY: flags, cursor id, starting from, number returned. OP_MSG: flags, section kind 0.
  const prefix = opcode === OP_QUERY ? Buffer.alloc(20) : Buffer.alloc(5);
  if (opcode === OP_QUERY) prefix.writeInt32LE(1, 16);
  const body = Buffer.concat([prefix, BSON.serialize(reply)]);
  const header = Buffer.alloc(16);
  header.writeInt32LE(16 + body.length, 0);
  header.writeInt32LE(responseTo, 8);
  header.writeInt32LE(opcode === OP_QUERY ? OP_REPLY : OP_MSG, 12);
  return Buffer.concat([header, body]);
}

function readQuery(message: Buffer): Doc {
  return BSON.deserialize(message.subarray(message.indexOf(0, 20) + 9));
}

/** A section of kind 1 is an array of the command under its name. */
function readMessage(message: Buffer): Doc {
  let command: Doc = {};
  for (let at = 20; at < message.length; ) {
    const kind = message[at++];
    const size = message.readInt32LE(at);
    if (kind === 0) command = { ...BSON.deserialize(message.subarray(at, at + size)), ...command };
    else
      command[message.toString("utf8", at + 4, message.indexOf(0, at + 4))] = readSequence(
        message,
        at,
        size,
      );
    at += size;
  }
  return command;
}

function readSequence(message: Buffer, start: number, size: number): Doc[] {
  const documents: Doc[] = [];
  for (
    let at = message.indexOf(0, start + 4) + 1;
    at < start + size;
    at += message.readInt32LE(at)
  ) {
    documents.push(BSON.deserialize(message.subarray(at, at + message.readInt32LE(at))));
  }
  return documents;
}

function answer(peer: MongoPeer, command: Doc): Doc | "hang up" | "silence" {
  const [name = "", target] = Object.entries(command)[0] ?? [];
  peer.commands.push(name);
  const failure = peer.failures.findIndex((planned) => planned.command === name);
  if (failure >= 0) return peer.failures.splice(failure, 1)[0]?.reply ?? "silence";
  const key = `${command.$db}.${target}`;
  const stored = peer.collections.get(key) ?? [];
  const textIndex = peer.indexes.get(key)?.find((index) => "textIndexVersion" in index);
  const find = (filter: Doc, sort: Doc = {}) => {
    const text = filter.$text as Doc | undefined;
    const found = stored.filter((bytes) => matches(BSON.deserialize(bytes), filter));
    const byDoc = new Map(found.map((bytes) => [BSON.deserialize(bytes) as Doc, bytes]));
    return sorted([...byDoc.keys()], sort, text).map((doc) => byDoc.get(doc) as Uint8Array);
  };
  const replace = (old: Uint8Array | undefined, next: Doc) => {
    const bytes = BSON.serialize(next);
    const others = peer.collections.get(key) ?? [];
    peer.collections.set(
      key,
      old ? others.map((other) => (other === old ? bytes : other)) : [...others, bytes],
    );
  };
  const filter = (command.filter ?? (command.pipeline as Doc[] | undefined)?.[0]?.$match) as Doc;
  if (filter?.$text && !textIndex) {
    const errmsg = "text index required for $text query";
    return { ok: 0, code: 27, codeName: "IndexNotFound", errmsg };
  }
  switch (name) {
    case "hello":
    case "ismaster":
      return {
        ismaster: true,
        helloOk: true,
        maxWireVersion: 25,
        minWireVersion: 0,
        ...LIMITS,
        ...peer.hello,
        ok: 1,
      };
    case "ping":
    case "endSessions":
      return { ok: 1 };
    case "dropDatabase":
      for (const name of peer.collections.keys()) {
        if (name.startsWith(`${command.$db}.`)) peer.collections.delete(name);
      }
      return { ok: 1 };
    case "createIndexes": {
      const known = peer.indexes.get(key) ?? [];
      for (const index of command.indexes as Doc[]) {
        const same = known.find((other) => other.name === index.name);
        if (same && same.unique !== index.unique) {
          return { ok: 0, code: 86, codeName: "IndexKeySpecsConflict", errmsg: "same name" };
        }
        const isText = Object.values(index.key as Doc).includes("text");
        if (!same) known.push({ ...index, ...(isText && { textIndexVersion: 3 }) });
      }
      peer.indexes.set(key, known);
      return { ok: 1 };
    }
    case "listIndexes": {
      const known = peer.indexes.get(key);
      if (!known) return { ok: 0, code: 26, codeName: "NamespaceNotFound", errmsg: "ns missing" };
      return { cursor: { id: 0n, ns: key, firstBatch: known }, ok: 1 };
    }
    case "dropIndexes": {
      const known = peer.indexes.get(key) ?? [];
      peer.indexes.set(
        key,
        known.filter((other) => other.name !== command.index),
      );
      return { nIndexesWas: known.length, ok: 1 };
    }
    case "insert": {
      const documents = command.documents as Doc[];
      const unique = peer.indexes
        .get(key)
        ?.some((index) => index.unique && "doc_id" in (index.key as Doc));
      if (unique && documents.some(({ doc_id }) => find({ doc_id }).length > 0)) {
        return { ok: 0, code: 11000, codeName: "DuplicateKey", errmsg: "E11000 duplicate key" };
      }
      peer.collections.set(key, [...stored, ...documents.map((doc) => BSON.serialize(doc))]);
      return { n: documents.length, ok: 1 };
    }
    case "find": {
      const { skip = 0, limit = 0 } = command as { skip?: number; limit?: number };
      const found = find(filter, command.sort as Doc)
        .slice(skip, limit === 0 ? undefined : skip + limit)
        .map((bytes) => BSON.deserialize(bytes));
      const firstBatch = project(found, command.projection as Doc, filter.$text as Doc);
      return { cursor: { id: 0n, ns: key, firstBatch }, ok: 1 };
    }
    case "aggregate": {
      const [, { $limit }, { $group }] = command.pipeline as [Doc, Doc, Doc];
      if (JSON.stringify($group) !== '{"_id":1,"n":{"$sum":1}}')
        throw new Error("only the count of documents is known here");
      const n = Math.min(find(filter).length, $limit as number);
      return { cursor: { id: 0n, ns: key, firstBatch: n === 0 ? [] : [{ _id: 1, n }] }, ok: 1 };
    }
    case "update": {
      const [{ q, u, multi }] = command.updates as [{ q: Doc; u: Doc; multi?: boolean }];
      if (Object.keys(u).join() !== "$set") throw new Error("only $set is known here");
      const changed = find(q).slice(0, multi ? undefined : 1);
      for (const bytes of changed)
        replace(bytes, { ...BSON.deserialize(bytes), ...(u.$set as Doc) });
      return { n: changed.length, nModified: changed.length, ok: 1 };
    }
    case "findAndModify": {
      const [old] = find(command.query as Doc, command.sort as Doc);
      if (old === undefined && command.upsert !== true) return { value: null, ok: 1 };
      const _id = old === undefined ? new BSON.ObjectId() : BSON.deserialize(old)._id;
      const next = { _id, ...(command.update as Doc) };
      replace(old, next);
      const [value] = project([next], command.fields as Doc);
      return { value: command.new === true ? value : null, ok: 1 };
    }
    case "delete": {
      const [{ q, limit }] = command.deletes as [{ q: Doc; limit: number }];
      const gone = find(q).slice(0, limit === 0 ? Number.POSITIVE_INFINITY : limit);
      peer.collections.set(
        key,
        stored.filter((bytes) => !gone.includes(bytes)),
      );
      return { n: gone.length, ok: 1 };
    }
    default:
      return { ok: 0, code: 59, codeName: "CommandNotFound", errmsg: `no such command: ${name}` };
  }
}

const LIMITS = {
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
};

/** `{ _id: 0 }` takes a field away, `{ name: 1 }` or a score all others but `_id`. */
function project(documents: Doc[], projection: Doc = {}, text: Doc = {}): Doc[] {
  const values = Object.values(projection);
  const keeps = values.some((value) => value !== 0);
  return documents.map((document) => {
    const fields = Object.entries(document).filter(([name]) =>
      keeps
        ? projection[name] === 1 || (name === "_id" && projection._id !== 0)
        : projection[name] !== 0,
    );
    const score = projection.score ? { score: textScore(document, text) } : {};
    return { ...Object.fromEntries(fields), ...score };
  });
}
