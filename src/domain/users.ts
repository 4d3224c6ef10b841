import * as v from "valibot";
import type { Database, Queryable } from "../data/database.ts";
import { UniqueViolation } from "../data/database.ts";
import { countDocuments } from "../data/documents.ts";
import { findRole } from "../data/roles.ts";
import {
  countActiveInRole,
  deleteUser,
  emailExists,
  findUser,
  findUserByEmail,
  findUserByUsername,
  lockAdmins,
  type User,
  type UserChanges,
  updateUser,
} from "../data/users.ts";
import { AppError } from "../errors.ts";
import { type Action, type Actor, record } from "./audit.ts";
import { email, fullName, username } from "./credentials.ts";
import { removing } from "./references.ts";
import type { Sessions } from "./sessions.ts";
import { fields } from "./text.ts";

export const ADMIN_ROLE = 99;

/** What a user is told who is not active (yet, or any more). */
export const PENDING_ACCOUNT =
  "Your account is pending role assignment. Please contact an administrator.";

/** What `user` may change of themselves. */
export const selfUpdate = (user: User) =>
  fields({
    full_name: sameOr(user.fullName, fullName),
    username: sameOr(user.username, username),
  });

/** What an admin may change of `user`; `role_id: null` takes the role away. */
export const adminUpdate = (user: User) =>
  fields({
    full_name: sameOr(user.fullName, fullName),
    email: sameOr(user.email, email),
    username: sameOr(user.username, username),
    role_id: v.exactOptional(v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(1)))),
    is_active: v.exactOptional(v.boolean()),
  });

/**
 * The current value, or one that follows the rule. Clients send back what they were given, and old
 * databases hold values that today's rules refuse.
 */
function sameOr<Rule extends v.GenericSchema<string, string>>(current: string, rule: Rule) {
  return v.exactOptional(v.lazy((input) => (input === current ? v.string() : rule)));
}

export type Users = ReturnType<typeof createUsers>;

/** Changes to existing users. Each is one transaction with its audit row. */
export function createUsers({
  database,
  sessions,
  now,
}: {
  database: Database;
  sessions: Sessions;
  now: () => Date;
}) {
  /** 400 for no field at all, a name or an address in use, an unknown role, the last admin. */
  async function change(
    userId: number,
    input: UserChanges,
    action: Action,
    actor: Actor,
  ): Promise<User> {
    try {
      return await database.transaction(async (tx) => {
        const before = await getUser(tx, userId);
        if (Object.keys(input).length === 0)
          throw new AppError("bad_request", "No fields to update");
        const changes = differences(before, input);
        await refuseTaken(tx, userId, changes);
        if (changes.role_id != null && !(await findRole(tx, changes.role_id))) {
          throw new AppError("bad_request", `Role with id ${changes.role_id} does not exist`);
        }
        const roleId = changes.role_id === undefined ? before.roleId : changes.role_id;
        const isActive = changes.is_active ?? before.isActive;
        if (roleId !== ADMIN_ROLE || !isActive) await refuseLastAdmin(tx, before);
        if (Object.keys(changes).length > 0) await updateUser(tx, userId, changes);
        if (input.is_active === false) await sessions.revokeAll(tx, userId, "deactivated");
        await record(tx, action, actor, userId, now(), { fields: Object.keys(changes) });
        return getUser(tx, userId);
      });
    } catch (error) {
      if (!(error instanceof UniqueViolation)) throw error;
      // Somebody was faster, or the collation holds names equal that are not the same to code.
      const { email: address, username: name } = input;
      const isAddress = address !== undefined && (await emailExists(database, address, userId));
      throw isAddress || name === undefined ? emailTaken() : usernameTaken();
    }
  }

  return {
    /** 404 when there is none. */
    get: (userId: number): Promise<User> => getUser(database, userId),

    updateSelf: (userId: number, changes: UserChanges, actor: Actor) =>
      change(userId, changes, "user_self_update", actor),

    updateByAdmin: (userId: number, changes: UserChanges, actor: Actor) =>
      change(userId, changes, "user_admin_update", actor),

    activate: (userId: number, actor: Actor) =>
      change(userId, { is_active: true }, "user_activate", actor),

    /**
     * 400 for oneself, for the last active admin, and while documents of theirs exist; 409 while an
     * unknown table references them.
     */
    async remove(userId: number, actor: Actor): Promise<void> {
      if (userId === actor.userId)
        throw new AppError("bad_request", "Cannot delete your own account.");
      await removing("user", () =>
        database.transaction(async (tx) => {
          const user = await getUser(tx, userId);
          await refuseLastAdmin(tx, user);
          if ((await countDocuments(tx, { userId })) > 0) throw hasDocuments();
          if (!(await deleteUser(tx, userId))) throw userNotFound();
          await record(tx, "user_delete", actor, userId, now(), {
            email: user.email,
            username: user.username,
          });
        }),
      );
    },
  };
}

/** What of `input` is another value than the user has. */
function differences(user: User, input: UserChanges): UserChanges {
  const current: UserChanges = {
    full_name: user.fullName,
    email: user.email,
    username: user.username,
    role_id: user.roleId,
    is_active: user.isActive,
  };
  const changed = Object.entries(input).filter(
    ([column, value]) => current[column as keyof UserChanges] !== value,
  );
  return Object.fromEntries(changed);
}

async function getUser(q: Queryable, userId: number): Promise<User> {
  const user = await findUser(q, userId);
  if (!user) throw userNotFound();
  return user;
}

const userNotFound = () => new AppError("not_found", "User not found");

const emailTaken = () => new AppError("bad_request", "Email already exists");

const usernameTaken = () => new AppError("bad_request", "Username already exists");

async function refuseTaken(q: Queryable, userId: number, changes: UserChanges): Promise<void> {
  if (changes.email !== undefined) {
    const other = await findUserByEmail(q, changes.email);
    if (other && other.userId !== userId) throw emailTaken();
  }
  if (changes.username !== undefined) {
    const other = await findUserByUsername(q, changes.username);
    if (other && other.userId !== userId) throw usernameTaken();
  }
}

/** Before `user` stops being an active admin: 400 when there is no other. */
async function refuseLastAdmin(tx: Queryable, user: User): Promise<void> {
  if (user.roleId !== ADMIN_ROLE || !user.isActive) return;
  await lockAdmins(tx, ADMIN_ROLE);
  if ((await countActiveInRole(tx, ADMIN_ROLE, user.userId)) === 0) {
    throw new AppError(
      "bad_request",
      "The last active administrator cannot be demoted, deactivated or deleted.",
    );
  }
}

function hasDocuments(): AppError {
  return new AppError(
    "bad_request",
    "Cannot delete this user: documents that they uploaded still exist.",
  );
}
