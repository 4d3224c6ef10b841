import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startDevServer } from "./dev-server.ts";
import { description } from "./document.ts";

const PAGES = ["/docs", "/redoc", "/openapi.json", "/openapi.yaml"];
const PRODUCTION = {
  ENVIRONMENT: "production",
  JWT_SECRET_KEY: "a secret of more than 32 bytes for tests",
  SQL_SERVER: "embedded",
  MONGO_HOST: "embedded",
  MESSAGE_BROKER_URL: "embedded",
  BLOB_STORAGE_TYPE: "local",
};

for (const env of [{ ENVIRONMENT: "test" }, PRODUCTION]) {
  test(`with ENVIRONMENT=${env.ENVIRONMENT} there is neither description nor page`, async (t) => {
    const server = await startDevServer({ env });
    t.after(() => server.stop());
    for (const path of [...PAGES, "/docs/swagger-ui.css", "/redoc/redoc.standalone.js"]) {
      const response = await fetch(server.url + path);
      assert.equal(response.status, 404, path);
      assert.deepEqual(await response.json(), { detail: "Not Found" });
    }
  });
}

test("in dev the description is served as YAML and as JSON", async (t) => {
  const server = await startDevServer();
  t.after(() => server.stop());
  const yaml = await server.request("GET", "/openapi.yaml");
  assert.equal(yaml.response.headers.get("content-type"), "application/yaml; charset=utf-8");
  assert.deepEqual(yaml.body, readFileSync(new URL("../../openapi.yaml", import.meta.url)));
  const json = await server.request("GET", "/openapi.json");
  assert.deepEqual(JSON.parse(json.body.toString("utf8")), description);
});

test("the pages load files of this server only, under a strict policy", async (t) => {
  const server = await startDevServer();
  t.after(() => server.stop());
  for (const path of ["/docs", "/docs/", "/redoc"]) {
    const { response, body } = await server.request("GET", path);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/html; charset=utf-8");
    const policy = response.headers.get("content-security-policy") ?? "";
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    assert.match(policy, /^default-src 'none'; script-src 'self'; /);
    const page = body.toString("utf8");
    assert.doesNotMatch(page, /https?:|<script>|<style/);
    const files = [...page.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, address]) => address);
    assert.ok(files.length > 0);
    for (const file of files) {
      const { status, headers } = await fetch(server.url + file);
      assert.equal(status, 200, file);
      assert.match(
        headers.get("content-type") ?? "",
        file?.endsWith(".css") ? /^text\/css/ : /^text\/javascript/,
      );
    }
  }
  for (const path of [
    "/docs/nothing.js",
    "/docs/index.html",
    "/docs/..%2fpackage.json",
    "/redoc/swagger-ui.css",
  ]) {
    assert.equal((await fetch(server.url + path)).status, 404, path);
  }
});
