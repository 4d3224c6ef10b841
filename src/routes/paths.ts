import * as v from "valibot";
import type { Database } from "../data/database.ts";
import { countPaths, listAllPaths, listPaths, type VirtualPath } from "../data/paths.ts";
import type { Caller } from "../domain/authority.ts";
import { newPath, type Paths, pathUpdate } from "../domain/paths.ts";
import { text } from "../domain/text.ts";
import { readJson, readQuery } from "../http/body.ts";
import { created, json, noContent } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { between, idParam, integer, skip } from "./inputs.ts";

const pathIdOf = idParam("path_id");
const listQuery = v.object({
  minDepth: integer(0, 10, 0),
  maxDepth: integer(1, 30, 5),
  prefix: v.optional(v.pipe(text, v.normalize("NFC"), v.maxLength(500)), ""),
  skip,
  // Without one, all that are left.
  limit: v.optional(between(1, 1_000)),
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

const page = (paths: readonly VirtualPath[], total: number) =>
  json(paths.map(pathResponse), 200, { "X-Total-Count": String(total) });

export function createPathRoutes({ database, paths }: { database: Database; paths: Paths }) {
  return {
    async list(request: Request) {
      const { skip, limit, prefix, ...depths } = readQuery(request, listQuery);
      const filter = { ...depths, prefix: prefix.replace(/^\//, "") };
      if (limit === undefined) {
        const all = await listAllPaths(database, filter);
        return page(all.slice(skip), all.length);
      }
      const found = await listPaths(database, filter, { skip, limit });
      return page(found, await countPaths(database, filter));
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
