import * as v from "valibot";
import { type Queryable, UniqueViolation } from "../data/database.ts";
import { hasDocuments, keepBlobKeys } from "../data/documents.ts";
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
import type { Caller, Core } from "./authority.ts";
import { description, fields, lineFault, text, without } from "./text.ts";

export const ROOT = "/";
const MAX_LENGTH = 500;

/** A virtual path, made canonical: segments joined by `/`; the root is `/`. */
export const virtualPath = v.pipe(
  text,
  without(/\p{Cc}/u, "Must not contain control characters"),
  v.normalize("NFC"),
  without(/\/\//, "Must not contain an empty segment"),
  without(/\\/, "Must not contain a backslash"),
  v.transform((value) => value.replace(/^\/|\/$/g, "") || ROOT),
  v.maxLength(MAX_LENGTH),
  without(/(^|\/)\.\.?(\/|$)/, "Must not contain '.' or '..'"),
);

/** The path of a folder to be: each of its segments is a `line`. */
const newVirtualPath = v.pipe(
  virtualPath,
  v.check(
    (path) => segmentFault(path) === undefined,
    ({ input }) => segmentFault(input) ?? "",
  ),
);

function segmentFault(path: string): string | undefined {
  return path.split("/").map(lineFault).find(Boolean);
}

const described = { description: v.exactOptional(description) };
export const newPath = fields({ full_path: newVirtualPath, ...described });
export const pathUpdate = fields({ full_path: v.exactOptional(newVirtualPath), ...described });

/** The number of segments; 0 for the root. */
export function depthOf(fullPath: string): number {
  return fullPath === ROOT ? 0 : fullPath.split("/").length;
}

export type Paths = ReturnType<typeof createPaths>;

/** 404 for an unknown id. */
export function createPaths({ database, authority, audit, now }: Core) {
  return {
    get: (pathId: number) => getPath(database, pathId),

    /** 409 when the path exists. */
    create(caller: Caller, input: v.InferOutput<typeof newPath>): Promise<VirtualPath> {
      const { full_path: fullPath, description = null } = input;
      return authority.act(caller, "admin", async (tx) => {
        const path = { fullPath, description, depth: depthOf(fullPath), createdAt: now() };
        const pathId = await refusingTaken(fullPath, insertPath(tx, path));
        await audit.record(tx, "path_create", caller, pathId, { full_path: fullPath });
        return getPath(tx, pathId);
      });
    },

    /** Renames the path and what is below it, or describes it. 409; 400 for the root. */
    update(
      caller: Caller,
      pathId: number,
      input: v.InferOutput<typeof pathUpdate>,
    ): Promise<VirtualPath> {
      const { full_path: to, description } = input;
      return authority.act(caller, "admin", async (tx) => {
        if (to !== undefined) await lockPaths(tx, ROOT);
        const before = await getPath(tx, pathId);
        const from = before.fullPath;
        if (Object.keys(input).length === 0) throw refused("No fields to update");
        if (to !== undefined && to !== from) await rename(tx, before, to);
        if (description !== undefined) await updatePath(tx, pathId, { description });
        const details = { fields: Object.keys(input), from, to: to ?? from };
        await audit.record(tx, "path_update", caller, pathId, details);
        return getPath(tx, pathId);
      });
    },

    /** 400 for the root and while documents or deeper paths exist. */
    remove: (caller: Caller, pathId: number) =>
      authority.remove("path", caller, async (tx) => {
        const { fullPath } = await getPath(tx, pathId);
        if (fullPath === ROOT) throw refused("The root path cannot be deleted.");
        if ((await listPathsBelow(tx, fullPath)).length > 0)
          throw refused("Cannot delete this path: deeper paths exist below it.");
        if (await hasDocuments(tx, "path_id", pathId))
          throw refused("Cannot delete this path: documents are stored in it.");
        if (!(await deletePath(tx, pathId))) throw notFound();
        await audit.record(tx, "path_delete", caller, pathId, { full_path: fullPath });
      }),
  };
}

async function rename(tx: Queryable, path: VirtualPath, to: string): Promise<void> {
  if (path.fullPath === ROOT) throw refused("The root path cannot be renamed.");
  const other = await findPathByName(tx, to);
  if (other && other.pathId !== path.pathId) throw taken(to);
  const moved = [path, ...(await listPathsBelow(tx, path.fullPath))];
  const renamed = ({ fullPath }: VirtualPath) => to + fullPath.slice(path.fullPath.length);
  const msg = `A path below it would be longer than ${MAX_LENGTH} characters`;
  if (moved.some((one) => renamed(one).length > MAX_LENGTH))
    throw new AppError("validation_failed", [
      { type: "max_length", loc: ["body", "full_path"], msg },
    ]);
  // One may move to where another still is, so that one moves first.
  const direction = to.length > path.fullPath.length ? -1 : 1;
  moved.sort((a, b) => direction * (a.fullPath.length - b.fullPath.length));
  for (const one of moved) {
    const fullPath = renamed(one);
    await keepBlobKeys(tx, one.pathId, one.fullPath);
    const change = { full_path: fullPath, depth: depthOf(fullPath) };
    await refusingTaken(fullPath, updatePath(tx, one.pathId, change));
  }
}

async function getPath(q: Queryable, pathId: number): Promise<VirtualPath> {
  const path = await findPath(q, pathId);
  if (!path) throw notFound();
  return path;
}

/** 409 when the database says that another path has the name. */
async function refusingTaken<Result>(fullPath: string, change: Promise<Result>): Promise<Result> {
  try {
    return await change;
  } catch (error) {
    throw error instanceof UniqueViolation ? taken(fullPath) : error;
  }
}

const taken = (fullPath: string) => new AppError("conflict", `Path '${fullPath}' already exists.`);
const refused = (detail: string) => new AppError("bad_request", detail);
const notFound = () => new AppError("not_found", "Path not found.");
