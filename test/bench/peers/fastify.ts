import { createRequire } from "node:module";
import type { Readable } from "node:stream";
import { authenticate, isLogging, keep, listensOn, ownDocuments, type User } from "./work.ts";

/** The same routes on Fastify, with schemas for its fast JSON, and one line of pino a request. */
const require = createRequire(import.meta.url);
// Not imported, so that the types are not missing where its packages are.
const app = require("fastify")({ logger: isLogging, disableRequestLogging: true });
app.register(require("@fastify/multipart"), { limits: { fileSize: 64e6 } });

interface Request {
  id: string;
  headers: { authorization?: string };
  query: { limit: string; skip?: string };
  user: User;
  method: string;
  url: string;
  log: { info(fields: object, message: string): void };
  file(): Promise<{ file: Readable; filename: string }>;
}

interface Reply {
  headers(fields: Record<string, string>): void;
  statusCode: number;
  elapsedTime: number;
  code(status: number): Reply;
  send(body?: unknown): Reply;
}

const [text, integer] = [{ type: "string" }, { type: "integer" }];
const nullable = { nullable: true };
const object = (properties: object) => ({ type: "object", properties });

const user = object({
  user_id: integer,
  ...{ full_name: text, email: text, username: text },
  role: { ...text, ...nullable },
  role_id: { ...integer, ...nullable },
  is_active: { type: "boolean" },
  created_at: text,
});
const item = object({
  doc_id: integer,
  ...{ filename: text, path: text, status: text },
  uploaded_by_user_id: integer,
  uploaded_by: text,
  uploaded_at: { ...text, ...nullable },
  error_message: { ...text, ...nullable },
  size: { ...integer, ...nullable },
  content_type: { ...text, ...nullable },
});
const page = object({ total: integer, items: { type: "array", items: item } });

async function guard(request: Request, reply: Reply) {
  const found = authenticate(request.headers.authorization);
  if (found) request.user = found;
  else reply.code(401).send();
}

if (isLogging) {
  app.addHook("onResponse", (request: Request, reply: Reply, done: () => void) => {
    const { method, url, log } = request;
    log.info({ method, url, status: reply.statusCode, ms: reply.elapsedTime }, "request");
    done();
  });
}
// What every answer of the API has.
app.addHook("onRequest", ({ id }: Request, reply: Reply, done: () => void) => {
  const fixed = { "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store" };
  reply.headers({ "X-Request-Id": id, ...fixed });
  done();
});
app.decorateRequest("user", null);
app.get("/", (_request: Request, reply: Reply) => reply.code(204).send());
app.get(
  "/api/v1/users/me",
  { preHandler: guard, schema: { response: { 200: user } } },
  (request: Request, reply: Reply) => reply.send(request.user),
);
app.get(
  "/api/v1/docs/me",
  { preHandler: guard, schema: { response: { 200: page } } },
  ({ user: { user_id }, query: { limit, skip = "0" } }: Request, reply: Reply) =>
    reply.send(ownDocuments(user_id, Number(limit), Number(skip))),
);
app.register(async (scope: typeof app) => {
  const handler = async (request: Request, reply: Reply) => {
    const { file, filename } = await request.file();
    return reply.code(201).send(await keep(file, filename, request.user.user_id));
  };
  scope.post("/api/v1/docs/upload", { preHandler: guard }, handler);
});
await app.listen(listensOn);
