import type { Caller } from "../domain/authority.ts";
import type { Reply } from "../http/replies.ts";
import type { Method, Request, Route } from "../http/request.ts";
import type { AccessLevel } from "./access.ts";
import type { createAuthRoutes } from "./auth.ts";
import type { createDocumentRoutes } from "./documents.ts";
import type { createHealthRoutes } from "./health.ts";
import type { createLogRoutes } from "./logs.ts";
import type { createPathRoutes } from "./paths.ts";
import type { createProcessingRoutes } from "./processing.ts";
import type { createReferenceRoutes } from "./reference.ts";
import type { createUserRoutes } from "./users.ts";

export interface Handlers {
  health: ReturnType<typeof createHealthRoutes>;
  auth: ReturnType<typeof createAuthRoutes>;
  users: ReturnType<typeof createUserRoutes>;
  documents: ReturnType<typeof createDocumentRoutes>;
  processing: ReturnType<typeof createProcessingRoutes>;
  paths: ReturnType<typeof createPathRoutes>;
  logs: ReturnType<typeof createLogRoutes>;
}

export type AppRoute = Route<AccessLevel, Caller | undefined>;

/** A row. The handler gets whom the guard let through. */
function route<Level extends AccessLevel>(
  method: Method,
  path: string,
  level: Level,
  handler: (
    request: Request,
    caller: Level extends "public" ? undefined : Caller,
  ) => Reply | Promise<Reply>,
): AppRoute {
  return { method, path, level, handler: handler as AppRoute["handler"] };
}

/** THE TABLE: the API and its security policy. The first row whose path matches decides. */
export function table(handlers: Handlers): AppRoute[] {
  const { health, auth, users, documents, processing, paths, logs } = handlers;
  return [
    route("GET", "/", "public", health.live),
    route("GET", "/ready", "public", health.ready),

    route("POST", "/api/v1/auth/register", "public", auth.register),
    route("POST", "/api/v1/auth/login", "public", auth.login),
    // The refresh token is the credential.
    route("POST", "/api/v1/auth/refresh", "public", auth.refresh),
    route("POST", "/api/v1/auth/logout", "user", auth.logout),
    // The reset token is the credential.
    route("POST", "/api/v1/auth/password-reset", "public", auth.useReset),

    route("GET", "/api/v1/users", "admin", users.list),
    route("GET", "/api/v1/users/pending", "admin", users.pending),
    route("GET", "/api/v1/users/me", "user", users.me),
    route("PATCH", "/api/v1/users/me", "active", users.updateMe),
    route("POST", "/api/v1/users/me/password", "active", auth.changePassword),
    route("GET", "/api/v1/users/:user_id", "admin", users.detail),
    route("PATCH", "/api/v1/users/:user_id", "admin", users.update),
    route("PATCH", "/api/v1/users/:user_id/activate", "admin", users.activate),
    route("POST", "/api/v1/users/:user_id/password-reset", "admin", users.issueReset),
    route("DELETE", "/api/v1/users/:user_id", "admin", users.remove),
    route("GET", "/api/v1/roles", "admin", users.roles),

    route("POST", "/api/v1/docs/upload", "active", documents.upload),
    route("GET", "/api/v1/docs", "admin", documents.list),
    route("GET", "/api/v1/docs/me", "active", documents.mine),
    route("GET", "/api/v1/docs/search", "active", processing.search),
    route("GET", "/api/v1/docs/:doc_id", "active", documents.detail),
    route("GET", "/api/v1/docs/:doc_id/status", "active", processing.status),
    route("GET", "/api/v1/docs/:doc_id/content", "active", processing.content),
    route("POST", "/api/v1/docs/:doc_id/reprocess", "active", processing.reprocess),
    route("GET", "/api/v1/docs/:doc_id/download", "active", documents.download),
    route("DELETE", "/api/v1/docs/:doc_id", "admin", documents.remove),

    route("GET", "/api/v1/paths", "active", paths.list),
    route("POST", "/api/v1/paths", "admin", paths.create),
    route("GET", "/api/v1/paths/:path_id", "active", paths.detail),
    route("PATCH", "/api/v1/paths/:path_id", "admin", paths.update),
    route("DELETE", "/api/v1/paths/:path_id", "admin", paths.remove),

    route("GET", "/api/v1/logs", "admin", logs.list),
  ];
}

/** The rows that only `ENVIRONMENT=dev` has. */
export function devTable(reference: ReturnType<typeof createReferenceRoutes>): AppRoute[] {
  return [
    route("GET", "/docs", "public", reference.swaggerUi),
    route("GET", "/docs/:file", "public", reference.swaggerUiFile),
    route("GET", "/redoc", "public", reference.redoc),
    route("GET", "/redoc/:file", "public", reference.redocFile),
    route("GET", "/openapi.json", "public", reference.json),
    route("GET", "/openapi.yaml", "public", reference.yaml),
  ];
}
