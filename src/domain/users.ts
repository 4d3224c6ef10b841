import * as v from "valibot";
import { type Queryable, UniqueViolation } from "../data/database.ts";
import { hasDocuments } from "../data/documents.ts";
import * as users from "../data/users.ts";
import { findRole, type User, type UserChanges } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Action } from "./audit.ts";
import { ADMIN_ROLE, type Caller, type Core, type Level } from "./authority.ts";
import { email, fullName, username } from "./credentials.ts";
import type { Sessions } from "./sessions.ts";
import { fields } from "./text.ts";

/** What users may change of themselves. */
export const selfUpdate = (user: User) =>
  fields({
    full_name: sameOr(user.fullName, fullName),
    username: sameOr(user.username, username),
  });

/** What an admin may change; `role_id: null` takes the role away. */
export const adminUpdate = (user: User) =>
  fields({
    full_name: sameOr(user.fullName, fullName),
    email: sameOr(user.email, email),
    username: sameOr(user.username, username),
    role_id: v.exactOptional(v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(1)))),
    is_active: v.exactOptional(v.boolean()),
  });

/** The current value, which may be older than the rule, or one that follows it. */
function sameOr<Rule extends v.GenericSchema<string, string>>(current: string, rule: Rule) {
  return v.exactOptional(v.lazy((input) => (input === current ? v.string() : rule)));
}

export type Users = ReturnType<typeof createUsers>;

/** 404 for an unknown id. */
export function createUsers({ database, authority, audit }: Core, sessions: Sessions) {
  /** One at a time changes who is an admin; whoever waited may have stopped being one. */
  async function takeTurn(tx: Queryable, caller: Caller): Promise<void> {
    await users.lockAdmins(tx, ADMIN_ROLE);
    await authority.check(tx, caller, "admin");
  }

  /** 400 for no field at all, a name or an address in use, an unknown role, the last admin. */
  async function update(
    caller: Caller,
    level: Level,
    action: Action,
    userId: number,
    input: UserChanges,
  ): Promise<User> {
    let changes = input;
    try {
      return await authority.act(caller, level, async (tx) => {
        if (input.role_id !== undefined || input.is_active !== undefined)
          await takeTurn(tx, caller);
        const before = await getUser(tx, userId);
        if (Object.keys(input).length === 0) throw refused("No fields to update");
        changes = differences(before, input);
        await refuseTaken(tx, changes, IN_USE, userId);
        const { role_id: roleId, is_active: isActive } = changes;
        if (roleId != null && !(await findRole(tx, roleId)))
          throw refused(`Role with id ${roleId} does not exist`);
        if (roleId !== undefined || isActive === false) await refuseLastAdmin(tx, before);
        if (Object.keys(changes).length > 0) await users.updateUser(tx, userId, changes);
        if (input.is_active === false) await sessions.revokeAll(tx, userId, "deactivated");
        await audit.record(tx, action, caller, userId, { fields: Object.keys(changes) });
        return getUser(tx, userId);
      });
    } catch (error) {
      if (!(error instanceof UniqueViolation)) throw error;
      await refuseTaken(database, changes, IN_USE, userId);
      // The database's collation holds texts equal that are not so to code.
      throw refused(changes.username ? IN_USE.username : IN_USE.email);
    }
  }

  return {
    get: (userId: number) => getUser(database, userId),

    updateSelf: (caller: Caller, input: UserChanges) =>
      update(caller, "active", "user_self_update", caller.userId, input),

    update: (caller: Caller, userId: number, input: UserChanges) =>
      update(caller, "admin", "user_admin_update", userId, input),

    activate: (caller: Caller, userId: number) =>
      update(caller, "admin", "user_activate", userId, { is_active: true }),

    /** 400 for oneself, the last admin and while documents of theirs exist. */
    async remove(caller: Caller, userId: number): Promise<void> {
      if (userId === caller.userId) throw refused("Cannot delete your own account.");
      await authority.remove("user", caller, async (tx) => {
        await takeTurn(tx, caller);
        const user = await getUser(tx, userId);
        await refuseLastAdmin(tx, user);
        if (await hasDocuments(tx, "uploaded_by_user_id", userId))
          throw refused("Cannot delete this user: documents that they uploaded still exist.");
        await users.deleteUser(tx, userId);
        const { email, username } = user;
        await audit.record(tx, "user_delete", caller, userId, { email, username });
      });
    },
  };
}

/** What of `input` is another value than the user has. */
function differences(user: User, input: UserChanges): UserChanges {
  const { fullName: full_name, roleId: role_id, isActive: is_active, ...same } = user;
  const current: Record<string, unknown> = { ...same, full_name, role_id, is_active };
  const changed = Object.entries(input).filter(([column, value]) => value !== current[column]);
  return Object.fromEntries(changed);
}

async function getUser(q: Queryable, userId: number): Promise<User> {
  const user = await users.findUser(q, userId);
  if (!user) throw new AppError("not_found", "User not found");
  return user;
}

const IN_USE = { email: "Email already exists", username: "Username already exists" };

/** 400, in these words, when the address or the name is that of another user than `userId`. */
export async function refuseTaken(
  q: Queryable,
  wanted: { email?: string; username?: string },
  words: { email: string; username: string },
  userId?: number,
): Promise<void> {
  const { email, username } = wanted;
  const byEmail = email !== undefined && (await users.findUserByEmail(q, email));
  if (byEmail && byEmail.userId !== userId) throw refused(words.email);
  const byName = username !== undefined && (await users.findUserByUsername(q, username));
  if (byName && byName.userId !== userId) throw refused(words.username);
}

/** 400 when nobody else is an active admin. */
async function refuseLastAdmin(tx: Queryable, { userId, roleId, isActive }: User): Promise<void> {
  if (roleId !== ADMIN_ROLE || !isActive) return;
  const others = { roleId, isActive, exceptUserId: userId };
  if ((await users.countUsers(tx, others)) > 0) return;
  throw refused("The last active administrator cannot be demoted, deactivated or deleted.");
}

const refused = (detail: string) => new AppError("bad_request", detail);
