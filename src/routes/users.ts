import * as v from "valibot";
import type { Database } from "../data/database.ts";
import { listRoles } from "../data/roles.ts";
import { countUsers, listUsers, type User } from "../data/users.ts";
import { adminUpdate, selfUpdate, type Users } from "../domain/users.ts";
import { readJson, readParams, readQuery, refuseBody } from "../http/body.ts";
import { json, noContent, type Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { actorOf } from "./access.ts";
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

export function createUserRoutes({ database, users }: { database: Database; users: Users }) {
  async function page(
    isActive: boolean | undefined,
    window: { skip: number; limit: number },
  ): Promise<Reply> {
    const found = await listUsers(database, { isActive }, window);
    const total = await countUsers(database, { isActive });
    return json(found.map(userResponse), 200, { "X-Total-Count": String(total) });
  }

  return {
    list(request: Request): Promise<Reply> {
      const { is_active, ...window } = readQuery(request, listQuery);
      return page(is_active, window);
    },

    pending: (request: Request) => page(false, readQuery(request, pendingQuery)),

    me: (_request: Request, caller: User) => json(userResponse(caller)),

    async updateMe(request: Request, caller: User): Promise<Reply> {
      const changes = await readJson(request, selfUpdate(caller));
      const actor = actorOf(request, caller.userId);
      const user = await users.update(caller.userId, changes, "user_self_update", actor);
      return json(userResponse(user));
    },

    async update(request: Request, caller: User): Promise<Reply> {
      const { user_id } = readParams(request, params);
      const changes = await readJson(request, adminUpdate(await users.get(user_id)));
      const actor = actorOf(request, caller.userId);
      return json(userResponse(await users.update(user_id, changes, "user_admin_update", actor)));
    },

    async activate(request: Request, caller: User): Promise<Reply> {
      const { user_id } = readParams(request, params);
      await refuseBody(request, "Request body is not allowed for this endpoint.");
      const actor = actorOf(request, caller.userId);
      const user = await users.update(user_id, { is_active: true }, "user_activate", actor);
      return json(userResponse(user));
    },

    async remove(request: Request, caller: User): Promise<Reply> {
      const { user_id } = readParams(request, params);
      await users.remove(user_id, actorOf(request, caller.userId));
      return noContent();
    },

    async roles(): Promise<Reply> {
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
