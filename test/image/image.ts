import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, cp, link, mkdir, readFile, realpath, stat, writeFile } from "node:fs/promises";
import { dirname, join, matchesGlob, relative, resolve } from "node:path";
import { text } from "node:stream/consumers";
import {
  type Arg,
  type Copy,
  DockerfileParser,
  type Env,
  type Healthcheck,
  type Instruction,
} from "dockerfile-ast";

/** What a Dockerfile's last stage says about the container, and the folder that holds its files. */
export interface Image {
  root: string;
  env: Record<string, string>;
  labels: Record<string, string>;
  workdir: string;
  user: { name: string; uid: number; gid: number };
  volumes: string[];
  ports: string[];
  stopSignal: NodeJS.Signals;
  command: string[];
  healthcheck: { flags: Record<string, string>; command: string[] };
}

/** Paths in RUN lines that mean the system's programs and devices, not files of the image. */
const SYSTEM_PATH = /^\/(usr|bin|sbin|lib|etc|dev|proc)\//;
const OFFLINE =
  /\b(ENOTCACHED|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b/;

/** User accounts go into the image's own files; only root can give files away. */
const SHELL_PROLOGUE = `
useradd() { command useradd --prefix "$IMAGE_ROOT" "$@"; }
chown() {
  owner=$(sed -n "s/^\${1%%:*}:[^:]*:\\([0-9]*:[0-9]*\\):.*/\\1/p" "$IMAGE_ROOT/etc/passwd"); shift
  [ -n "$owner" ] && { [ "$(id -u)" != 0 ] || command chown "$owner" "$@"; }
}`;

/**
 * Does what the Dockerfile in `context` says, a folder of `folder` for each stage, in place of a container engine: RUN lines run on
 * this machine with the image's paths moved into that folder, and the base image is this machine's with the Node that runs this.
 * `note` is told what could not be done as written.
 */
export async function buildImage(
  context: string,
  folder: string,
  note: (text: string) => void,
): Promise<Image> {
  const ignore = await ignoreRules(context);
  const stages = new Map<string, Image>();
  let stage: Image | undefined;
  let args: Record<string, string> = {};

  for (const instruction of DockerfileParser.parse(
    await readFile(join(context, "Dockerfile"), "utf8"),
  ).getInstructions()) {
    const keyword = instruction.getKeyword();
    const words = instruction.getArguments().map((argument) => argument.getValue());
    if (keyword === "FROM") {
      const name = words[1]?.toUpperCase() === "AS" ? (words[2] ?? "") : String(stages.size);
      stage = await baseImage(words[0] ?? "", join(folder, `stage-${name}`));
      stages.set(name, stage);
      args = {};
      continue;
    }
    if (!stage) throw new Error(`${keyword} before FROM`);
    const known = { ...args, ...stage.env };
    switch (keyword) {
      case "ARG":
        Object.assign(args, propertiesOf(instruction, known));
        break;
      case "ENV":
        Object.assign(stage.env, propertiesOf(instruction, known));
        break;
      case "LABEL":
        Object.assign(stage.labels, propertiesOf(instruction, known));
        break;
      case "WORKDIR":
        stage.workdir = resolve(stage.workdir, words[0] ?? "");
        await mkdir(within(stage, stage.workdir), { recursive: true });
        break;
      case "COPY":
        await copyInto(stage, words, flagsOf(instruction).from, { context, ignore, stages });
        break;
      case "RUN":
        await run(stage, rawArguments(instruction), context, note);
        break;
      case "USER":
        stage.user = await account(stage, words[0] ?? "");
        break;
      case "VOLUME":
        stage.volumes.push(...words);
        break;
      case "EXPOSE":
        stage.ports.push(...words);
        break;
      case "STOPSIGNAL":
        stage.stopSignal = words[0] as NodeJS.Signals;
        break;
      case "CMD":
        stage.command = JSON.parse(rawArguments(instruction));
        break;
      case "HEALTHCHECK":
        stage.healthcheck = {
          flags: flagsOf(instruction),
          command: JSON.parse(rawArguments(instruction).replace(/^CMD\s+/, "")),
        };
        break;
      default:
        throw new Error(`This script does not know ${keyword}`);
    }
  }
  if (!stage) throw new Error("The Dockerfile has no FROM");
  return stage;
}

/** Where a path of the image is on this machine. */
export function within(image: Image, path: string): string {
  return join(image.root, resolve("/", image.workdir, path));
}

async function baseImage(name: string, root: string): Promise<Image> {
  const major = process.versions.node.split(".")[0];
  if (name !== `node:${major}-slim`)
    throw new Error(`No base image ${name}: this is Node ${major}`);
  const node = join(root, "usr/local/bin/node");
  await mkdir(dirname(node), { recursive: true });
  await link(process.execPath, node).catch(() => copyFile(process.execPath, node));
  await mkdir(join(root, "etc"));
  await writeFile(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(join(root, "etc/group"), "root:x:0:\n");
  await mkdir(join(root, "tmp"));
  return {
    root,
    env: {},
    labels: {},
    workdir: "/",
    user: { name: "root", uid: 0, gid: 0 },
    volumes: [],
    ports: [],
    stopSignal: "SIGTERM",
    command: [],
    healthcheck: { flags: {}, command: [] },
  };
}

function rawArguments(instruction: Instruction): string {
  return (instruction.getRawArgumentsContent() ?? "").replace(/\\\n/g, "");
}

function propertiesOf(
  instruction: Instruction,
  known: Record<string, string>,
): Record<string, string> {
  const properties =
    instruction.getKeyword() === "ARG"
      ? [(instruction as Arg).getProperty()]
      : (instruction as Env).getProperties();
  const values = properties.map((property) => [
    property?.getName() ?? "",
    (property?.getValue() ?? "").replace(
      /\$\{(\w+)\}/g,
      (_whole, name: string) => known[name] ?? "",
    ),
  ]);
  return Object.fromEntries(values);
}

function flagsOf(instruction: Instruction): Record<string, string> {
  const flags = (instruction as Copy | Healthcheck).getFlags();
  return Object.fromEntries(flags.map((flag) => [flag.getName(), flag.getValue() ?? ""]));
}

/** The patterns of .dockerignore, of which the last that matches decides. */
async function ignoreRules(context: string): Promise<(path: string) => boolean> {
  const lines = (await readFile(join(context, ".dockerignore"), "utf8"))
    .split("\n")
    .map((line) => line.trim());
  const rules = lines.filter((line) => line !== "" && !line.startsWith("#"));
  return (path) => {
    const parents = path
      .split("/")
      .map((_segment, index, all) => all.slice(0, index + 1).join("/"));
    const last = rules.findLast((rule) =>
      parents.some((parent) => matchesGlob(parent, rule.replace(/^!/, ""))),
    );
    return last !== undefined && !last.startsWith("!");
  };
}

async function copyInto(
  stage: Image,
  words: readonly string[],
  fromStage: string | undefined,
  from: { context: string; ignore: (path: string) => boolean; stages: Map<string, Image> },
): Promise<void> {
  const sources = words.slice(0, -1);
  const destination = words.at(-1) ?? "";
  const other = fromStage === undefined ? undefined : from.stages.get(fromStage);
  if (fromStage !== undefined && !other) throw new Error(`There is no stage ${fromStage}`);
  for (const source of sources) {
    const path = other ? within(other, source) : join(from.context, source);
    if (!other && from.ignore(source)) throw new Error(`.dockerignore keeps ${source} out`);
    const isFile = (await stat(path)).isFile();
    const target = within(stage, destination);
    await cp(
      path,
      isFile && /(^\.?|\/)$/.test(destination)
        ? join(target, path.split("/").at(-1) ?? "")
        : target,
      {
        recursive: true,
        verbatimSymlinks: true,
        filter: (file) => other !== undefined || !from.ignore(relative(from.context, file)),
      },
    );
  }
}

async function run(
  stage: Image,
  line: string,
  context: string,
  note: (text: string) => void,
): Promise<void> {
  const moved = line.replace(/(?<=^|\s)\/\S+/g, (path) =>
    SYSTEM_PATH.test(path) ? path : within(stage, path),
  );
  const child = spawn("/bin/sh", ["-ec", `${SHELL_PROLOGUE}\n${moved}`], {
    cwd: within(stage, stage.workdir),
    env: { ...machine(), ...environment(stage), IMAGE_ROOT: stage.root },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  if (code === 0) return;
  if (/^npm ci\b/.test(line) && OFFLINE.test(errors)) {
    note(
      "npm ci could not reach its registry: the packages that this checkout has installed take its place",
    );
    await cp(await realpath(join(context, "node_modules")), within(stage, "node_modules"), {
      recursive: true,
      verbatimSymlinks: true,
    });
    return;
  }
  throw new Error(`RUN ${line} ended with ${code}:\n${output}${errors}`);
}

/** What npm needs of this machine to fetch packages. Not what `npm test` sets, which would lead it back to the checkout. */
function machine(): NodeJS.ProcessEnv {
  const names =
    /^(HOME|LANG|TMPDIR|(https?|no)_proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|npm_config_(registry|cache|(user|global)config))$/i;
  const kept = Object.entries(process.env).filter(([name]) => names.test(name));
  return {
    ...Object.fromEntries(kept),
    npm_config_prefer_offline: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
    npm_config_fetch_retry_mintimeout: "1000",
    npm_config_fetch_retry_maxtimeout: "2000",
  };
}

/** The image's own variables, with its programs before this machine's. */
export function environment(image: Image): Record<string, string> {
  const path = (process.env.PATH ?? "")
    .split(":")
    .filter((folder) => !folder.includes("node_modules"));
  return {
    ...image.env,
    PATH: [join(image.root, "usr/local/bin"), ...path, "/usr/sbin", "/sbin"].join(":"),
  };
}

async function account(image: Image, name: string): Promise<Image["user"]> {
  const lines = (await readFile(join(image.root, "etc/passwd"), "utf8")).split("\n");
  const [, , uid, gid] = lines.map((line) => line.split(":")).find(([user]) => user === name) ?? [];
  if (uid === undefined) throw new Error(`The image has no user ${name}`);
  return { name, uid: Number(uid), gid: Number(gid) };
}
