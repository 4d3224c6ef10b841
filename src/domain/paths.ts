import * as v from "valibot";
import { type Database, type Queryable, UniqueViolation } from "../data/database.ts";
import { countDocuments, keepBlobKeys } from "../data/documents.ts";
import {
  deletePath,
  findPath,
  findPathByName,
  insertPath,
  listPathsBelow,
  lockPaths,
  updatePath,
  type VirtualPath,
} from "../data/paths.ts";
import { AppError } from "../errors.ts";
import { type Actor, record } from "./audit.ts";
import { removing } from "./references.ts";
import { description, fields, line } from "./text.ts";

export const ROOT = "/";
const MAX_LENGTH = 500;

/** Any spelling of a virtual path → its canonical form: segments joined by `/` without outer slashes, the root as `/`. */
export const virtualPath = v.pipe(
  line,
  v.normalize("NFC"),
  v.check((value) => !value.includes("//"), "Must not contain an empty segment"),
  v.check((value) => !value.includes("\\"), "Must not contain a backslash"),
  v.transform((value) => value.replace(/^\/|\/$/g, "") || ROOT),
  v.maxLength(MAX_LENGTH),
  v.check(
    (value) => !value.split("/").some((part) => part === "." || part === ".."),
    "Must not contain '.' or '..'",
  ),
);

export const newPath = fields({
  full_path: virtualPath,
  description: v.exactOptional(description),
});
export const pathUpdate = fields({
  full_path: v.exactOptional(virtualPath),
  description: v.exactOptional(description),
});

/** The number of segments; 0 for the root. */
export function depthOf(fullPath: string): number {
  return fullPath === ROOT ? 0 : fullPath.split("/").length;
}

export type Paths = ReturnType<typeof createPaths>;

/** Virtual folders. Each change is one transaction with its audit row. */
export function createPaths({ database, now }: { database: Database; now: () => Date }) {
  return {
    /** 409 when the path exists. */
    async create(input: v.InferOutput<typeof newPath>, actor: Actor): Promise<VirtualPath> {
      const fullPath = input.full_path;
      return refusingTaken(fullPath, () =>
        database.transaction(async (tx) => {
          if (await findPathByName(tx, fullPath)) throw taken(fullPath);
          const pathId = await insertPath(tx, {
            fullPath,
            description: input.description ?? null,
            depth: depthOf(fullPath),
            createdAt: now(),
          });
          await record(tx, "path_create", actor, pathId, now(), { full_path: fullPath });
          return getPath(tx, pathId);
        }),
      );
    },

    /** Renames the path and everything below it, or changes its description. 404, 409; 400 for the root's name. */
    async update(
      pathId: number,
      input: v.InferOutput<typeof pathUpdate>,
      actor: Actor,
    ): Promise<VirtualPath> {
      return refusingTaken(input.full_path ?? "", () =>
        database.transaction(async (tx) => {
          const { full_path: fullPath, ...rest } = input;
          if (fullPath !== undefined) await lockPaths(tx, ROOT);
          const before = await getPath(tx, pathId);
          if (Object.keys(input).length === 0)
            throw new AppError("bad_request", "No fields to update");
          if (fullPath !== undefined && fullPath !== before.fullPath)
            await rename(tx, before, fullPath);
          if (rest.description !== undefined) await updatePath(tx, pathId, rest);
          await record(tx, "path_update", actor, pathId, now(), {
            fields: Object.keys(input),
            from: before.fullPath,
            to: fullPath ?? before.fullPath,
          });
          return getPath(tx, pathId);
        }),
      );
    },

    /**
     * 404; 400 for the root and while documents or deeper paths reference the path; 409 while an
     * unknown table does.
     */
    async remove(pathId: number, actor: Actor): Promise<void> {
      await removing("path", () =>
        database.transaction(async (tx) => {
          const path = await getPath(tx, pathId);
          if (path.fullPath === ROOT)
            throw new AppError("bad_request", "The root path cannot be deleted.");
          const below = await listPathsBelow(tx, path.fullPath);
          if (below.length > 0) throw inUse("deeper paths exist below it");
          if ((await countDocuments(tx, { path: path.fullPath })) > 0)
            throw inUse("documents are stored in it");
          if (!(await deletePath(tx, pathId))) throw pathNotFound();
          await record(tx, "path_delete", actor, pathId, now(), { full_path: path.fullPath });
        }),
      );
    },
  };
}

async function rename(tx: Queryable, path: VirtualPath, to: string): Promise<void> {
  if (path.fullPath === ROOT) throw new AppError("bad_request", "The root path cannot be renamed.");
  const other = await findPathByName(tx, to);
  if (other && other.pathId !== path.pathId) throw taken(to);
  const moved = [path, ...(await listPathsBelow(tx, path.fullPath))].map(
    ({ pathId, fullPath }) => ({
      pathId,
      from: fullPath,
      fullPath: to + fullPath.slice(path.fullPath.length),
    }),
  );
  if (moved.some(({ fullPath }) => fullPath.length > MAX_LENGTH)) {
    throw new AppError("validation_failed", [
      {
        type: "max_length",
        loc: ["body", "full_path"],
        msg: `A path below it would be longer than ${MAX_LENGTH} characters`,
      },
    ]);
  }
  const ids = new Set(moved.map(({ pathId }) => pathId));
  // The path itself was looked at above.
  for (const { fullPath } of moved.slice(1)) {
    const there = await findPathByName(tx, fullPath);
    if (there && !ids.has(there.pathId)) throw taken(fullPath);
  }
  // A path may move to where another one of the subtree still stands: begin at the end that leaves first.
  const direction = to.length > path.fullPath.length ? -1 : 1;
  moved.sort((a, b) => direction * (a.fullPath.length - b.fullPath.length));
  for (const { pathId, from, fullPath } of moved) {
    await keepBlobKeys(tx, pathId, from);
    await updatePath(tx, pathId, { full_path: fullPath, depth: depthOf(fullPath) });
  }
}

async function getPath(q: Queryable, pathId: number): Promise<VirtualPath> {
  const path = await findPath(q, pathId);
  if (!path) throw pathNotFound();
  return path;
}

const pathNotFound = () => new AppError("not_found", "Path not found.");

async function refusingTaken<Result>(
  fullPath: string,
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof UniqueViolation ? taken(fullPath) : error;
  }
}

const taken = (fullPath: string) => new AppError("conflict", `Path '${fullPath}' already exists.`);

const inUse = (why: string) => new AppError("bad_request", `Cannot delete this path: ${why}.`);
