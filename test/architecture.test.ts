import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, sep } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

interface Import {
  from: string;
  /** A file below `src`, or a package. */
  to: string;
  isPackage: boolean;
  isDynamic: boolean;
  isType: boolean;
}

const STATIC =
  /^(?:import|export)(?<type> type)?\b[^;'"`]*?\bfrom "(?<to>[^"]+)"|^import "(?<bare>[^"]+)"/gm;
const DYNAMIC = /\bimport\("(?<to>[^"]+)"\)/g;

const files = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => name.split(sep).join("/"));
const sources = new Map(files.map((file) => [file, readFileSync(join(ROOT, "src", file), "utf8")]));

function importsOf(from: string, source: string): Import[] {
  const found = (match: RegExpMatchArray, isDynamic: boolean): Import => {
    const specifier = match.groups?.to ?? match.groups?.bare ?? "";
    const isPackage = !specifier.startsWith(".");
    const to = isPackage ? specifier : posix.join(dirname(from), specifier);
    return { from, to, isPackage, isDynamic, isType: match.groups?.type !== undefined };
  };
  return [
    ...Array.from(source.matchAll(STATIC), (match) => found(match, false)),
    ...Array.from(source.matchAll(DYNAMIC), (match) => found(match, true)),
  ];
}

const imports = [...sources].flatMap(([file, source]) => importsOf(file, source));
const inner = imports.filter(({ isPackage }) => !isPackage);
const packages = imports.filter(({ to, isPackage }) => isPackage && !to.startsWith("node:"));
const show = ({ from, to }: Import) => `${from} → ${to}`;

/** Who imports whom: the folder or file on the left, what it may reach on the right (a folder, or one file of it). */
const ARROWS: Record<string, string[]> = {
  errors: [],
  log: [],
  "http/": ["errors", "log", "http/"],
  "data/": ["errors", "log", "data/"],
  "storage/": ["errors", "log", "storage/"],
  "broker/": ["errors", "log", "broker/"],
  "broker/broker": ["data/database"],
  "broker/embedded": ["errors", "log", "broker/broker", "broker/consumer", "data/database"],
  "broker/dispatcher": ["errors", "log", "broker/broker", "data/database", "data/outbox"],
  "content/": ["errors", "log", "content/", "data/database"],
  "security/": ["errors", "log", "security/"],
  "domain/": [
    "errors",
    "log",
    "domain/",
    "security/",
    "data/",
    "storage/keys",
    "storage/storage",
    "broker/broker",
    "content/content-store",
    "content/search-terms",
  ],
  "routes/": [
    "errors",
    "log",
    "routes/",
    "http/",
    "domain/",
    "security/",
    "data/",
    "storage/storage",
    "content/content-store",
  ],
  "config-variables": ["domain/credentials", "log"],
  config: ["config-variables"],
  "metrics/": ["errors", "metrics/", "broker/broker", "data/database", "data/outbox"],
  stopping: ["errors", "log"],
  parts: [
    "config",
    "log",
    "stopping",
    "data/",
    "storage/",
    "broker/",
    "content/",
    "security/secret-file",
  ],
  "worker/job": [
    "errors",
    "log",
    "worker/",
    "data/",
    "domain/blobs",
    "domain/filenames",
    "broker/broker",
    "content/content-store",
    "storage/storage",
  ],
  "worker/main": [
    "config",
    "log",
    "parts",
    "stopping",
    "program",
    "worker/",
    "broker/broker",
    "domain/blobs",
  ],
  "worker/beside": ["log", "restarts", "worker/engines"],
  restarts: ["log"],
  background: ["config", "log", "stopping", "broker/", "domain/", "worker/beside"],
  cluster: ["app", "config", "log", "program", "restarts"],
  app: [
    "background",
    "config",
    "parts",
    "stopping",
    "errors",
    "log",
    "metrics/",
    "http/",
    "routes/",
    "domain/",
    "security/",
  ],
  "worker/extraction": ["worker/", "content/content-store"],
  "worker/": ["log", "worker/"],
  "cli/commands": [
    "parts",
    "stopping",
    "config",
    "errors",
    "log",
    "http/validate",
    "domain/",
    "security/",
    "data/",
  ],
  "cli/cli": ["cli/commands", "config", "errors", "data/database"],
  "cli/healthcheck": [],
  program: ["config", "log", "data/database"],
  main: ["app", "cluster", "program"],
};

