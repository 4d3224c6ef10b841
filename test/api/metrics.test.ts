import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseMetrics, valueIn } from "../metrics/parser.ts";
import { apiSuite, type TestApp } from "../support/app.ts";
import { send } from "../support/client.ts";
import { spawnServer } from "../support/server-process.ts";
import { until } from "../support/wait.ts";

const METRICS = { env: { METRICS_PORT: "0" } };
/** A password takes a quarter of a second. */
const SLOW = { ...METRICS, passwordCost: 12 };
const REQUESTS = "nassaq_http_request_duration_seconds_count";

const addressOf = ({ lines }: TestApp) =>
  String(lines.find(({ message }) => message === "ready")?.metrics);

async function scrape(app: TestApp) {
  const { origin, pathname } = new URL(addressOf(app));
  const { status, headers, bytes } = await send(origin, "GET", pathname);
  assert.equal(status, 200);
  assert.equal(headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  return parseMetrics(bytes.toString());
}

const upload = (app: TestApp, filename: string, data: string) =>
  app.call("POST", "/api/v1/docs/upload", {
    as: "user",
    multipart: [{ name: "file", filename, data }],
  });

apiSuite("metrics", ({ test, testAlone }) => {
  test("without METRICS_PORT there are none", async (app) => {
    assert.equal(addressOf(app), "undefined");
    assert.equal((await app.call("GET", "/metrics")).status, 404);
  });

  testAlone("requests are counted by pattern, method and status", METRICS, async (app) => {
    const docId = (await upload(app, "a.txt", "five!")).body.doc_id;
    await app.call("GET", `/api/v1/docs/${docId}`, { as: "user" });
    for (const id of [docId + 1, docId + 2, docId + 3])
      await app.call("GET", `/api/v1/docs/${id}`, { as: "user" });
    for (const path of ["/nowhere", "/api/v1/docs/a/b/c", '/"\\x'])
      await send(app.url, "GET", path);
    await send(app.url, "PROPFIND", "/");
    const families = await scrape(app);
    const count = (method: string, route: string, status: string) =>
      valueIn(families, REQUESTS, { method, route, status });
    assert.equal(count("POST", "/api/v1/docs/upload", "201"), 1);
    assert.equal(count("GET", "/api/v1/docs/:doc_id", "200"), 1);
    assert.equal(count("GET", "/api/v1/docs/:doc_id", "404"), 3);
    assert.equal(count("GET", "none", "404"), 3);
    assert.equal(count("PROPFIND", "/", "405"), 1);
    const all = families.get("nassaq_http_request_duration_seconds")?.samples ?? [];
    assert.equal(all.filter(({ name }) => name === REQUESTS).length, 5);
    assert.equal(valueIn(families, "nassaq_upload_received_bytes_total"), 5);
    assert.ok((valueIn(families, "process_resident_memory_bytes") ?? 0) > 1e7);
  });

  testAlone("an upload under way is seen, and the bytes that came so far", METRICS, async (app) => {
    const head = 'Content-Disposition: form-data; name="file"; filename="slow.bin"';
    const { token } = await app.as("user");
    const { request, answer } = app.open("POST", "/api/v1/docs/upload", {
      headers: {
        Authorization: `Bearer ${token}`,
        "Content-Type": "multipart/form-data; boundary=x",
      },
    });
    request.write(`--x\r\n${head}\r\n\r\n${"a".repeat(100_000)}`);
    const families = await until(async () => {
      const seen = await scrape(app);
      return (valueIn(seen, "nassaq_upload_received_bytes_total") ?? 0) > 90_000 && seen;
    }, "the bytes of an upload");
    assert.equal(valueIn(families, "nassaq_uploads_in_flight"), 1);
    request.end("\r\n--x--\r\n");
    assert.equal((await answer).status, 201);
    const after = await scrape(app);
    assert.equal(valueIn(after, "nassaq_uploads_in_flight"), 0);
    assert.equal(valueIn(after, "nassaq_upload_received_bytes_total"), 100_000);
  });

  testAlone("the outbox and the embedded queue tell what waits", METRICS, async (app) => {
    for (const name of ["a.txt", "b.txt"]) await upload(app, name, name);
    const inQueue = await until(async () => {
      const seen = await scrape(app);
      return valueIn(seen, "nassaq_outbox_messages") === 0 && seen;
    }, "the outbox to be empty");
    assert.equal(valueIn(inQueue, "nassaq_outbox_oldest_age_seconds"), 0);
    if (app.app.broker.depths)
      assert.equal(valueIn(inQueue, "nassaq_queue_messages", { queue: app.queue }), 2);
    delete app.app.broker.enqueue;
    app.app.broker.publish = () => Promise.reject(new Error("no queue"));
    await upload(app, "c.txt", "c");
    app.clock.offset = 90_000;
    const waiting = await scrape(app);
    assert.equal(valueIn(waiting, "nassaq_outbox_messages"), 1);
    const age = valueIn(waiting, "nassaq_outbox_oldest_age_seconds") ?? 0;
    assert.ok(age >= 90 && age < 300, `${age}`);
  });

  testAlone("a pool tells its connections", METRICS, async (app) => {
    const families = await scrape(app);
    if (!app.app.database.pool) {
      assert.ok(!families.has("nassaq_database_pool"));
      return;
    }
    const [used = 0, idle = 0, waiting] = ["used", "idle", "waiting"].map((state) =>
      valueIn(families, "nassaq_database_pool", { state }),
    );
    assert.ok(idle + used >= 1, `${idle} and ${used}`);
    assert.equal(waiting, 0);
  });

  testAlone("passwords that wait, and how late the event loop is", SLOW, async (app) => {
    const logins = Array.from({ length: 8 }, () =>
      app.call("POST", "/api/v1/auth/login", { form: { username: "nobody@x.org", password: "x" } }),
    );
    await until(
      async () => (valueIn(await scrape(app), "nassaq_password_queue_length") ?? 0) > 0,
      "a password that waits",
    );
    await Promise.all(logins);
    await scrape(app);
    await sleep(50);
    const end = performance.now() + 300;
    while (performance.now() < end);
    await sleep(50);
    const families = await scrape(app);
    const late = valueIn(families, "nassaq_event_loop_delay_seconds", { quantile: "1" }) ?? 0;
    assert.ok(late > 0.1 && late < 60, `${late} s`);
    assert.equal(valueIn(families, "nassaq_password_queue_length"), 0);
  });

  testAlone("a database that fails or hangs does not fail the scrape", METRICS, async (app) => {
    const { database } = app.app;
    const real = database.first;
    database.first = () => Promise.reject(new Error("away"));
    const without = await scrape(app);
    assert.equal(valueIn(without, "nassaq_database_up"), 0);
    assert.ok(!without.has("nassaq_outbox_messages"));
    let asked = 0;
    const hanging = Promise.withResolvers<undefined>();
    database.first = () => {
      asked += 1;
      return hanging.promise as Promise<never>;
    };
    for (const scraped of await Promise.all([scrape(app), scrape(app)]))
      assert.equal(valueIn(scraped, "nassaq_database_up"), 0);
    assert.equal(asked, 1, "a look that hangs is not asked for again");
    hanging.resolve(undefined);
    database.first = real;
    assert.equal(valueIn(await scrape(app), "nassaq_database_up"), 1);
  });

  testAlone(
    "only GET and HEAD of /metrics are served, and the port ends with the server",
    METRICS,
    async (app) => {
      const { origin, host, port } = new URL(addressOf(app));
      assert.match(host, /^127\.0\.0\.1:/);
      const head = await send(origin, "HEAD", "/metrics");
      assert.deepEqual([head.status, head.bytes.length], [200, 0]);
      const posted = await send(origin, "POST", "/metrics");
      assert.deepEqual([posted.status, posted.headers.get("allow")], [405, "GET, HEAD"]);
      for (const path of ["/", "/metrics/", "/api/v1/users"])
        assert.equal((await send(origin, "GET", path)).status, 404);
      const idle = connect(Number(port), "127.0.0.1");
      await once(idle, "connect");
      const closed = once(idle, "close");
      await app.app.stop();
      await closed;
      await assert.rejects(send(origin, "GET", "/metrics"), /ECONNREFUSED/);
    },
  );
});

test("a port that is taken ends the start with 78 and a sentence", async () => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-metrics-"));
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const child = spawnServer(folder, { METRICS_PORT: String(port) });
  try {
    let said = "";
    child.stdout?.on("data", (data) => {
      said += data;
    });
    const [code] = await once(child, "close");
    assert.equal(code, 78, said);
    assert.ok(said.includes(`METRICS_PORT: can't listen on 127.0.0.1 port ${port} (EADDRINUSE).`));
  } finally {
    child.kill("SIGKILL");
    other.close();
    await rm(folder, { recursive: true });
  }
});
