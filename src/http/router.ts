import { AppError } from "../errors.ts";
import type { Route } from "./request.ts";

export type Router = ReturnType<typeof createRouter>;

/**
 * A router of exact segments and `:parameters`; the first row whose path matches decides. It takes
 * a percent-encoded path that decodes; 404 when nothing lives there.
 */
export function createRouter(table: readonly Route[]) {
  const rows = table.map((route) => ({ route, segments: split(route.path) }));
  return (path: string) => {
    // Split before decoding: an encoded slash is part of its segment.
    const asked = split(path).map(decodeURIComponent);
    const row = rows.find(
      ({ segments }) =>
        segments.length === asked.length &&
        segments.every((name, at) => (isParameter(name) ? asked[at] !== "" : asked[at] === name)),
    );
    if (!row) throw new AppError("not_found", "Not Found");
    const params: Record<string, string> = Object.create(null);
    for (const [at, name] of row.segments.entries())
      if (isParameter(name)) params[name.slice(1)] = asked[at] ?? "";
    const pattern = row.route.path;
    const routes = table.filter((route) => route.path === pattern);
    const methods = routes.flatMap(({ method }) => (method === "GET" ? [method, "HEAD"] : method));
    const allow = [...methods, "OPTIONS"].join(", ");
    return {
      pattern,
      params,
      allow,
      /** The row that serves the method (HEAD by GET); 405 with `Allow` when there is none. */
      route(method: string): Route {
        const served = method === "HEAD" ? "GET" : method;
        const route = routes.find((one) => one.method === served);
        if (route) return route;
        const headers = { Allow: allow };
        throw new AppError("method_not_allowed", "Method Not Allowed", { headers });
      },
    };
  };
}

const isParameter = (segment: string) => segment.startsWith(":");

/** A slash at the end does not count. */
const split = (path: string) => path.replace(/\/$/, "").split("/").slice(1);