/** What is run. */
const PROGRAMS = [
  "main.ts",
  "worker/main.ts",
  "worker/engine.ts",
  "cli/cli.ts",
  "cli/healthcheck.ts",
];

/** The implementations of a port, by the beginning of their files' names: none knows another. */
const FAMILIES = [
  "data/sqlite",
  "data/sqlserver",
  "storage/azure-",
  "storage/local-",
  "broker/embedded",
  "broker/rabbitmq",
  "broker/service-bus",
  "content/embedded",
  "content/mongo",
];

/** Which files import a package. */
const OWNERS: Record<string, RegExp> = {
  mssql: /^data\/sqlserver/,
  mongodb: /^content\/mongo/,
  "@azure/storage-blob": /^storage\/azure-/,
  amqplib: /^broker\/rabbitmq/,
  bcryptjs: /^security\/password-worker/,
  "@hyzyla/pdfium": /^worker\/pdf/,
  "image-size": /^worker\/reading/,
  valibot: /^(config|config-variables|worker\/job|(domain|routes|http)\/.*)\.ts$/,
};
const DRIVERS = ["mssql", "mongodb", "@azure/storage-blob", "amqplib"];
/** What an old Node lacks: a program that imports it at once could not say that Node is too old. */
const NEW = "node:sqlite";
/** Optional packages, which the engine process alone loads. */
const ENGINES = ["@hyzyla/pdfium", "image-size"];

const stem = (file: string) => file.replace(/\.ts$/, "");

function ruleFor(file: string): string[] {
  const allowed = ARROWS[stem(file)] ?? ARROWS[`${file.split("/")[0]}/`];
  assert.ok(allowed, `${file} has no place among the arrows: give it one`);
  return allowed;
}

test("the reader of imports sees the ways in which one can be written", () => {
  const source = [
    'import a from "./a.ts";',
    'import {\n  b,\n  type c,\n} from "../b.ts";',
    'import type { D } from "./d.ts";',
    'export { e } from "./e.ts";',
    'import "side";',
    'const f = await import("./f.ts");',
    '// import "no.ts"',
  ].join("\n");
  const seen = importsOf("x/y.ts", source).map(({ to, isType, isDynamic }) => [
    to,
    isType,
    isDynamic,
  ]);
  assert.deepEqual(seen, [
    ["x/a.ts", false, false],
    ["b.ts", false, false],
    ["x/d.ts", true, false],
    ["x/e.ts", false, false],
    ["side", false, false],
    ["x/f.ts", false, true],
  ]);
  assert.ok(
    imports.length > 200 && inner.every(({ to }) => sources.has(to)),
    inner
      .filter(({ to }) => !sources.has(to))
      .map(show)
      .join(),
  );
});

test("every import follows an arrow of the design", () => {
  const wrong = inner.filter(
    ({ from, to }) =>
      !ruleFor(from).some((allowed) =>
        allowed.endsWith("/") ? to.startsWith(allowed) : stem(to) === allowed,
      ),
  );
  assert.deepEqual(wrong.map(show), []);
});

test("nothing imports a program, and only programs and the composition root see the configuration", () => {
  assert.deepEqual(inner.filter(({ to }) => PROGRAMS.includes(to)).map(show), []);
  const readers = new Set(inner.filter(({ to }) => to === "config.ts").map(({ from }) => from));
  const process = ["program.ts", "cluster.ts", "app.ts", "background.ts", "parts.ts"];
  const allowed = [...PROGRAMS, ...process, "cli/commands.ts"];
  assert.deepEqual(
    [...readers].filter((file) => !allowed.includes(file)),
    [],
  );
});

test("no implementation of a port knows another one, and only the composition root knows any", () => {
  const familyOf = (file: string) => FAMILIES.find((prefix) => file.startsWith(prefix));
  const wrong = inner.filter(({ from, to }) => {
    const family = familyOf(to);
    return family !== undefined && family !== familyOf(from) && from !== "parts.ts";
  });
  assert.deepEqual(wrong.map(show), []);
});

