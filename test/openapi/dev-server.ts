import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type App, startApp } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { createLogger } from "../../src/log.ts";
import { assertDocumented } from "./validator.ts";

export const ADMIN = { email: "admin@example.org", password: "Correct horse 1!" };

export interface DevServer {
  url: string;
  app: App;
  /** As `fetch`; the response is checked against openapi.yaml, with its body read. */
  request(
    method: string,
    path: string,
    init?: RequestInit,
  ): Promise<{ response: Response; body: Buffer }>;
  stop(): Promise<void>;
}

/** A server on embedded parts in a temporary folder and on a free port, with one administrator. */
export async function startDevServer(
  options: { env?: Record<string, string>; now?: () => Date } = {},
): Promise<DevServer> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-dev-"));
  const config = loadConfig({
    ENVIRONMENT: "dev",
    HOST: "127.0.0.1",
    PORT: "0",
    EMBEDDED_WORKER: "no",
    DATA_DIR: folder,
    BOOTSTRAP_ADMIN_EMAIL: ADMIN.email,
    BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
    ...options.env,
  });
  const log = createLogger({
    level: "error",
    readable: false,
    write: (line) => process.stderr.write(line),
  });
  const app = await startApp(config, log, {
    passwordCost: 4,
    databaseFile: ":memory:",
    ...(options.now ? { now: options.now } : {}),
  });
  return {
    url: app.url,
    app,

    async request(method, path, init = {}) {
      const response = await fetch(app.url + path, { ...init, method });
      const body = Buffer.from(await response.arrayBuffer());
      assertDocumented({ method, path, status: response.status, headers: response.headers, body });
      return { response, body };
    },

    async stop() {
      await app.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
