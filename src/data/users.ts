import { escapeLike, type Params, type Queryable, sameText } from "./database.ts";
import { assignments, filters } from "./filters.ts";

export interface User {
  userId: number;
  fullName: string;
  email: string;
  username: string;
  passwordHash: string;
  createdAt: Date;
  isActive: boolean;
  roleId: number | null;
  roleName: string | null;
}

const SELECT_USER = `SELECT u.user_id AS userId, u.full_name AS fullName, u.email AS email, u.username AS username,
  u.password_hash AS passwordHash, u.created_at AS createdAt, u.is_active AS isActive, u.role_id AS roleId,
  r.role_name AS roleName`;
const FROM_USERS = "FROM Users u LEFT JOIN Roles r ON r.role_id = u.role_id";

export function findUser(q: Queryable, userId: number): Promise<User | undefined> {
  return q.first<User>(`${SELECT_USER} ${FROM_USERS} WHERE u.user_id = @userId`, { userId });
}

/** The user; `sessionEnd` is null unless they have that session and it was not revoked. */
export function findUserInSession(
  q: Queryable,
  userId: number,
  sessionId: string,
): Promise<(User & { sessionEnd: Date | null }) | undefined> {
  return q.first(
    `${SELECT_USER}, s.expires_at AS sessionEnd ${FROM_USERS} LEFT JOIN Sessions s
     ON s.user_id = u.user_id AND s.session_id = @sessionId AND s.revoked_at IS NULL
     WHERE u.user_id = @userId`,
    { userId, sessionId },
  );
}

/**
 * The user of an address, without case. Compared again in code: SQL Server's older collations hold different texts
 * equal (trailing spaces, some emoji).
 */
export async function findUserByEmail(q: Queryable, email: string): Promise<User | undefined> {
  const user = await q.first<User>(`${SELECT_USER} ${FROM_USERS} WHERE u.email = @email`, {
    email,
  });
  return user && sameText(user.email, email) ? user : undefined;
}

/**
 * Whether the database holds an address equal to `email`, of another user than `exceptUserId`. It may
 * where `findUserByEmail` does not: this asks what a unique index would say.
 */
export async function emailExists(q: Queryable, email: string, exceptUserId = 0): Promise<boolean> {
  const row = await q.first(
    "SELECT u.user_id AS userId FROM Users u WHERE u.email = @email AND u.user_id <> @exceptUserId",
    { email, exceptUserId },
  );
  return row !== undefined;
}

/**
 * The user of a name, compared in NFKC, without case in any script. SQLite's NOCASE folds ASCII only,
 * so other names are folded, which no index serves.
 */
export async function findUserByUsername(
  q: Queryable,
  username: string,
): Promise<User | undefined> {
  const folded = foldName(username);
  const column = /^[\x20-\x7e]*$/.test(folded) ? "u.username" : "LOWER(u.username)";
  const users = await q.all<User>(`${SELECT_USER} ${FROM_USERS} WHERE ${column} = @folded`, {
    folded,
  });
  return users.find((user) => foldName(user.username) === folded);
}

/** Names that begin with `prefix`, folded, to find a free one. */
export async function usernamesStartingWith(q: Queryable, prefix: string): Promise<Set<string>> {
  const rows = await q.all<{ username: string }>(
    "SELECT u.username AS username FROM Users u WHERE u.username LIKE @pattern ESCAPE '\\'",
    { pattern: `${escapeLike(prefix)}%` },
  );
  return new Set(rows.map((row) => foldName(row.username)));
}

/** User names are equal when they are so in NFKC and lower case. */
function foldName(username: string): string {
  return username.normalize("NFKC").toLowerCase();
}

export interface UserFilter {
  isActive: boolean | undefined;
}

/** Oldest first. */
export function listUsers(
  q: Queryable,
  filter: UserFilter,
  window: { skip: number; limit: number },
): Promise<User[]> {
  const { where, params } = userFilters(filter);
  return q.page<User>(`${SELECT_USER} ${FROM_USERS} ${where} ORDER BY u.user_id`, params, window);
}

export async function countUsers(q: Queryable, filter: UserFilter): Promise<number> {
  const { where, params } = userFilters(filter);
  const row = await q.first<{ total: number }>(
    `SELECT COUNT(*) AS total FROM Users u ${where}`,
    params,
  );
  return row?.total ?? 0;
}

function userFilters(filter: UserFilter): { where: string; params: Params } {
  return filters([["u.is_active = @isActive", "isActive", filter.isActive]]);
}

/**
 * What stands for "no role": NULL, but the lowest role in the oldest databases, whose column takes
 * no NULL and which give that role to whoever registers.
 */
async function noRole(q: Queryable): Promise<number | null> {
  return (await q.columns("Users")).get("role_id") ? null : 1;
}

/** Returns the new user's id. Without a role, whatever the column's default is, unless it is given. */
export async function insertUser(
  q: Queryable,
  user: Pick<
    User,
    "fullName" | "email" | "username" | "passwordHash" | "createdAt" | "isActive" | "roleId"
  >,
): Promise<number> {
  return q.insert(
    "Users",
    {
      full_name: user.fullName,
      email: user.email,
      username: user.username,
      password_hash: user.passwordHash,
      created_at: user.createdAt,
      is_active: user.isActive,
      role_id: user.roleId ?? (await noRole(q)),
    },
    "user_id",
  );
}

export interface UserChanges {
  full_name?: string;
  email?: string;
  username?: string;
  role_id?: number | null;
  is_active?: boolean;
}

/** The number of users changed: 0 when there is none of that id. */
export async function updateUser(
  q: Queryable,
  userId: number,
  changes: UserChanges,
): Promise<number> {
  const role = changes.role_id === null ? { role_id: await noRole(q) } : {};
  const { set, params } = assignments({ ...changes, ...role } as Params);
  return q.run(`UPDATE Users SET ${set} WHERE user_id = @userId`, { ...params, userId });
}

/**
 * Removes the user and what hangs on them, but not their documents; their audit rows stay, without the
 * reference. Throws `ForeignKeyViolation` while other rows reference them. False when another
 * transaction has removed them since they were read.
 */
export async function deleteUser(q: Queryable, userId: number): Promise<boolean> {
  await q.run("UPDATE Logs SET user_id = NULL WHERE user_id = @userId", { userId });
  await q.run("DELETE FROM Individual_Permissions WHERE user_id = @userId", { userId });
  await q.run("DELETE FROM Password_Resets WHERE user_id = @userId", { userId });
  await q.run("DELETE FROM Sessions WHERE user_id = @userId", { userId });
  return (await q.run("DELETE FROM Users WHERE user_id = @userId", { userId })) === 1;
}

/**
 * Makes every transaction that may take an admin away wait for the others until it ends: a write to one common row is a
 * lock that both engines understand.
 */
export async function lockAdmins(tx: Queryable, adminRoleId: number): Promise<void> {
  await tx.run("UPDATE Roles SET role_name = role_name WHERE role_id = @adminRoleId", {
    adminRoleId,
  });
}

/** Active users of the role, without `exceptUserId`. */
export async function countActiveInRole(
  q: Queryable,
  roleId: number,
  exceptUserId: number,
): Promise<number> {
  const row = await q.first<{ total: number }>(
    `SELECT COUNT(*) AS total FROM Users u
     WHERE u.role_id = @roleId AND u.is_active = @isActive AND u.user_id <> @exceptUserId`,
    { roleId, isActive: true, exceptUserId },
  );
  return row?.total ?? 0;
}
