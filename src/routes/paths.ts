import * as v from "valibot";
import type { Database } from "../data/database.ts";
import { listPaths, type VirtualPath } from "../data/paths.ts";
import type { Caller } from "../domain/authority.ts";
import { newPath, type Paths, pathUpdate } from "../domain/paths.ts";
import { text } from "../domain/text.ts";
import { readJson, readQuery } from "../http/body.ts";
import { created, json, noContent } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { idParam, integer } from "./inputs.ts";

const pathIdOf = idParam("path_id");
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
      return json(pathResponse(await paths.get(pathIdOf(request))));
    },

    async update(request: Request, caller: Caller) {
      const pathId = pathIdOf(request);
      const input = await readJson(request, pathUpdate);
      return json(pathResponse(await paths.update(caller, pathId, input)));
    },

    async remove(request: Request, caller: Caller) {
      await paths.remove(caller, pathIdOf(request));
      return noContent();
    },
  };
}
