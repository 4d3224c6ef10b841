import { apiSuite, type CallOptions } from "../support/app.ts";
import { play } from "./scenarios.ts";

const KINDS: [kind: string, text: string, msg: RegExp][] = [
  ["a control character", "report\u0007a", /control characters/],
  ["a direction override", "report\u202efdp.exe", /bidirectional/],
  ["an isolate", "report\u2066a", /bidirectional/],
  ["only invisible characters", "\u200b\u2060\u200b\u2060\u200b\u2060\u200b", /visible/],
  ["only combining marks", "\u0301\u0302\u0303\u0304\u0305\u0306\u0307", /combining mark/],
  ["a combining mark at its beginning", "\u0301report", /combining mark/],
];
const file = (filename: string) => ({ name: "file", filename, data: "bytes" });
const account = { full_name: "Anna Example", email: "shown@example.com", password: "Passw0rd!" };

/** Each field that other people read, and a request that sets it. */
const FIELDS: [field: string, at: string, request: (text: string) => CallOptions][] = [
  [
    "full_name",
    "POST /api/v1/auth/register",
    (text) => ({ json: { ...account, full_name: text } }),
  ],
  ["username", "POST /api/v1/auth/register", (text) => ({ json: { ...account, username: text } })],
  ["full_name", "PATCH /api/v1/users/me", (text) => ({ as: "user", json: { full_name: text } })],
  ["username", "PATCH /api/v1/users/me", (text) => ({ as: "user", json: { username: text } })],
  ["full_name", "PATCH /api/v1/users/1", (text) => ({ as: "admin", json: { full_name: text } })],
  ["username", "PATCH /api/v1/users/1", (text) => ({ as: "admin", json: { username: text } })],
  [
    "full_path",
    "POST /api/v1/paths",
    (text) => ({ as: "admin", json: { full_path: `a/${text}` } }),
  ],
  [
    "description",
    "POST /api/v1/paths",
    (text) => ({ as: "admin", json: { full_path: "shown", description: text } }),
  ],
  ["full_path", "PATCH /api/v1/paths/2", (text) => ({ as: "admin", json: { full_path: text } })],
  [
    "description",
    "PATCH /api/v1/paths/2",
    (text) => ({ as: "admin", json: { description: text } }),
  ],
  ["file", "POST /api/v1/docs/upload", (text) => ({ as: "user", multipart: [file(text)] })],
  [
    "description",
    "POST /api/v1/docs/upload",
    (text) => ({
      as: "user",
      multipart: [{ name: "description", value: text }, file("shown.txt")],
    }),
  ],
];

apiSuite("text that other people read", (suite) => {
  for (const [field, at, request] of FIELDS) {
    for (const [kind, text, msg] of KINDS) {
      suite.test(`${at} refuses ${field} with ${kind}`, async (app, t) => {
        const { body } = await play(app, { title: kind, at, status: 422, ...request(text) });
        const issue = body.detail.find(({ loc }: { loc: string[] }) => loc.at(-1) === field);
        t.assert.deepEqual(issue?.loc, ["body", field]);
        t.assert.match(issue?.msg ?? "", msg);
      });
    }
  }
});
