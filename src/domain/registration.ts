import { randomBytes, randomInt } from "node:crypto";
import * as v from "valibot";
import { type Database, escapeLike, type Queryable, UniqueViolation } from "../data/database.ts";
import {
  countActiveInRole,
  countUsers,
  findUser,
  findUserByEmail,
  findUserByUsername,
  insertUser,
  type User,
  usernamesStartingWith,
} from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Passwords } from "../security/passwords.ts";
import { type Actor, record, SYSTEM } from "./audit.ts";
import {
  email,
  freeUsername,
  fullName,
  password,
  username,
  usernameFromEmail,
} from "./credentials.ts";
import { fields } from "./text.ts";
import { ADMIN_ROLE } from "./users.ts";

/** What people register with. */
export const newAccount = fields({
  full_name: fullName,
  email,
  password,
  username: v.exactOptional(username),
});

export type Registration = ReturnType<typeof createRegistration>;

/** How accounts come to be: people register, administrators are made at the first start or from the command line. */
export function createRegistration({
  database,
  passwords,
  now,
}: {
  database: Database;
  passwords: Passwords;
  now: () => Date;
}) {
  /** A new user without a role; 400 when the address or the chosen name is taken. */
  async function insert(
    input: v.InferOutput<typeof newAccount>,
    account: { roleId: number | null; isActive: boolean },
    actor: Actor,
  ): Promise<User> {
    await refuseTaken(database, input);
    const passwordHash = await passwords.hash(input.password);
    return retryingTakenNames(database, input, () =>
      database.transaction(async (tx) => {
        const name = input.username ?? (await freeUsernameFor(tx, input.email));
        await refuseTaken(tx, input);
        const userId = await insertUser(tx, {
          fullName: input.full_name,
          email: input.email,
          username: name,
          passwordHash,
          createdAt: now(),
          ...account,
        });
        await record(tx, "user_register", { ...actor, userId }, userId, now(), {
          email: input.email,
        });
        return (await findUser(tx, userId)) as User;
      }),
    );
  }

  const createAdmin = (input: v.InferOutput<typeof newAccount>) =>
    insert(input, { roleId: ADMIN_ROLE, isActive: true }, SYSTEM);

  const hasAdmin = async () => (await countActiveInRole(database, ADMIN_ROLE, 0)) > 0;

  return {
    /** Whether there is an active admin. */
    hasAdmin,

    /** An active admin; for the command line and the first start. */
    createAdmin,

    /** An inactive user without a role, whom an admin lets in later. */
    register: (input: v.InferOutput<typeof newAccount>, actor: Actor) =>
      insert(input, { roleId: null, isActive: false }, actor),

    /**
     * Makes an active admin of the given credentials when there is none; or, with `generate` and not one user, an admin with a
     * drawn password. Returns what it made.
     */
    async ensureFirstAdmin(options: {
      credentials: { email: string; password: string } | undefined;
      generate: boolean;
    }): Promise<{ email: string; password: string } | undefined> {
      if (await hasAdmin()) return undefined;
      const generate =
        options.generate && (await countUsers(database, { isActive: undefined })) === 0;
      const credentials =
        options.credentials ??
        (generate ? { email: "admin@nassaq.local", password: drawPassword() } : undefined);
      if (credentials) await createAdmin({ full_name: "Administrator", ...credentials });
      return credentials;
    },
  };
}

/** 72 random bits, in a form that satisfies the rules for passwords. */
function drawPassword(): string {
  return `${randomBytes(9).toString("hex")}-${randomInt(10)}`;
}

async function refuseTaken(
  q: Queryable,
  input: { email: string; username?: string },
): Promise<void> {
  if (await findUserByEmail(q, input.email))
    throw new AppError("bad_request", "Email already registered");
  if (input.username !== undefined && (await findUserByUsername(q, input.username))) {
    throw new AppError("bad_request", "Username already taken");
  }
}

async function freeUsernameFor(q: Queryable, address: string): Promise<string> {
  const base = usernameFromEmail(address);
  // Room for the digits that a taken name gets appended.
  const taken = await usernamesStartingWith(q, `${escapeLike(base.slice(0, 12))}%`);
  return freeUsername(base, taken);
}

/** Two that register at once may both find an address or a name free: the database refuses one, who is told or tries the next name. */
async function retryingTakenNames<Result>(
  database: Database,
  input: { email: string; username?: string },
  work: () => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof UniqueViolation)) throw error;
      await refuseTaken(database, input);
      if (attempt === 10) throw error;
    }
  }
}
