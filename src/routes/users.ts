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

const userId = v.object({ user_id: id });
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
      return json(
        userResponse(
          await users.updateSelf(caller.userId, changes, actorOf(request, caller.userId)),
        ),
      );
    },

    async update(request: Request, caller: User): Promise<Reply> {
      const { user_id } = readParams(request, userId);
      const changes = await readJson(request, adminUpdate(await users.get(user_id)));
      return json(
        userResponse(await users.updateByAdmin(user_id, changes, actorOf(request, caller.userId))),
      );
    },

    async activate(request: Request, caller: User): Promise<Reply> {
      const { user_id } = readParams(request, userId);
      await refuseBody(request, "Request body is not allowed for this endpoint.");
      return json(userResponse(await users.activate(user_id, actorOf(request, caller.userId))));
    },

    async remove(request: Request, caller: User): Promise<Reply> {
      const { user_id } = readParams(request, userId);
      await users.remove(user_id, actorOf(request, caller.userId));
      return noContent();
    },

    async roles(): Promise<Reply> {
      const roles = await listRoles(database);
      return json(
        roles.map((role) => ({
          role_id: role.roleId,
          role_name: role.roleName,
          description: role.description,
        })),
      );
    },
  };
}
