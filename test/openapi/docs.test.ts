import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { type Bundle, page, REDOC, SWAGGER_UI } from "../../src/routes/docs-pages.ts";
import { startDevServer } from "./dev-server.ts";
import { description } from "./openapi-document.ts";

const require = createRequire(import.meta.url);
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

test("the pages load files of this server only, under a strict policy, and browsers ask whether their copies are right", async (t) => {
  const server = await startDevServer();
  t.after(() => server.stop());
  for (const path of ["/docs", "/docs/", "/redoc"]) {
    const { response, body } = await server.request("GET", path);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/html; charset=utf-8");
    const policy = response.headers.get("content-security-policy") ?? "";
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    assert.match(policy, /^default-src 'none'; script-src 'self' 'sha256-\S{44}'; /);
    const files = [...body.toString("utf8").matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(
      ([, address]) => address,
    );
    assert.ok(files.length > 0);
    for (const file of files) {
      const first = await fetch(server.url + file);
      assert.equal(first.status, 200);
      assert.match(
        first.headers.get("content-type") ?? "",
        file?.endsWith(".css") ? /^text\/css/ : /^text\/javascript/,
      );
      assert.equal(first.headers.get("cache-control"), "no-cache");
      const etag = first.headers.get("etag") ?? "";
      await first.arrayBuffer();
      const again = await fetch(server.url + file, {
        headers: { "If-None-Match": etag },
        cache: "no-store",
      });
      assert.equal(again.status, 304);
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

for (const bundle of [SWAGGER_UI, REDOC] satisfies Bundle[]) {
  test(`the pinned version and hashes of ${bundle.package} are those of the dev dependency`, () => {
    assert.equal(require(`${bundle.package}/package.json`).version, bundle.version);
    for (const [name, integrity] of Object.entries(bundle.files)) {
      const bytes = readFileSync(require.resolve(`${bundle.package}/${name}`));
      assert.equal(
        integrity,
        `sha384-${createHash("sha384").update(bytes).digest("base64")}`,
        name,
      );
    }
  });

  test(`without the dev dependency the page of ${bundle.package} loads that version from the CDN, by its hashes`, () => {
    const { body, headers } = page(bundle, false);
    const policy = headers["Content-Security-Policy"] ?? "";
    for (const [name, integrity] of Object.entries(bundle.files)) {
      const address = `https://cdn.jsdelivr.net/npm/${bundle.package}@${bundle.version}/${name}`;
      assert.ok(
        String(body).includes(`"${address}" integrity="${integrity}" crossorigin="anonymous"`),
        name,
      );
      assert.ok(policy.split(/;? /).includes(address), name);
    }
    assert.doesNotMatch(policy, /unsafe|\*|script-src[^;]*'self'/);
  });
}
