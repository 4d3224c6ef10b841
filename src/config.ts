import { accessSync, constants } from "node:fs";
import * as v from "valibot";
import { type Env, VARIABLES, type Variable } from "./config-variables.ts";

type Name = keyof typeof VARIABLES;
type Row<N extends Name> = (typeof VARIABLES)[N];
/** The parsed variables by name. One with a default always has a value. */
type Settings = {
  [N in Name]:
    | v.InferOutput<Row<N>["schema"]>
    | (Row<N> extends { default: unknown } ? never : undefined);
};

type DeepReadonly<T> = T extends object ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> } : T;
/** Checked and frozen to the leaves. A part that is not embedded has all that it requires. */
export type Config = DeepReadonly<Settings>;

/** A line for each variable at fault, never a value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

const NAMES = Object.keys(VARIABLES) as Name[];
/** As in package.json. */
const OLDEST_NODE = 24;
/** RFC 7518 §3.2: a key of at least the hash's size. */
const SHORTEST_KEY_BYTES = 32;

/** The text of a variable that is set or has a default. An empty variable counts as unset. */
function textOf(name: Name, env: Env): string | undefined {
  const { default: fallback }: Variable = VARIABLES[name];
  return env[name] || (typeof fallback === "function" ? fallback(env) : fallback);
}

/**
 * Into the environment. A variable that is already set wins, a missing file is fine. Throws
 * ConfigError when the file can't be read, and where Node is too old: programs begin with it.
 */
export function loadEnvFile(path: string, node = process.versions.node): void {
  if (Number.parseInt(node, 10) < OLDEST_NODE)
    throw new ConfigError(`this server needs Node ${OLDEST_NODE} or later; this is ${node}`);
  try {
    // loadEnvFile says ENOENT of a file that it may not read, too.
    accessSync(path, constants.R_OK);
    process.loadEnvFile(path);
  } catch (error) {
    const { code = "unknown error" } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") throw new ConfigError(`${path} can't be read (${code}).`);
  }
}

/** Throws ConfigError with all that is wrong. */
export function loadConfig(env: Env = process.env): Config {
  const faults = new Map<Name, string>();
  const settings: Partial<Record<Name, unknown>> = {};
  for (const name of NAMES) {
    const text = textOf(name, env);
    if (text === undefined) continue;
    const { schema }: Variable = VARIABLES[name];
    const { success, output, issues } = v.safeParse(schema, text);
    if (success) settings[name] = output;
    else faults.set(name, issues[0].message);
  }
  checkTogether(settings as Partial<Settings>, faults);
  if (faults.size === 0) return deepFreeze(settings as Settings);
  const lines = Array.from(faults, ([name, fault]) => `  ${name} ${fault}`);
  throw new ConfigError(["The configuration can't be used:", ...lines].join("\n"));
}

/** Checks what no variable shows alone: parts need company, and production names its parts. */
function checkTogether(settings: Partial<Settings>, faults: Map<Name, string>): void {
  const production = settings.ENVIRONMENT === "production";
  const demand = (when: boolean, reason: string, ...names: Name[]) => {
    for (const name of names) {
      const isMissing = settings[name] === undefined && !faults.has(name);
      if (when && isMissing) faults.set(name, `is required ${reason}`);
    }
  };
  const named = "in production (a server, or `embedded` to keep the data in DATA_DIR)";
  demand(production, named, "SQL_SERVER", "MONGO_HOST", "MESSAGE_BROKER_URL");
  demand(production, "in production", "JWT_SECRET_KEY");
  const hasSql = settings.SQL_SERVER?.kind !== "embedded";
  demand(hasSql, "for SQL Server", "SQL_DB_NAME", "SQL_USER", "SQL_PASS");
  const hasMongo = settings.MONGO_HOST?.kind !== "embedded";
  demand(hasMongo, "for MongoDB", "MONGO_USER", "MONGO_PASS");
  const azure = "for Azure Blob Storage (or say BLOB_STORAGE_TYPE=local)";
  const hasAzure = settings.BLOB_STORAGE_TYPE === "azure";
  demand(hasAzure, azure, "BLOB_CONNECTION_STR", "BLOB_STORAGE_CONTAINER_NAME");
  const { BOOTSTRAP_ADMIN_EMAIL: email, BOOTSTRAP_ADMIN_PASSWORD: password } = settings;
  const both = "beside the other BOOTSTRAP_ADMIN_* variable";
  const hasAdmin = email !== undefined || password !== undefined;
  demand(hasAdmin, both, "BOOTSTRAP_ADMIN_EMAIL", "BOOTSTRAP_ADMIN_PASSWORD");

  if (settings.EMBEDDED_WORKER && settings.MESSAGE_BROKER_URL?.kind === "service-bus")
    faults.set("EMBEDDED_WORKER", "must be no with Azure Service Bus: the worker can't read it");

  for (const name of ["JWT_SECRET_KEY", "JWT_SECRET_KEY_PREVIOUS"] as const) {
    const keys = [settings[name] ?? []].flat();
    if (production && keys.some((key) => Buffer.byteLength(key) < SHORTEST_KEY_BYTES)) {
      faults.set(name, `must have keys of at least ${SHORTEST_KEY_BYTES} bytes in production`);
    }
  }
}

function deepFreeze<Tree>(tree: Tree): Tree {
  if (typeof tree === "object" && tree !== null)
    Object.values(Object.freeze(tree)).forEach(deepFreeze);
  return tree;
}

/**
 * Every variable as `NAME=value`, a line each, with its default where it is unset. Secrets show as
 * `****`, and so does what is invalid, for it may be a secret in the wrong place. Never throws.
 */
export function describeConfig(env: Env = process.env): string[] {
  return NAMES.map((name) => {
    const { schema, secret }: Variable = VARIABLES[name];
    const text = textOf(name, env);
    if (!text) return `${name}= (not set)`;
    if (!env[name]) return `${name}=${text} (default)`;
    return secret || !v.is(schema, text) ? `${name}=****` : `${name}=${text}`;
  });
}
