import { get } from "node:http";

/** Milliseconds, less than the image's HEALTHCHECK --timeout. */
const TIMEOUT = 4_000;

// The image's health check: exit code 0 when `GET /` answers 204 in time, else 1.
try {
  process.loadEnvFile(".env");
} catch {
  // The server runs without one too.
}
const { HOST = "", PORT } = process.env;
const loopback: Record<string, string> = { "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1" };
// The global agent may use a proxy (NODE_USE_ENV_PROXY).
const target = { host: loopback[HOST] ?? HOST, port: Number(PORT || 8000), agent: false };
const request = get(target, ({ statusCode }) => process.exit(statusCode === 204 ? 0 : 1));
request.on("error", () => process.exit(1));
setTimeout(() => process.exit(1), TIMEOUT);
