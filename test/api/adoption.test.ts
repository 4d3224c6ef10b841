import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Readable } from "node:stream";
import { test } from "node:test";
import { LocalFolderStorage } from "../../src/storage/local-folder.ts";
import { startTestApp } from "../support/app.ts";

const FIXTURE = new URL("../data/fixtures/reference-schema.sqlite.sql", import.meta.url);
/** Where the reference system put the bytes of the fixture's documents. */
const BLOBS = [
  "welcome.pdf",
  "finance/2025/report 50%.pdf",
  "الأرشيف/عقود/عقد.pdf",
  "finance/2025/it's [draft].png",
];

test("a database and blobs of the reference system are taken over: logins, lists, downloads, new work", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-adoption-"));
  t.after(() => rm(folder, { recursive: true }));
  const reference = new DatabaseSync(join(folder, "nassaq.db"));
  reference.exec(await readFile(FIXTURE, "utf8"));
  reference.close();
  const storage = await LocalFolderStorage.open({ folder: join(folder, "blobs") });
  for (const key of BLOBS)
    await storage.upload(Readable.from([Buffer.from(`bytes of ${key}`)]), key);

  const app = await startTestApp({ folder });
  t.after(() => app.close());
  const login = (username: string, password: string) =>
    app.call("POST", "/api/v1/auth/login", { form: { username, password } });
  const admin = await login("admin@example.com", "Reference-Pass1");
  assert.equal(admin.status, 200);
  const layla = await login("Layla@Example.com", "كلمة-مرور-قديمة 1");
  assert.equal(layla.status, 200);
  assert.equal((await login("pending@example.com", "Reference-Pass1")).status, 403);
  assert.equal((await login("layla@example.com", "Reference-Pass1")).status, 401);

  const token = admin.body.access_token;
  const { body } = await app.call("GET", "/api/v1/docs", { as: token });
  assert.equal(body.total, BLOBS.length);
  for (const { doc_id, path, filename } of body.items) {
    const key = path === "/" ? filename : `${path}/${filename}`;
    const { status, bytes } = await app.call("GET", `/api/v1/docs/${doc_id}/download`, {
      as: token,
    });
    assert.deepEqual([status, bytes.toString()], [200, `bytes of ${key}`]);
  }
  const mine = await app.call("GET", "/api/v1/docs/me", { as: layla.body.access_token });
  assert.deepEqual(
    mine.body.items.map((item: { status: string }) => item.status),
    ["Failed", "Queued"],
  );
  const multipart = [
    { name: "full_path", value: "finance" },
    { name: "file", filename: "new.txt", data: "new" },
  ];
  const upload = await app.call("POST", "/api/v1/docs/upload", {
    as: layla.body.access_token,
    multipart,
  });
  assert.equal(upload.status, 201);
});
