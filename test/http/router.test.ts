import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AppError } from "../../src/errors.ts";
import { noContent } from "../../src/http/replies.ts";
import type { Method, Route } from "../../src/http/request.ts";
import { createRouter } from "../../src/http/router.ts";

const row = (method: Method, path: string): Route => ({
  method,
  path,
  level: "public",
  handler: noContent,
});
const routes = [
  ["GET", "/"],
  ["GET", "/docs"],
  ["POST", "/docs/upload"],
  ["GET", "/docs/me"],
  ["GET", "/docs/:doc_id"],
  ["DELETE", "/docs/:doc_id"],
  ["PATCH", "/docs/me/:part"],
  ["GET", "/docs/:doc_id/status"],
].map(([method, path]) => row(method as Method, path as string));
const router = createRouter(routes);

function find(method: string, path: string) {
  try {
    const { resource, params } = router(path);
    return { path: resource.route(method).path, params: { ...params } };
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return { code: error.code, detail: error.detail, ...error.headers };
  }
}

const notFound = { code: "not_found", detail: "Not Found" };
const notAllowed = (Allow: string) => ({
  code: "method_not_allowed",
  detail: "Method Not Allowed",
  Allow,
});

describe("the router", () => {
  const table: [string, string, unknown][] = [
    ["GET", "/", { path: "/", params: {} }],
    ["GET", "/docs", { path: "/docs", params: {} }],
    ["GET", "/docs/", { path: "/docs", params: {} }],
    ["HEAD", "/docs/", { path: "/docs", params: {} }],
    ["GET", "/%64ocs", { path: "/docs", params: {} }],
    ["GET", "/docs/7", { path: "/docs/:doc_id", params: { doc_id: "7" } }],
    ["GET", "/docs/7/", { path: "/docs/:doc_id", params: { doc_id: "7" } }],
    ["GET", "/docs/a%2Fb%20c", { path: "/docs/:doc_id", params: { doc_id: "a/b c" } }],
    ["GET", "/docs/%D9%85", { path: "/docs/:doc_id", params: { doc_id: "م" } }],
    ["GET", "/docs/me", { path: "/docs/me", params: {} }],
    ["DELETE", "/docs/me", notAllowed("GET, HEAD, OPTIONS")],
    ["GET", "/docs/upload", notAllowed("POST, OPTIONS")],
    ["GET", "/docs/me/status", notAllowed("PATCH, OPTIONS")],
    ["PATCH", "/docs/me/status", { path: "/docs/me/:part", params: { part: "status" } }],
    ["GET", "/docs/:doc_id", { path: "/docs/:doc_id", params: { doc_id: ":doc_id" } }],
    ["GET", "//", notFound],
    ["GET", "/docs//", notFound],
    ["GET", "/docs//status", notFound],
    ["GET", "/Docs", notFound],
    ["GET", "/docs/7/8", notFound],
    ["GET", "/docs/../docs", notFound],
    ["PUT", "/docs", notAllowed("GET, HEAD, OPTIONS")],
    ["TRACE", "/docs/7", notAllowed("GET, HEAD, DELETE, OPTIONS")],
    ["PUT", "/docs/upload", notAllowed("POST, OPTIONS")],
    ["HEAD", "/docs/upload", notAllowed("POST, OPTIONS")],
    ["POST", "/docs/me/status", notAllowed("PATCH, OPTIONS")],
  ];
  for (const [method, path, expected] of table) {
    test(`${method} ${path} → ${JSON.stringify(expected)}`, () =>
      assert.deepEqual(find(method, path), expected));
  }

  const make = (...paths: string[]) => createRouter(paths.map((path) => row("GET", path)));

  test("lets the first row decide", () => {
    const router = make("/a/:x", "/:y/b");
    assert.equal(router("/a/b").resource.pattern, "/a/:x");
    assert.equal(make("/:y/b", "/a/:x")("/a/b").resource.pattern, "/:y/b");
    assert.equal(router("/c/b").resource.pattern, "/:y/b");
  });

  test("any text survives percent-encoding as a parameter, and any path is answered or refused, never anything else", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (text) => {
        fc.pre(!["me", "upload"].includes(text));
        assert.deepEqual(find("GET", `/docs/${encodeURIComponent(text)}`), {
          path: "/docs/:doc_id",
          params: { doc_id: text },
        });
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        find("GET", encodeURI(`/${text.toWellFormed()}`));
      }),
    );
  });
});
