import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Part, send } from "../support/client.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { until } from "../support/wait.ts";

const ADMIN = { email: "admin@example.com", password: "Adm1nistrator!" };

/** Makes a server's first admin, whose token lasts. */
export const ENV = {
  BOOTSTRAP_ADMIN_EMAIL: ADMIN.email,
  BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
  ACCESS_TOKEN_EXPIRE_MINUTES: "600",
};

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-worker-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return folder;
}

/** The admin's way to a server's documents. */
export async function signIn({ url }: Pick<ServerProcess, "url">) {
  const form = { username: ADMIN.email, password: ADMIN.password };
  const { body: tokens } = await send(url, "POST", "/api/v1/auth/login", { form });
  const headers = { Authorization: `Bearer ${tokens.access_token}` };
  const call = async (method: string, path: string, multipart?: Part[]) => {
    const options = multipart ? { multipart, headers } : { headers };
    const answer = await send(url, method, `/api/v1/docs${path}`, options);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.bytes}`);
    return answer.body;
  };
  return {
    /** Its number. */
    async upload(filename: string, data: string | Buffer): Promise<number> {
      return (await call("POST", "/upload", [{ name: "file", filename, data }])).doc_id;
    },
    status: (docId: number) => call("GET", `/${docId}/status`),
    async finished(docId: number): Promise<void> {
      await until(async () => {
        const { status, error_message: reason } = await call("GET", `/${docId}/status`);
        assert.notEqual(status, "Failed", reason);
        return status === "Finished";
      }, `document ${docId} to be finished`);
    },
    total: async (status: string): Promise<number> =>
      (await call("GET", `/?status=${status}&limit=1`)).total,
  };
}

/** Whether a process lives. */
export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
