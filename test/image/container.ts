import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import { environment, type Image, within } from "./image.ts";

const IS_ROOT = process.getuid?.() === 0;

/** Takes the right to write from everything but the volumes. */
export async function makeReadOnly(image: Image): Promise<void> {
  spawnSync("chmod", ["-R", "a-w", image.root]);
  for (const volume of image.volumes) await chmod(within(image, volume), 0o755);
}

export async function removeImages(folder: string): Promise<void> {
  spawnSync("chmod", ["-R", "u+w", folder]);
  await rm(folder, { recursive: true, force: true });
}

/**
 * Starts a program of the image as the image's user (as oneself where one is not root), with the image's variables and `env`. With
 * `asPid1` it is the first process of a process-id namespace, as in a container; that takes root.
 */
export function start(
  image: Image,
  [program = "", ...args]: readonly string[],
  env: Record<string, string> = {},
  { asPid1 = false } = {},
): ChildProcess {
  const { uid, gid } = image.user;
  const path = join(image.root, "usr/local/bin", program);
  const namespace = [
    "--pid",
    "--fork",
    "--kill-child",
    "setpriv",
    "--reuid",
    `${uid}`,
    "--regid",
    `${gid}`,
    "--clear-groups",
  ];
  return spawn(asPid1 ? "unshare" : path, asPid1 ? [...namespace, path, ...args] : args, {
    cwd: within(image, "."),
    // No other place for temporary files than the image's own; a volume's path in a variable is where the volume is.
    env: moveVolumes(image, { ...environment(image), TMPDIR: join(image.root, "tmp"), ...env }),
    stdio: ["ignore", "pipe", "pipe"],
    ...(IS_ROOT && !asPid1 ? { uid, gid } : {}),
  });
}

function moveVolumes(image: Image, env: Record<string, string>): Record<string, string> {
  const moved = Object.entries(env).map(([name, value]) => [
    name,
    image.volumes.includes(value) ? within(image, value) : value,
  ]);
  return Object.fromEntries(moved);
}
