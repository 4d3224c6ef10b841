import * as v from "valibot";
import type { Database } from "../data/database.ts";
import { listRoles } from "../data/roles.ts";
import { countUsers, listUsers, type User } from "../data/users.ts";
import type { Caller } from "../domain/authority.ts";
import type { PasswordChanges } from "../domain/password-changes.ts";
import { adminUpdate, selfUpdate, type Users } from "../domain/users.ts";
import { readJson, readParams, readQuery, refuseBody } from "../http/body.ts";
import { created, json, noContent } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { flag, id, paging } from "./inputs.ts";

const params = v.object({ user_id: id });
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
  async function page(isActive: boolean | undefined, window: { skip: number; limit: number }) {
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
      return json(userResponse(await users.get(readParams(request, params).user_id)));
    },

    async update(request: Request, caller: Caller) {
      const { user_id } = readParams(request, params);
      const changes = await readJson(request, adminUpdate(await users.get(user_id)));
      return json(userResponse(await users.update(caller, user_id, changes)));
    },

    async activate(request: Request, caller: Caller) {
      const { user_id } = readParams(request, params);
      await refuseBody(request, "Request body is not allowed for this endpoint.");
      return json(userResponse(await users.activate(caller, user_id)));
    },

    async issueReset(request: Request, caller: Caller) {
      const { user_id } = readParams(request, params);
      const { token, expiresAt } = await passwordChanges.issueReset(caller, user_id);
      // Where the token is used.
      const location = "/api/v1/auth/password-reset";
      return created(location, { reset_token: token, expires_at: expiresAt });
    },

    async remove(request: Request, caller: Caller) {
      const { user_id } = readParams(request, params);
      await users.remove(caller, user_id);
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
