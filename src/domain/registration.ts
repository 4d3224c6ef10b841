import { randomBytes, randomInt } from "node:crypto";
import * as v from "valibot";
import { UniqueViolation } from "../data/database.ts";
import { countUsers, findUser, findUserByUsername, insertUser, type User } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Passwords } from "../security/passwords.ts";
import { type Actor, SYSTEM } from "./audit.ts";
import { ADMIN_ROLE, type Core } from "./authority.ts";
import { email, fullName, password, username, usernameFromEmail } from "./credentials.ts";
import { fields } from "./text.ts";
import { refuseTaken } from "./users.ts";

export const newAccount = fields({
  full_name: fullName,
  email,
  password,
  username: v.exactOptional(username),
});

type NewAccount = v.InferOutput<typeof newAccount>;
type Credentials = Pick<NewAccount, "email" | "password">;

const TAKEN = { email: "Email already registered", username: "Username already taken" };

/** Names made of one address that the database may refuse before the person has to choose. */
const MAX_REFUSALS = 20;

/** Names of one address that are counted up; then a drawn number is free sooner than the next. */
const MAX_COUNTED = 20;

export type Registration = ReturnType<typeof createRegistration>;

export function createRegistration({ database, audit, now }: Core, passwords: Passwords) {
  /** 400 when the address or the name is taken. */
  async function insert(
    input: NewAccount,
    isAdmin: boolean,
    actor: Actor,
    signal?: AbortSignal,
  ): Promise<User> {
    await refuseTaken(database, input, TAKEN);
    const passwordHash = await passwords.hash(input.password, signal);
    let refusals = 0;
    for (let number = 0; ; number++) {
      try {
        return await database.transaction(async (tx) => {
          await refuseTaken(tx, input, TAKEN);
          let name = input.username ?? usernameFromEmail(input.email, number);
          while (input.username === undefined && (await findUserByUsername(tx, name))) {
            number = number < MAX_COUNTED ? number + 1 : randomInt(1_000, 1_000_000);
            name = usernameFromEmail(input.email, number);
          }
          const userId = await insertUser(tx, {
            fullName: input.full_name,
            email: input.email,
            username: name,
            passwordHash,
            createdAt: now(),
            isActive: isAdmin,
            roleId: isAdmin ? ADMIN_ROLE : null,
          });
          const details = { email: input.email };
          await audit.record(tx, "user_register", { ...actor, userId }, userId, details);
          return (await findUser(tx, userId)) as User;
        });
      } catch (error) {
        if (!(error instanceof UniqueViolation)) throw error;
        await refuseTaken(database, input, TAKEN);
        // The database's collation holds names equal that are not so to code.
        if (input.username !== undefined || ++refusals > MAX_REFUSALS)
          throw new AppError("bad_request", TAKEN.username);
      }
    }
  }

  const createAdmin = (input: NewAccount) => insert(input, true, SYSTEM);

  return {
    /** Makes an active admin. */
    createAdmin,

    /** Makes an inactive user without a role. */
    register: (input: NewAccount, actor: Actor, signal?: AbortSignal) =>
      insert(input, false, actor, signal),

    /**
     * When there is no active admin, makes one of the credentials, or with `generate` and no user
     * at all one with a drawn password. Returns what it made.
     */
    async ensureFirstAdmin(options: {
      credentials: Credentials | undefined;
      generate: boolean;
    }): Promise<Credentials | undefined> {
      const admins = await countUsers(database, { roleId: ADMIN_ROLE, isActive: true });
      if (admins > 0) return undefined;
      let { credentials } = options;
      if (!credentials && options.generate && (await countUsers(database)) === 0)
        credentials = { email: "admin@nassaq.local", password: drawPassword() };
      if (credentials) await createAdmin({ full_name: "Administrator", ...credentials });
      return credentials;
    },
  };
}

/** 72 random bits, in a form that satisfies the rules for passwords. */
function drawPassword(): string {
  return `${randomBytes(9).toString("hex")}-${randomInt(10)}`;
}
