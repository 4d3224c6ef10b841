import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createRouter } from "../../src/http/router.ts";
import type { createReferenceRoutes } from "../../src/routes/reference.ts";
import { devTable, type Handlers, table } from "../../src/routes/table.ts";
import {
  below,
  type Documented,
  description,
  examplesOf,
  type Header,
  operations,
  parametersOf,
  resolve,
} from "./document.ts";
import { assertDocumented, faultsOf, type ObservedResponse } from "./validator.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

function rows() {
  const anything = new Proxy({}, { get: () => () => ({ status: 204, headers: {} }) });
  const handlers = new Proxy({}, { get: () => anything }) as Handlers;
  return [...table(handlers), ...devTable(anything as ReturnType<typeof createReferenceRoutes>)];
}

test("the table of routes and openapi.yaml have the same operations with the same access levels", () => {
  // The files that the two pages load are no part of the API.
  const routes = rows().filter(({ path }) => !path.endsWith("/:file"));
  const inTable = routes.map(
    ({ method, path, level }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")} ${level}`,
  );
  const inDescription = operations.map(
    (one) => `${one.method} ${one.path} ${one["x-access-level"]}`,
  );
  assert.deepEqual(inDescription.sort(), inTable.sort());
});

test("no row of the table hides another", () => {
  const table = rows();
  const router = createRouter(table);
  for (const row of table)
    assert.equal(router(row.path.replace(/:\w+/g, "1")).resource.route(row.method), row);
});

test("an operation asks for credentials exactly when its access level does", () => {
  assert.deepEqual(description.security, [{ password: [] }, { accessToken: [] }]);
  for (const { operationId, security, responses, ...operation } of operations) {
    const level = operation["x-access-level"];
    const expected =
      level !== "public" ? undefined : operationId === "refresh" ? [{ refreshToken: [] }] : [];
    assert.deepEqual(security, expected, operationId);
    assert.equal(
      "401" in responses,
      level !== "public" || ["login", "refresh"].includes(operationId),
      operationId,
    );
    assert.equal(
      level === "active" || level === "admin" ? "403" in responses : true,
      true,
      operationId,
    );
    if (level === "admin") {
      assert.deepEqual(
        responses["403"],
        { $ref: "#/components/responses/AdminsOnly" },
        operationId,
      );
    }
  }
});

test("every operation says which faults it answers, by what it reads", () => {
  for (const operation of operations) {
    const { operationId, responses, requestBody, path } = operation;
    const needed = ["default", ...(operationId === "isAlive" ? [] : ["500"])];
    if (requestBody) needed.push("413", "415", "422");
    if (parametersOf(operation).some((one) => one.in !== "header")) needed.push("422");
    if (path.startsWith("/api/v1/")) needed.push("503");
    const isThrottled = path.startsWith("/api/v1/auth/") && operationId !== "logout";
    if (isThrottled || operationId === "changePassword") needed.push("429");
    assert.deepEqual(
      needed.filter((status) => !(status in responses)),
      [],
      operationId,
    );
  }
});

test("the version of the description is the package's", () => {
  const { version } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  assert.equal(description.info.version, version);
});

test("the linter has nothing to say", async () => {
  const cli = createRequire(import.meta.url).resolve("@redocly/cli/bin/cli.js");
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [cli, "lint", "--format=json", "openapi.yaml"],
    {
      cwd: ROOT,
      env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" },
    },
  );
  const { totals, problems } = JSON.parse(stdout);
  assert.deepEqual(
    { totals, problems },
    { totals: { errors: 0, warnings: 0, ignored: 0 }, problems: [] },
  );
});

test("every example is valid by its schema", () => {
  let count = 0;
  const check = (schema: string, value: unknown, what: string) => {
    assert.deepEqual(faultsOf(schema, value), [], what);
    count++;
  };
  const checkContent = (pointer: string, content: Documented["content"] = {}) => {
    for (const [type, media] of Object.entries(content)) {
      const schema = below(pointer, "content", type, "schema");
      for (const [name, value] of examplesOf(media))
        check(schema, value, `${pointer} ${type} ${name}`);
    }
  };
  for (const operation of operations) {
    if (operation.requestBody)
      checkContent(below(operation.pointer, "requestBody"), operation.requestBody.content);
    for (const status of Object.keys(operation.responses)) {
      const { target, pointer } = resolve<Documented>(
        below(operation.pointer, "responses", status),
      );
      checkContent(pointer, target.content);
    }
  }
  for (const [name, { example }] of componentsOf<Header>("headers"))
    check(below("/components/headers", name, "schema"), example, name);
  const always = "x-headers-of-every-answer";
  for (const [name, { example }] of Object.entries(description[always]))
    check(below("", always, name, "schema"), example, name);
  for (const [name, { example }] of componentsOf<Header>("parameters"))
    if (example !== undefined)
      check(below("/components/parameters", name, "schema"), example, name);
  assert.ok(count > 100, `only ${count} examples`);
});

