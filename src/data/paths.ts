import { setImmediate as nextTurn } from "node:timers/promises";
import { escapeLike, type Params, type Queryable, sameText, type Window } from "./database.ts";
import { assignments, count } from "./filters.ts";

/** Paths in one statement of a whole list. */
const PIECE = 2_500;

export interface VirtualPath {
  pathId: number;
  fullPath: string;
  description: string | null;
  depth: number;
  createdAt: Date;
}

const SELECT_PATH = `SELECT p.path_id AS pathId, p.full_path AS fullPath,
  p.description AS description, p.depth AS depth, p.created_at AS createdAt FROM Virtual_Paths p`;

export function findPath(q: Queryable, pathId: number) {
  return q.first<VirtualPath>(`${SELECT_PATH} WHERE p.path_id = @pathId`, { pathId });
}

/** Without case; compared again in code, as in `findUserByEmail`. */
export async function findPathByName(q: Queryable, fullPath: string) {
  const sql = `${SELECT_PATH} WHERE p.full_path = @fullPath`;
  const path = await q.first<VirtualPath>(sql, { fullPath });
  return path && sameText(path.fullPath, fullPath) ? path : undefined;
}

const LIKE_PATTERN = "p.full_path LIKE @pattern ESCAPE '\\'";

/** Paths of these depths whose name begins with the literal text `prefix`. */
interface PathFilter {
  minDepth: number;
  maxDepth: number;
  prefix: string;
}

const FILTERED = `p.depth >= @minDepth AND p.depth <= @maxDepth AND ${LIKE_PATTERN}`;
const filterParams = ({ prefix, ...depths }: PathFilter) => ({
  ...depths,
  pattern: `${escapeLike(prefix)}%`,
});

/** By name; those after the name `after`. */
export function listPaths(q: Queryable, filter: PathFilter, window: Window, after = "") {
  const sql = `${SELECT_PATH} WHERE p.full_path > @after AND ${FILTERED} ORDER BY p.full_path`;
  return q.page<VirtualPath>(sql, { ...filterParams(filter), after }, window);
}

export function countPaths(q: Queryable, filter: PathFilter) {
  return count(q, `FROM Virtual_Paths p WHERE ${FILTERED}`, filterParams(filter));
}

/** All of them by name, in pieces: others get a turn in between. */
export async function listAllPaths(q: Queryable, filter: PathFilter): Promise<VirtualPath[]> {
  const paths: VirtualPath[] = [];
  for (;;) {
    const after = paths.at(-1)?.fullPath;
    const piece = await listPaths(q, filter, { skip: 0, limit: PIECE }, after);
    paths.push(...piece);
    if (piece.length < PIECE) return paths;
    await nextTurn();
  }
}

/** Every path below `fullPath`, not itself. */
export async function listPathsBelow(q: Queryable, fullPath: string) {
  const prefix = `${fullPath}/`;
  const sql = `${SELECT_PATH} WHERE ${LIKE_PATTERN}`;
  const paths = await q.all<VirtualPath>(sql, { pattern: `${escapeLike(prefix)}%` });
  return paths.filter((path) => sameText(path.fullPath.slice(0, prefix.length), prefix));
}

/** Returns the new path's id. Throws `UniqueViolation` when the name is taken. */
export function insertPath(q: Queryable, path: Omit<VirtualPath, "pathId">) {
  return q.insert("Virtual_Paths", { ...path }, "path_id");
}

/** `changes` has at least one column. Throws `UniqueViolation` when the name is taken. */
export async function updatePath(
  q: Queryable,
  pathId: number,
  changes: { full_path?: string; depth?: number; description?: string | null },
): Promise<void> {
  const sql = `UPDATE Virtual_Paths ${assignments(changes)} WHERE path_id = @pathId`;
  await q.run(sql, { ...changes, pathId } as Params);
}

/** Throws `ForeignKeyViolation` while rows reference the path. False when it is gone already. */
export async function deletePath(q: Queryable, pathId: number) {
  return (await q.run("DELETE FROM Virtual_Paths WHERE path_id = @pathId", { pathId })) === 1;
}

/** Makes transactions that rename paths take turns: two at once would tear a subtree apart. */
export function lockPaths(tx: Queryable, root: string) {
  return tx.defer("UPDATE Virtual_Paths SET depth = depth WHERE full_path = @root", { root });
}
