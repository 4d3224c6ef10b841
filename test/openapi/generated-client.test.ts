import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import createClient from "openapi-fetch";
import type { components, paths } from "./client-types.generated.ts";
import { generateClientTypes, TYPES_FILE } from "./client-types.ts";
import { ADMIN, startDevServer } from "./dev-server.ts";

type Schemas = components["schemas"];

test("the checked-in client types are what openapi-typescript makes of openapi.yaml", async () => {
  assert.equal(
    readFileSync(TYPES_FILE, "utf8"),
    await generateClientTypes(),
    "run: node --import tsx test/openapi/generate-client-types.ts",
  );
});

test("a generated client registers, is let in, uploads, follows and downloads, with types from end to end", async (t) => {
  const server = await startDevServer();
  t.after(() => server.stop());
  const client = createClient<paths>({ baseUrl: server.url });
  const bearer = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } });
  const login = async (username: string, password: string): Promise<Schemas["Tokens"]> => {
    const { data } = await client.POST("/api/v1/auth/login", {
      body: { grant_type: "password", username, password },
      bodySerializer: (form) => new URLSearchParams(form as Record<string, string>),
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
    });
    assert.ok(data);
    return data;
  };

  const salma = { email: "salma@example.org", password: "كلمة مرور 7 طويلة" };
  const registered = await client.POST("/api/v1/auth/register", {
    body: { full_name: "Salma Haddad", ...salma },
  });
  assert.ok(registered.data);
  const { user_id, role }: { user_id: number; role: string | null } = registered.data;
  assert.equal(role, null);
  // @ts-expect-error The description has no such field.
  assert.equal(registered.data.password, undefined);

  // @ts-expect-error A registration needs a name.
  const refused = await client.POST("/api/v1/auth/register", { body: salma });
  assert.equal(refused.response.status, 422);
  const fault = refused.error as Schemas["ValidationError"];
  assert.deepEqual(fault.detail[0]?.loc, ["body", "full_name"]);

  const admin = bearer((await login(ADMIN.email, ADMIN.password)).access_token);
  const params = { path: { user_id } };
  await client.PATCH("/api/v1/users/{user_id}", { params, body: { role_id: 1 }, ...admin });
  const activated = await client.PATCH("/api/v1/users/{user_id}/activate", { params, ...admin });
  assert.equal(activated.data?.is_active, true);

  const user = bearer((await login(salma.email, salma.password)).access_token);
  const bytes = readFileSync(new URL("../samples/report.pdf", import.meta.url));
  const uploaded = await client.POST("/api/v1/docs/upload", {
    body: { full_path: "/", file: new File([bytes], "تقرير.pdf", { type: "application/pdf" }) },
    bodySerializer: ({ full_path = "/", file }) => {
      const form = new FormData();
      form.append("full_path", full_path);
      form.append("file", file);
      return form;
    },
    ...user,
  });
  assert.ok(uploaded.data);
  assert.deepEqual([uploaded.data.filename, uploaded.data.size], ["تقرير.pdf", bytes.length]);

  const document = { path: { doc_id: uploaded.data.doc_id } };
  const status = await client.GET("/api/v1/docs/{doc_id}/status", { params: document, ...user });
  const state: "Queued" | "Processing" | "Finished" | "Failed" | undefined = status.data?.status;
  assert.equal(state, "Queued");
  const mine = await client.GET("/api/v1/docs/me", {
    params: { query: { status: "Queued", limit: 1 } },
    ...user,
  });
  assert.equal(mine.data?.items[0]?.doc_id, uploaded.data.doc_id);

  const download = await client.GET("/api/v1/docs/{doc_id}/download", {
    params: document,
    parseAs: "blob",
    ...user,
  });
  assert.ok(download.data);
  assert.deepEqual(Buffer.from(await download.data.arrayBuffer()), bytes);
});
