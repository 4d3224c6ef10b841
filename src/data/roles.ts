import type { Queryable } from "./database.ts";

export interface Role {
  roleId: number;
  roleName: string;
  description: string | null;
}

const SELECT_ROLE =
  "SELECT r.role_id AS roleId, r.role_name AS roleName, r.description AS description FROM Roles r";

export function listRoles(q: Queryable) {
  return q.all<Role>(`${SELECT_ROLE} ORDER BY r.role_id`);
}

export function findRole(q: Queryable, roleId: number) {
  return q.first<Role>(`${SELECT_ROLE} WHERE r.role_id = @roleId`, { roleId });
}
