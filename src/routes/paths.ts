import * as v from "valibot";
import type { Database } from "../data/database.ts";
import { listPaths, type VirtualPath } from "../data/paths.ts";
import type { User } from "../data/users.ts";
import { newPath, type Paths, pathUpdate } from "../domain/paths.ts";
import { text } from "../domain/text.ts";
import { readJson, readParams, readQuery } from "../http/body.ts";
import { created, json, noContent, type Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { actorOf } from "./access.ts";
import { id, integer } from "./inputs.ts";

const params = v.object({ path_id: id });
const listQuery = v.object({
  minDepth: integer(0, 10, 0),
  maxDepth: integer(1, 30, 5),
  prefix: v.optional(v.pipe(text, v.normalize("NFC"), v.maxLength(500)), ""),
});

function pathResponse(path: VirtualPath) {
  return {
    id: path.pathId,
    full_path: path.fullPath,
    description: path.description,
    depth: path.depth,
    created_at: path.createdAt,
  };
}

export function createPathRoutes({ database, paths }: { database: Database; paths: Paths }) {
  return {
    async list(request: Request): Promise<Reply> {
      const { minDepth, maxDepth, prefix } = readQuery(request, listQuery);
      const filter = { minDepth, maxDepth, prefix: prefix.replace(/^\//, "") };
      return json((await listPaths(database, filter)).map(pathResponse));
    },

    async create(request: Request, caller: User): Promise<Reply> {
      const input = await readJson(request, newPath);
      const path = await paths.create(input, actorOf(request, caller.userId));
      return created(`/api/v1/paths/${path.pathId}`, pathResponse(path));
    },

    async update(request: Request, caller: User): Promise<Reply> {
      const { path_id } = readParams(request, params);
      const input = await readJson(request, pathUpdate);
      const path = await paths.update(path_id, input, actorOf(request, caller.userId));
      return json(pathResponse(path));
    },

    async remove(request: Request, caller: User): Promise<Reply> {
      const { path_id } = readParams(request, params);
      await paths.remove(path_id, actorOf(request, caller.userId));
      return noContent();
    },
  };
}
