import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { within } from "../../src/errors.ts";
import { type Answer, type SendOptions, send } from "../support/client.ts";
import {
  compileServer,
  type ServerProcess,
  spawnServer,
  startServer,
} from "../support/server-process.ts";
import { compare, look } from "./checker.ts";
import { Ledger } from "./ledger.ts";
import type { Parts, Stores } from "./parts.ts";

export const ADMIN = { email: "admin@example.com", password: "Adm1nistrator!" };

/** Milliseconds in which what was left is cleaned up: 30,000, and more for a busy machine. */
const CLEANING = 180_000;
const END_LIMIT = 120_000;

const SETTINGS = {
  BOOTSTRAP_ADMIN_EMAIL: ADMIN.email,
  BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
  ACCESS_TOKEN_EXPIRE_MINUTES: "600",
  AUTH_RATE_PER_ADDRESS: "0",
  AUTH_RATE_PER_ACCOUNT: "0",
  EMBEDDED_WORKER: "no",
  MIN_FREE_MB: "0",
};

let program: Promise<string> | undefined;

/** The built server; it is compiled once a process, and removed at its end. */
async function builtServer(): Promise<string> {
  program ??= mkdtemp(join(tmpdir(), "nassaq-built-")).then(compileServer);
  return program;
}

/** Removes what `builtServer` made. */
export async function removeBuilt(): Promise<void> {
  if (program) await rm(join(await program, "../.."), { recursive: true });
  program = undefined;
}

/** A server that is killed and started again on the same data, and what its clients know. */
export class Rig {
  readonly ledger = new Ledger();
  readonly folder: string;
  readonly stores: Stores;
  /** Undefined from a kill to the next `ready`. */
  server: ServerProcess | undefined;
  readonly #env: Record<string, string>;
  readonly #ownsFolder: boolean;
  #beside: ServerProcess | undefined;
  #adminToken: string | undefined;
  #up = Promise.withResolvers<void>();

  private constructor(parts: Parts, folder: string, env: Record<string, string>, owns: boolean) {
    this.folder = folder;
    this.stores = parts.open(folder);
    this.#env = { ...SETTINGS, ...this.stores.env, ...env };
    this.#ownsFolder = owns;
  }

  /** Not started yet. Data goes to `folder`, else to a temporary one. */
  static async make(
    parts: Parts,
    { env = {}, folder }: { env?: Record<string, string>; folder?: string } = {},
  ): Promise<Rig> {
    const data = folder ?? (await mkdtemp(join(tmpdir(), "nassaq-faults-")));
    return new Rig(parts, data, env, folder === undefined);
  }

  /** Waits for `ready`. With `killAt` the server kills itself at that effect, once armed. */
  async start({ killAt }: { killAt?: number } = {}): Promise<ServerProcess> {
    const points = new URL("points.ts", import.meta.url).href;
    const fault = { NODE_OPTIONS: `--import ${points}`, FAULTS_KILL_AT: String(killAt) };
    const env = { ...this.#env, ...(killAt === undefined ? {} : fault) };
    const server = await startServer(this.folder, env, await builtServer());
    server.exit.then(() => this.server === server && this.goingDown());
    this.server = server;
    this.#up.resolve();
    return server;
  }

  /** Another server on the same data, which nobody kills before `close`. */
  async startBeside(): Promise<void> {
    this.#beside = await startServer(this.folder, this.#env, await builtServer());
  }

  /** Fails unless the server's own `verify-audit` finds the audit trail whole. */
  async verifyAudit(): Promise<void> {
    const program = (await builtServer()).replace(/main\.js$/, "cli/cli.js");
    const env = { PATH: process.env.PATH, ENVIRONMENT: "test", DATA_DIR: this.folder };
    const child = spawn(process.execPath, [program, "verify-audit"], {
      cwd: this.folder,
      env: { ...env, ...this.#env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
    assert.equal(code, 0, `the audit trail: ${output}`);
  }

  /** Starts it and kills it after some milliseconds, while it starts. */
  async dieAtStart(milliseconds: number): Promise<void> {
    const child = spawnServer(this.folder, this.#env, await builtServer());
    child.stdout?.resume();
    child.stderr?.resume();
    const exit = once(child, "exit");
    await sleep(milliseconds);
    child.kill("SIGKILL");
    await within(exit, END_LIMIT, "The server did not end");
  }

  /** From now on clients wait for the next server. */
  goingDown(): void {
    this.server = undefined;
    this.#up = Promise.withResolvers();
  }

  async kill(signal: NodeJS.Signals = "SIGKILL") {
    const { server } = this;
    assert.ok(server, "there is no server to kill");
    this.goingDown();
    server.kill(signal);
    return within(server.exit, END_LIMIT, "The server did not end");
  }

  async untilUp(): Promise<ServerProcess> {
    while (!this.server) await this.#up.promise;
    return this.server;
  }

  call(method: string, path: string, token?: string, options: SendOptions = {}): Promise<Answer> {
    assert.ok(this.server, "the server is down");
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...options.headers };
    return send(this.server.url, method, `/api/v1${path}`, { ...options, headers });
  }

  /** As `call`; fails when the answer is another than `status`. */
  async expect(status: number, ...request: Parameters<Rig["call"]>): Promise<Answer> {
    const answer = await this.call(...request);
    const [method, path] = request;
    assert.equal(answer.status, status, `${method} ${path}: ${answer.bytes.toString()}`);
    return answer;
  }

  async login({ email, password }: { email: string; password: string }): Promise<string> {
    const form = { username: email, password };
    const { body } = await this.expect(200, "POST", "/auth/login", undefined, { form });
    return body.access_token;
  }

  /** The first administrator's token. */
  async admin(): Promise<string> {
    this.#adminToken ??= await this.login(ADMIN);
    return this.#adminToken;
  }

  /** The checker's findings, once there are none or `limit` is over; one line each. */
  async findings(limit = CLEANING): Promise<string[]> {
    const deadline = performance.now() + limit;
    for (;;) {
      // A look takes seconds where there are thousands of documents: the last begins in the end.
      const began = performance.now();
      const found = await compare(this.ledger, await look(this.folder, this.stores));
      if (found.length === 0 || began > deadline) return found;
      await sleep(500);
    }
  }

  async close(): Promise<void> {
    if (this.server) await this.kill();
    this.#beside?.kill("SIGKILL");
    await this.#beside?.exit;
    if (this.#ownsFolder) await rm(this.folder, { recursive: true, force: true });
  }
}

/** A failure that says what was found, the first lines of it, and how to see it again. */
export function assertNothingFound(findings: string[], what: string): void {
  const more = findings.length > 30 ? `\n… and ${findings.length - 30} more` : "";
  assert.equal(findings.length, 0, `${what}:\n${findings.slice(0, 30).join("\n")}${more}`);
}
