import { type Params, type Queryable, sameText, type Window } from "./database.ts";
import { assignments, columns, count, filters } from "./filters.ts";

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

const NAMES = "userId fullName email username passwordHash createdAt isActive roleId";
const USER = `${columns("u", NAMES)}, r.role_name AS roleName`;
const FROM_USERS = "FROM Users u LEFT JOIN Roles r ON r.role_id = u.role_id";
const SELECT_USER = `SELECT ${USER} ${FROM_USERS}`;

export function findUser(q: Queryable, userId: number) {
  return q.first<User>(`${SELECT_USER} WHERE u.user_id = @userId`, { userId });
}

/** The user, and the id of that session of theirs if it was not revoked. */
export function findSignedIn(q: Queryable, userId: number, sessionId: string | null) {
  return q.first<User & { liveSessionId: string | null }>(
    `SELECT ${USER}, s.session_id AS liveSessionId ${FROM_USERS}
     LEFT JOIN Sessions s ON s.session_id = @sessionId AND s.user_id = u.user_id
       AND s.revoked_at IS NULL
     WHERE u.user_id = @userId`,
    { userId, sessionId },
  );
}

/** Without case. Compared again: SQL Server's older collations hold different texts equal. */
export async function findUserByEmail(q: Queryable, email: string) {
  const user = await q.first<User>(`${SELECT_USER} WHERE u.email = @email`, { email });
  return user && sameText(user.email, email) ? user : undefined;
}

/**
 * Compared as `sameText` does. SQLite's NOCASE folds ASCII only, so other names are folded, which
 * no index serves.
 */
export async function findUserByUsername(q: Queryable, name: string) {
  const folded = name.normalize("NFKC").toLowerCase();
  const column = /^[\x20-\x7e]*$/.test(folded) ? "u.username" : "LOWER(u.username)";
  const users = await q.all<User>(`${SELECT_USER} WHERE ${column} = @folded`, { folded });
  return users.find(({ username }) => sameText(username, name));
}

interface UserFilter {
  isActive?: boolean | undefined;
  roleId?: number;
  exceptUserId?: number;
}

const userFilters = (filter: UserFilter) =>
  filters(filter, {
    isActive: "u.is_active = @isActive",
    roleId: "u.role_id = @roleId",
    exceptUserId: "u.user_id <> @exceptUserId",
  });

/** Oldest first. */
export function listUsers(q: Queryable, filter: UserFilter, window: Window) {
  const { where, params } = userFilters(filter);
  return q.page<User>(`${SELECT_USER} ${where} ORDER BY u.user_id`, params, window);
}

export function countUsers(q: Queryable, filter: UserFilter = {}) {
  const { where, params } = userFilters(filter);
  return count(q, `FROM Users u ${where}`, params);
}

/** What stands for "no role": NULL, but 1 in the oldest databases, whose column takes no NULL. */
async function noRole(q: Queryable): Promise<number | null> {
  return (await q.columns("Users")).get("role_id") ? null : 1;
}

/** Returns the new user's id. Throws `UniqueViolation` when name or address are taken. */
export async function insertUser(q: Queryable, user: Omit<User, "userId" | "roleName">) {
  return q.insert("Users", { ...user, roleId: user.roleId ?? (await noRole(q)) }, "user_id");
}

/** By column. */
export interface UserChanges {
  full_name?: string;
  email?: string;
  username?: string;
  role_id?: number | null;
  is_active?: boolean;
}

/** `changes` has at least one column. */
export async function updateUser(
  q: Queryable,
  userId: number,
  changes: UserChanges & { password_hash?: string },
): Promise<void> {
  const role = changes.role_id === null ? { role_id: await noRole(q) } : {};
  const values = { ...changes, ...role };
  const sql = `UPDATE Users ${assignments(values)} WHERE user_id = @userId`;
  await q.run(sql, { ...values, userId } as Params);
}

/** The user, whom nobody else changes before the transaction ends. */
export async function lockUser(tx: Queryable, userId: number) {
  await tx.defer("UPDATE Users SET is_active = is_active WHERE user_id = @userId", { userId });
  return findUser(tx, userId);
}

/** As `lockUser`: whether the user is active, with this password and role still. */
export async function lockUnchanged(tx: Queryable, user: User): Promise<boolean> {
  const { userId, passwordHash, roleId } = user;
  const changed = await tx.run(
    `UPDATE Users SET is_active = is_active WHERE user_id = @userId AND is_active = 1
       AND password_hash = @passwordHash AND COALESCE(role_id, 0) = @roleId`,
    { userId, passwordHash, roleId: roleId ?? 0 },
  );
  return changed === 1;
}

/**
 * Also their permissions, resets and sessions; their audit rows stay, without the reference. Throws
 * `ForeignKeyViolation` while other rows reference them.
 */
export async function deleteUser(q: Queryable, userId: number): Promise<void> {
  await q.defer("UPDATE Logs SET user_id = NULL WHERE user_id = @userId", { userId });
  for (const table of ["Individual_Permissions", "Password_Resets", "Sessions", "Users"])
    await q.defer(`DELETE FROM ${table} WHERE user_id = @userId`, { userId });
}

/** Makes transactions that may take an admin away take turns, before what they read to decide. */
export function lockAdmins(tx: Queryable, roleId: number) {
  return tx.defer("UPDATE Roles SET role_name = role_name WHERE role_id = @roleId", { roleId });
}

export interface Role {
  roleId: number;
  roleName: string;
  description: string | null;
}

const SELECT_ROLE = `SELECT ${columns("r", "roleId roleName description")} FROM Roles r`;

export function listRoles(q: Queryable) {
  return q.all<Role>(`${SELECT_ROLE} ORDER BY r.role_id`);
}

export function findRole(q: Queryable, roleId: number) {
  return q.first<Role>(`${SELECT_ROLE} WHERE r.role_id = @roleId`, { roleId });
}
