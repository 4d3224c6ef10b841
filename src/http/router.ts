import { AppError } from "../errors.ts";
import type { Route } from "./request.ts";

type Shape = Pick<Route, "method" | "path">;

/** The routes that share a path: `allow` is the value of the `Allow` header. */
export interface Resource<R> {
  /** The pattern of the most specific route. */
  readonly pattern: string;
  readonly allow: string;
  /** The most specific route that serves the method (HEAD by GET), or 405 with `Allow`. */
  route(method: string): { route: R; params: Readonly<Record<string, string>> };
}

export interface Router<R> {
  /** What lives at a path, still percent-encoded. Throws 404, and 400 for a path that does not decode. */
  resolve(path: string): Resource<R>;
}

interface Entry<R> {
  route: R;
  segments: readonly string[];
}

const ORDER = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/**
 * A router of exact segments and `:parameters`; throws at once when two routes have one method and one shape of path. The paths in
 * `reserved` are 404, although a parameter would match them.
 */
export function createRouter<R extends Shape>(
  routes: readonly R[],
  reserved: readonly string[] = [],
): Router<R> {
  const unused = new Set(reserved.map((path) => split(path).join("/")));
  const entries = routes.map((route) => ({ route, segments: patternSegments(route.path) }));
  const seen = new Set<string>();
  for (const { route, segments } of entries) {
    const shape = `${route.method} /${segments.map((segment) => (isParameter(segment) ? ":" : segment)).join("/")}`;
    if (seen.has(shape)) throw new Error(`Two routes serve ${route.method} ${route.path}`);
    seen.add(shape);
  }
  // Most specific first: at the first segment that differs in kind, the exact one wins.
  entries.sort((a, b) => compare(rank(a.segments), rank(b.segments)));
  return {
    resolve(path) {
      const segments = pathSegments(path);
      const matching = entries.filter((entry) => matches(entry.segments, segments));
      const [best] = matching;
      if (!best || unused.has(segments.join("/"))) throw new AppError("not_found", "Not Found");
      // An exact path is a resource of its own: a parameter's routes do not serve it.
      const same = matching.filter((entry) => rank(entry.segments) === rank(best.segments));
      return resource(best.route.path, same, segments);
    },
  };
}

function resource<R extends Shape>(
  pattern: string,
  matching: readonly Entry<R>[],
  segments: readonly string[],
): Resource<R> {
  const methods = new Set<string>(["OPTIONS", ...matching.map(({ route }) => route.method)]);
  if (methods.has("GET")) methods.add("HEAD");
  const allow = ORDER.filter((method) => methods.has(method)).join(", ");
  return {
    pattern,
    allow,
    route(method) {
      const wanted = method === "HEAD" ? "GET" : method;
      const entry = matching.find(({ route }) => route.method === wanted);
      if (!entry)
        throw new AppError("method_not_allowed", "Method Not Allowed", {
          headers: { Allow: allow },
        });
      return { route: entry.route, params: parameters(entry.segments, segments) };
    },
  };
}

function isParameter(segment: string): boolean {
  return segment.startsWith(":");
}

function rank(segments: readonly string[]): string {
  return segments.map((segment) => (isParameter(segment) ? "1" : "0")).join("");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function split(path: string): string[] {
  const trimmed = path.endsWith("/") ? path.slice(1, -1) : path.slice(1);
  return trimmed === "" && path.length < 2 ? [] : trimmed.split("/");
}

function patternSegments(pattern: string): string[] {
  const segments = split(pattern);
  if (!pattern.startsWith("/") || segments.some((segment) => segment === "" || segment === ":")) {
    throw new Error(`Not a path of a route: ${pattern}`);
  }
  return segments;
}

// Split before decoding: an encoded slash is part of its segment.
function pathSegments(path: string): string[] {
  try {
    return split(path).map(decodeURIComponent);
  } catch (cause) {
    throw new AppError("bad_request", "Bad percent-encoding in the path", { cause });
  }
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((expected, index) =>
      isParameter(expected) ? segments[index] !== "" : segments[index] === expected,
    )
  );
}

function parameters(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> {
  const params: Record<string, string> = Object.create(null);
  for (const [index, name] of pattern.entries()) {
    if (isParameter(name)) params[name.slice(1)] = segments[index] ?? "";
  }
  return params;
}
