import { AppError } from "../errors.ts";
import type { Route } from "./request.ts";

/** The rows of the table that share the path of a request. */
export interface Match {
  /** The rows' path, with the names of its parameters. */
  readonly pattern: string;
  /** Percent-decoded path parameters by name. */
  readonly params: Readonly<Record<string, string>>;
  /** The value of the `Allow` header. */
  readonly allow: string;
  /** The row that serves the method (HEAD by GET); 405 with `Allow` when there is none. */
  route(method: string): Route;
}

/** What lives at a path, which is percent-encoded and decodes. Throws 404 when nothing does. */
export type Router = (path: string) => Match;

interface Resource {
  pattern: string;
  segments: readonly string[];
  routes: Map<string, Route>;
}

/**
 * A router of exact segments and `:parameters`. The first row whose path matches decides, so exact
 * paths stand before parameters. Throws when a row can never be reached.
 */
export function createRouter(table: readonly Route[]): Router {
  const resources: Resource[] = [];
  const find = (path: readonly string[]) =>
    resources.find(
      ({ segments }) =>
        segments.length === path.length &&
        segments.every((name, at) => (isParameter(name) ? path[at] !== "" : path[at] === name)),
    );
  for (const route of table) {
    const segments = split(route.path);
    if (!route.path.startsWith("/") || segments.includes(""))
      throw new Error(`Not the path of a route: ${route.path}`);
    const pattern = `/${segments.join("/")}`;
    const resource = find(segments) ?? { pattern, segments, routes: new Map() };
    if (resource.routes.size === 0) resources.push(resource);
    if (resource.pattern !== pattern || resource.routes.has(route.method))
      throw new Error(`Another row of the table hides ${route.method} ${route.path}`);
    resource.routes.set(route.method, route);
  }
  return (path) => {
    // Split before decoding: an encoded slash is part of its segment.
    const segments = split(path).map(decodeURIComponent);
    const resource = find(segments);
    if (!resource) throw new AppError("not_found", "Not Found");
    return matched(resource, segments);
  };
}

function matched({ pattern, segments, routes }: Resource, path: readonly string[]): Match {
  const params: Record<string, string> = Object.create(null);
  for (const [at, name] of segments.entries())
    if (isParameter(name)) params[name.slice(1)] = path[at] ?? "";
  const methods = [...routes.keys()].flatMap((name) => (name === "GET" ? [name, "HEAD"] : [name]));
  const headers = { Allow: [...methods, "OPTIONS"].join(", ") };
  return {
    pattern,
    params,
    allow: headers.Allow,
    route(method) {
      const route = routes.get(method === "HEAD" ? "GET" : method);
      if (!route) throw new AppError("method_not_allowed", "Method Not Allowed", { headers });
      return route;
    },
  };
}

function isParameter(segment: string): boolean {
  return segment.startsWith(":");
}

/** The segments of a path; a slash at its end does not count. */
function split(path: string): string[] {
  return path.replace(/\/$/, "").split("/").slice(1);
}
