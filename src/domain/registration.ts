import { randomBytes, randomInt } from "node:crypto";
import * as v from "valibot";
import { type Database, type Queryable, UniqueViolation } from "../data/database.ts";
import {
  countActiveInRole,
  countUsers,
  emailExists,
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

type NewAccount = v.InferOutput<typeof newAccount>;

/** So many names made of one address are tried; then the person has to choose one. */
const MAX_REFUSED = 20;

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
  /** 400 when the address or the name is taken, in code's eyes or in the database's. */
  async function insert(
    input: NewAccount,
    account: { roleId: number | null; isActive: boolean },
    actor: Actor,
  ): Promise<User> {
    await refuseTaken(database, input);
    const passwordHash = await passwords.hash(input.password);
    const refused = new Set<string>();
    for (;;) {
      let name = "";
      try {
        return await database.transaction(async (tx) => {
          await refuseTaken(tx, input);
          name = input.username ?? (await freeUsernameFor(tx, input.email, refused));
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
        });
      } catch (error) {
        if (!(error instanceof UniqueViolation)) throw error;
        // Somebody was faster, or the collation holds names equal that are not the same to code.
        if (await emailExists(database, input.email)) throw emailTaken();
        if (input.username !== undefined || refused.size === MAX_REFUSED) throw usernameTaken();
        refused.add(name);
      }
    }
  }

  const createAdmin = (input: NewAccount) =>
    insert(input, { roleId: ADMIN_ROLE, isActive: true }, SYSTEM);

  const hasAdmin = async () => (await countActiveInRole(database, ADMIN_ROLE, 0)) > 0;

  return {
    /** Whether there is an active admin. */
    hasAdmin,

    /** An active admin; for the command line and the first start. */
    createAdmin,

    /** An inactive user without a role, whom an admin lets in later. */
    register: (input: NewAccount, actor: Actor) =>
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
  if (await findUserByEmail(q, input.email)) throw emailTaken();
  if (input.username !== undefined && (await findUserByUsername(q, input.username)))
    throw usernameTaken();
}

const emailTaken = () => new AppError("bad_request", "Email already registered");

const usernameTaken = () => new AppError("bad_request", "Username already taken");

/** A name made of the address that nobody has, and that is not among the `refused` ones. */
async function freeUsernameFor(
  q: Queryable,
  address: string,
  refused: ReadonlySet<string>,
): Promise<string> {
  const base = usernameFromEmail(address);
  // Room for the digits that a taken name gets appended.
  const taken = await usernamesStartingWith(q, base.slice(0, 12));
  return freeUsername(base, new Set([...taken, ...refused]));
}
