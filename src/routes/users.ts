import * as v from "valibot";
import type { Database, Window } from "../data/database.ts";
import { countUsers, listRoles, listUsers, type User } from "../data/users.ts";
import type { Caller } from "../domain/authority.ts";
import type { PasswordChanges } from "../domain/password-changes.ts";
import { adminUpdate, selfUpdate, type Users } from "../domain/users.ts";
import { readJson, readQuery, refuseBody } from "../http/body.ts";
import { created, json, noContent } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { flag, idParam, paging } from "./inputs.ts";

const userIdOf = idParam("user_id");
const listQuery = v.object({ ...paging(100), is_active: v.optional(flag) });
const pendingQuery = v.object(paging(50));

export function userResponse(user: User) {
  return {
    user_id: user.userId,
    full_name: user.fullName,
    email: user.email,
    username: user.username,
    role: user.roleName,
    role_id: user.roleId,
    is_active: user.isActive,
    created_at: user.createdAt,
  };
}

interface Parts {
  database: Database;
  users: Users;
  passwordChanges: PasswordChanges;
}

export function createUserRoutes({ database, users, passwordChanges }: Parts) {
  async function page(isActive: boolean | undefined, window: Window) {
    const found = await listUsers(database, { isActive }, window);
    const total = await countUsers(database, { isActive });
    return json(found.map(userResponse), 200, { "X-Total-Count": String(total) });
  }

  return {
    list(request: Request) {
      const { is_active, ...window } = readQuery(request, listQuery);
      return page(is_active, window);
    },

    pending: (request: Request) => page(false, readQuery(request, pendingQuery)),

    me: (_request: Request, { user }: Caller) => json(userResponse(user)),

    async updateMe(request: Request, caller: Caller) {
      const changes = await readJson(request, selfUpdate(caller.user));
      return json(userResponse(await users.updateSelf(caller, changes)));
    },

    async detail(request: Request) {
      return json(userResponse(await users.get(userIdOf(request))));
    },

    async update(request: Request, caller: Caller) {
      const userId = userIdOf(request);
      const changes = await readJson(request, adminUpdate(await users.get(userId)));
      return json(userResponse(await users.update(caller, userId, changes)));
    },

    async activate(request: Request, caller: Caller) {
      const userId = userIdOf(request);
      await refuseBody(request, "Request body is not allowed for this endpoint.");
      return json(userResponse(await users.activate(caller, userId)));
    },

    async issueReset(request: Request, caller: Caller) {
      const { token, expiresAt } = await passwordChanges.issueReset(caller, userIdOf(request));
      // Where the token is used.
      const location = "/api/v1/auth/password-reset";
      return created(location, { reset_token: token, expires_at: expiresAt });
    },

    async remove(request: Request, caller: Caller) {
      await users.remove(caller, userIdOf(request));
      return noContent();
    },

    async roles() {
      const roles = await listRoles(database);
      return json(
        roles.map(({ roleId, roleName, description }) => ({
          role_id: roleId,
          role_name: roleName,
          description,
        })),
      );
    },
  };
}