test("a driver is imported by its adapter alone, and loaded only when it is asked for", () => {
  for (const { from, to } of packages) {
    if (to === "yaml") continue; // dev only: see the test of dependencies
    assert.ok(OWNERS[to], `${from} imports ${to}, which nobody owns`);
    assert.match(from, OWNERS[to], `${from} imports ${to}`);
  }
  for (const program of PROGRAMS) {
    const reached = new Set<string>([program]);
    for (const file of reached) {
      for (const found of imports) {
        if (found.from === file && !found.isDynamic && !found.isType) reached.add(found.to);
      }
    }
    const kept = program === "worker/engine.ts" ? DRIVERS : [...DRIVERS, ...ENGINES, NEW];
    assert.deepEqual(
      kept.filter((driver) => reached.has(driver)),
      [],
      `${program} loads drivers or engines at once`,
    );
  }
});

test("no import goes round in a circle", () => {
  const next = new Map(
    files.map((file) => [
      file,
      inner.filter(({ from, isType }) => from === file && !isType).map(({ to }) => to),
    ]),
  );
  const done = new Set<string>();
  const visit = (file: string, way: string[]): void => {
    assert.ok(!way.includes(file), [...way, file].join(" → "));
    if (done.has(file)) return;
    for (const to of next.get(file) ?? []) visit(to, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test("the dependencies at run time are the six that were agreed, pinned, and all in use", () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const agreed = ["@azure/storage-blob", "amqplib", "bcryptjs", "mongodb", "mssql", "valibot"];
  assert.deepEqual(Object.keys(dependencies).sort(), agreed);
  for (const [name, version] of Object.entries(dependencies))
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  const used = new Set(packages.filter(({ isType }) => !isType).map(({ to }) => to));
  for (const engine of ENGINES) assert.ok(used.delete(engine), `${engine} is in use`);
  // The one package of development that source code may use, where the compiled description of the API is missing.
  const development = packages.filter(({ to }) => to === "yaml");
  assert.ok(
    development.every(({ from, isDynamic }) => isDynamic && from === "routes/reference.ts"),
  );
  assert.deepEqual([...used].filter((name) => name !== "yaml").sort(), agreed);
});

test("a change of a caller begins by reading their authority", () => {
  const openers = [...sources]
    .filter(
      ([file, source]) =>
        /^(domain|routes)\//.test(file) && /\btransaction\b *[(<,;:}]/.test(source),
    )
    .map(([file]) => file);
  // Registration, login, refresh and the use of a reset token have no caller yet; the server itself
  // seals the audit trail, and notes the blob of an upload before it comes.
  const exceptions = [
    "domain/login.ts",
    "domain/password-changes.ts",
    "domain/registration.ts",
    "domain/sessions.ts",
    "domain/uploads.ts",
  ];
  assert.deepEqual(openers.sort(), ["domain/audit-trail.ts", "domain/authority.ts", ...exceptions]);
  // What changes rows is given a transaction: only these write without one, what no caller decides.
  const writers = [...sources]
    .filter(([file]) => /^(domain|routes)\//.test(file))
    .flatMap(([file, source]) =>
      Array.from(
        source.matchAll(
          /\b((?:insert|update|delete|remove|add|swap|revoke|cancel|begin|postpone)\w*)\(\s*database\b/g,
        ),
        ([, called]) => `${file} ${called}`,
      ),
    );
  assert.deepEqual(writers.sort(), [
    "domain/audit-keys.ts insertHead",
    "domain/audit-keys.ts updateWrappedKey",
    "domain/deletions.ts beginDeletion",
    "domain/deletions.ts removeDeletion",
    "domain/sessions.ts swapTokens",
    "domain/sweep.ts remove",
    "domain/sweep.ts remove",
    "domain/uploads.ts postponeDeletions",
  ]);
});

test("the environment is read in one place", () => {
  const readers = [...sources]
    .filter(([, source]) => /\bprocess\.env\b/.test(source))
    .map(([file]) => file);
  // The health check must run without a configuration that is complete.
  assert.deepEqual(readers.sort(), ["cli/healthcheck.ts", "config.ts"]);
});
