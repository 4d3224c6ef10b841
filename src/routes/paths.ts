import * as v from "valibot";
import type { Database } from "../data/database.ts";
import { listPaths, type VirtualPath } from "../data/paths.ts";
import type { Caller } from "../domain/authority.ts";
import { newPath, type Paths, pathUpdate } from "../domain/paths.ts";
import { text } from "../domain/text.ts";
import { readJson, readParams, readQuery } from "../http/body.ts";
import { created, json, noContent } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
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
    async list(request: Request) {
      const { minDepth, maxDepth, prefix } = readQuery(request, listQuery);
      const filter = { minDepth, maxDepth, prefix: prefix.replace(/^\//, "") };
      return json((await listPaths(database, filter)).map(pathResponse));
    },

    async create(request: Request, caller: Caller) {
      const path = await paths.create(caller, await readJson(request, newPath));
      return created(`/api/v1/paths/${path.pathId}`, pathResponse(path));
    },

    async detail(request: Request) {
      return json(pathResponse(await paths.get(readParams(request, params).path_id)));
    },

    async update(request: Request, caller: Caller) {
      const { path_id } = readParams(request, params);
      const input = await readJson(request, pathUpdate);
      return json(pathResponse(await paths.update(caller, path_id, input)));
    },

    async remove(request: Request, caller: Caller) {
      await paths.remove(caller, readParams(request, params).path_id);
      return noContent();
    },
  };
}