test("a parameter has an example exactly when it is required: pages fill it in, and find nothing", () => {
  for (const operation of operations)
    for (const { name, example, required = false } of parametersOf(operation))
      assert.equal(example !== undefined, required, `${operation.operationId}: ${name}`);
});

function componentsOf<Component>(kind: string): [string, Component][] {
  return Object.entries(resolve<Record<string, Component>>(`/components/${kind}`).target);
}

test("every object in the answers is closed, so that a field that is not described is found", () => {
  const open: string[] = [];
  const visit = (node: unknown, pointer: string): void => {
    if (typeof node !== "object" || node === null) return;
    const { type, properties, additionalProperties } = node as Record<string, unknown>;
    if (type === "object" && properties && additionalProperties !== false) open.push(pointer);
    for (const [key, child] of Object.entries(node)) visit(child, below(pointer, key));
  };
  visit(description, "");
  // The form of the login is OAuth's, and its clients send parameters that have no meaning here.
  assert.deepEqual(open, ["/components/schemas/Login"]);
});

const common = {
  "x-request-id": "a",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

function observed(
  change: Partial<Omit<ObservedResponse, "headers">> & { headers?: Record<string, string> },
) {
  const body = Buffer.from(
    JSON.stringify({ doc_id: 1, message: "Document deleted successfully." }),
  );
  const { headers, ...rest } = change;
  return {
    method: "DELETE",
    path: "/api/v1/docs/1/?force=true",
    status: 200,
    body,
    ...rest,
    headers: new Headers({
      "content-type": "application/json; charset=utf-8",
      ...common,
      ...headers,
    }),
  };
}

test("the validator takes what is described and finds what is not", () => {
  const detail = Buffer.from('{"detail":"x"}');
  const empty = Buffer.alloc(0);
  const cors = { vary: "Origin", "access-control-allow-origin": "http://localhost:8080" };
  const good = [
    observed({}),
    observed({ headers: cors }),
    observed({ status: 405, method: "PUT", body: detail, headers: { allow: "GET" } }),
    observed({ status: 404, path: "/nowhere", body: detail }),
    observed({ status: 431, body: detail }),
    observed({ method: "HEAD", path: "/ready", body: empty }),
    observed({
      method: "DELETE",
      path: "/api/v1/users/me",
      status: 422,
      body: Buffer.from(
        '{"detail":[{"type":"regex","loc":["path","user_id"],"msg":"Must be a positive integer"}]}',
      ),
    }),
  ];
  for (const response of good) assertDocumented(response);
  const bad: [string, ObservedResponse, RegExp][] = [
    ["status", observed({ status: 418, body: detail }), /418 is not declared/],
    [
      "status of the whole server on this operation",
      observed({ status: 429, body: detail }),
      /429 is not declared/,
    ],
    [
      "status of a path that is none",
      observed({ status: 200, path: "/nowhere" }),
      /200 is not declared/,
    ],
    ["header", observed({ headers: { "x-powered-by": "x" } }), /x-powered-by is not declared/],
    [
      "header's value",
      observed({ headers: { "cache-control": "public" } }),
      /header Cache-Control/,
    ],
    ["missing header", observed({ status: 401, body: detail }), /WWW-Authenticate is missing/],
    ["405 without Allow", observed({ status: 405, method: "PUT", body: detail }), /without Allow/],
    ["field", observed({ body: Buffer.from('{"doc_id":1,"message":"","more":1}') }), /more/],
    ["missing field", observed({ body: Buffer.from('{"doc_id":1}') }), /message/],
    [
      "type",
      observed({ body: Buffer.from('{"doc_id":"1","message":""}') }),
      /doc_id must be integer/,
    ],
    ["body that is no JSON", observed({ body: empty }), /not JSON/],
    [
      "media type",
      observed({ headers: { "content-type": "text/html" } }),
      /text\/html is not declared/,
    ],
    ["body after HEAD", observed({ method: "HEAD", path: "/ready" }), /after HEAD/],
    ["body of a 204", observed({ path: "/api/v1/users/1", status: 204 }), /where none is declared/],
  ];
  for (const [what, response, fault] of bad)
    assert.throws(() => assertDocumented(response), fault, what);
});
