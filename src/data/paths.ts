import { escapeLike, type Params, type Queryable, sameText } from "./database.ts";
import { assignments, filters } from "./filters.ts";

export interface VirtualPath {
  pathId: number;
  fullPath: string;
  description: string | null;
  depth: number;
  createdAt: Date;
}

const SELECT_PATH = `SELECT p.path_id AS pathId, p.full_path AS fullPath, p.description AS description,
  p.depth AS depth, p.created_at AS createdAt FROM Virtual_Paths p`;

export function findPath(q: Queryable, pathId: number): Promise<VirtualPath | undefined> {
  return q.first<VirtualPath>(`${SELECT_PATH} WHERE p.path_id = @pathId`, { pathId });
}

/** The path of a canonical name, without case; compared again in code, as in `findUserByEmail`. */
export async function findPathByName(
  q: Queryable,
  fullPath: string,
): Promise<VirtualPath | undefined> {
  const path = await q.first<VirtualPath>(`${SELECT_PATH} WHERE p.full_path = @fullPath`, {
    fullPath,
  });
  return path && sameText(path.fullPath, fullPath) ? path : undefined;
}

/** Paths whose depth is in the range and whose name begins with the literal text `prefix`, by name. */
export function listPaths(
  q: Queryable,
  filter: { minDepth: number; maxDepth: number; prefix: string | undefined },
): Promise<VirtualPath[]> {
  const { where, params } = filters([
    ["p.depth >= @minDepth", "minDepth", filter.minDepth],
    ["p.depth <= @maxDepth", "maxDepth", filter.maxDepth],
    [
      "p.full_path LIKE @pattern ESCAPE '\\'",
      "pattern",
      filter.prefix === undefined ? undefined : `${escapeLike(filter.prefix)}%`,
    ],
  ]);
  return q.all<VirtualPath>(`${SELECT_PATH} ${where} ORDER BY p.full_path`, params);
}

/** Every path below `fullPath`, not itself. */
export async function listPathsBelow(q: Queryable, fullPath: string): Promise<VirtualPath[]> {
  const paths = await q.all<VirtualPath>(
    `${SELECT_PATH} WHERE p.full_path LIKE @pattern ESCAPE '\\'`,
    {
      pattern: `${escapeLike(fullPath)}/%`,
    },
  );
  return paths.filter((path) =>
    sameText(path.fullPath.slice(0, fullPath.length + 1), `${fullPath}/`),
  );
}

/** Returns the new path's id. */
export function insertPath(q: Queryable, path: Omit<VirtualPath, "pathId">): Promise<number> {
  return q.insert(
    "Virtual_Paths",
    {
      full_path: path.fullPath,
      description: path.description,
      depth: path.depth,
      created_at: path.createdAt,
    },
    "path_id",
  );
}

export interface PathChanges {
  full_path?: string;
  depth?: number;
  description?: string | null;
}

export async function updatePath(
  q: Queryable,
  pathId: number,
  changes: PathChanges,
): Promise<void> {
  const { set, params } = assignments(changes as Params);
  await q.run(`UPDATE Virtual_Paths SET ${set} WHERE path_id = @pathId`, { ...params, pathId });
}

/** Throws `ForeignKeyViolation` while rows reference the path. False when it is not there any more. */
export async function deletePath(q: Queryable, pathId: number): Promise<boolean> {
  return (await q.run("DELETE FROM Virtual_Paths WHERE path_id = @pathId", { pathId })) === 1;
}

/**
 * Makes every transaction that renames paths wait for the others until it ends, by a write to the one row that is always there: two
 * that overlap would each move what it had read, and tear a subtree apart.
 */
export async function lockPaths(tx: Queryable, root: string): Promise<void> {
  await tx.run("UPDATE Virtual_Paths SET depth = depth WHERE full_path = @root", { root });
}
