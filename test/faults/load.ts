import { hash } from "node:crypto";
import type { Answer, Part } from "../support/client.ts";
import { until } from "../support/wait.ts";
import type { Account, Tree, Upload } from "./ledger.ts";
import type { Random } from "./random.ts";
import type { Rig } from "./rig.ts";

/** One of the mixed clients: a user with a tree of paths and documents that are theirs alone. */
export interface Client {
  name: string;
  userId: number;
  account: Account;
  token: string;
  tree: Tree;
  random: Random;
}

const SUFFIXES = ["", "/فرع", "/فرع/leaf"];

/** Registers a user, lets them in and makes their paths, on a server that nobody kills. */
export async function createClient(rig: Rig, name: string, random: Random): Promise<Client> {
  const admin = await rig.admin();
  const account = newAccount(rig, name);
  const [password = ""] = account.passwords;
  const { email } = account;
  const json = { full_name: `Client ${name}`, email, password };
  const { body } = await rig.expect(201, "POST", "/auth/register", undefined, { json });
  account.registered = "yes";
  await rig.expect(200, "PATCH", `/users/${body.user_id}`, admin, { json: { role_id: 1 } });
  await rig.expect(200, "PATCH", `/users/${body.user_id}/activate`, admin);
  const tree: Tree = { paths: [], names: new Set([`tree-${name}`]) };
  for (const suffix of SUFFIXES) {
    const full_path = `tree-${name}${suffix}`;
    const made = await rig.expect(201, "POST", "/paths", admin, { json: { full_path } });
    tree.paths.push({ id: made.body.id, suffix });
  }
  rig.ledger.trees.push(tree);
  const token = await rig.login({ email, password });
  return { name, userId: body.user_id, account, token, tree, random };
}

function newAccount(rig: Rig, name: string): Account {
  const account: Account = {
    email: `${name}@example.com`,
    registered: "unknown",
    passwords: new Set([`Passw0rd! of ${name}`]),
    hasChanged: false,
  };
  rig.ledger.accounts.push(account);
  return account;
}

/** Milliseconds. */
const NEWS = 3_000;

/** No answer came, as the server was killed. */
export class NoAnswer extends Error {}

/** A request whose missing answer is told by `NoAnswer`, and is a complaint without a kill. */
async function ask(rig: Rig, ...request: Parameters<Rig["call"]>): Promise<Answer> {
  const server = await rig.untilUp();
  try {
    return await rig.call(...request);
  } catch (error) {
    // The news of a server's end may come after the end of its connections.
    await until(() => rig.server !== server, "the server's end", NEWS).catch(() => {});
    if (rig.server === server) {
      const [method, path] = request;
      rig.ledger.complain(`no answer from a living server: ${method} ${path}: ${error}`);
    }
    throw new NoAnswer();
  }
}

/** Complains of a status that no fault explains; says whether it is the one wanted. */
function isGood(rig: Rig, answer: Answer, what: string, wanted: number): boolean {
  if (answer.status !== wanted)
    rig.ledger.complain(`${what}: ${answer.status} ${answer.bytes.toString().slice(0, 200)}`);
  return answer.status === wanted;
}

type Act = (rig: Rig, client: Client) => Promise<void>;

const MEGABYTE = 1024 * 1024;

const upload: Act = (rig, client) => {
  const { random } = client;
  const large = random.next() < 0.06;
  const size = large ? random.between(MEGABYTE, 4 * MEGABYTE) : random.between(1, 60_000);
  return uploadOf(rig, client, size);
};

async function uploadOf(rig: Rig, client: Client, size: number): Promise<void> {
  const { random, token, userId, tree } = client;
  const data = random.bytes(size);
  const noted = rig.ledger.begin(rig.ledger.newName(), data, userId);
  const top = await topOf(rig, client);
  const full_path = top + random.pick(tree.paths).suffix;
  const fields: Part[] = [
    { name: "full_path", value: full_path },
    { name: "file", filename: noted.filename, data },
  ];
  if (random.next() < 0.3) fields.reverse();
  const answer = await ask(rig, "POST", "/docs/upload", token, { multipart: fields });
  noted.stored = answer.status === 503 ? "unknown" : "no";
  if (!isGood(rig, answer, "upload", 201)) return;
  Object.assign(noted, { stored: "yes", docId: answer.body.doc_id, url: answer.body.path });
}

const download: Act = async (rig, { random, token, userId }) => {
  const mine = rig.ledger.present(userId);
  if (mine.length === 0) return;
  const { docId, sha256, filename } = random.pick(mine);
  const answer = await ask(rig, "GET", `/docs/${docId}/download`, token);
  if (
    isGood(rig, answer, `download of ${filename}`, 200) &&
    hash("sha256", answer.bytes) !== sha256
  )
    rig.ledger.complain(`wrong bytes downloaded: ${filename}`);
};

const list: Act = async (rig, { token }) => {
  isGood(rig, await ask(rig, "GET", "/docs/me?limit=20", token), "list", 200);
};

async function removeDocument(rig: Rig, document: Upload): Promise<void> {
  document.deleted = "unknown";
  const admin = await rig.admin();
  const answer = await ask(rig, "DELETE", `/docs/${document.docId}?force=true`, admin);
  if (isGood(rig, answer, "delete", 200)) document.deleted = "yes";
}

const remove: Act = async (rig, { random, userId }) => {
  const mine = rig.ledger.present(userId);
  if (mine.length > 0) await removeDocument(rig, random.pick(mine));
};

/** The name of the tree's top: where a rename had no answer the server is asked. */
async function topOf(rig: Rig, { tree, token }: Client): Promise<string> {
  if (tree.names.size > 1) {
    const { body } = await ask(rig, "GET", `/paths/${tree.paths[0]?.id}`, token);
    if (!tree.names.has(body.full_path)) rig.ledger.complain(`a path is named ${body.full_path}`);
    tree.names = new Set([body.full_path]);
  }
  const [top = ""] = tree.names;
  return top;
}

const rename: Act = async (rig, client) => {
  const { tree, name, random } = client;
  await topOf(rig, client);
  const full_path = `tree-${name}-${random.between(0, 2 ** 30)}`;
  tree.names.add(full_path);
  const admin = await rig.admin();
  const target = `/paths/${tree.paths[0]?.id}`;
  const answer = await ask(rig, "PATCH", target, admin, { json: { full_path } });
  if (isGood(rig, answer, "rename", 200)) tree.names = new Set([full_path]);
};

/** Signs in; where a change had no answer it finds out which password is the one. */
const login: Act = async (rig, client) => {
  const { account } = client;
  for (const password of account.passwords) {
    const form = { username: account.email, password };
    const answer = await ask(rig, "POST", "/auth/login", undefined, { form });
    if (answer.status === 401 && account.passwords.size > 1) account.passwords.delete(password);
    else if (isGood(rig, answer, "login", 200)) {
      account.passwords = new Set([password]);
      client.token = answer.body.access_token;
      return;
    }
  }
};

const changePassword: Act = async (rig, client) => {
  const { account, random } = client;
  if (account.passwords.size > 1) await login(rig, client);
  const [current_password = ""] = account.passwords;
  const new_password = `Passw0rd! number ${random.between(0, 2 ** 30)}`;
  account.passwords.add(new_password);
  account.hasChanged = true;
  const json = { current_password, new_password };
  const answer = await ask(rig, "POST", "/users/me/password", client.token, { json });
  if (isGood(rig, answer, "password change", 204)) account.passwords = new Set([new_password]);
};

const register: Act = async (rig, { name, random }) => {
  const account = newAccount(rig, `${name}-${random.between(0, 2 ** 30)}`);
  const [password] = account.passwords;
  const json = { full_name: "Somebody New", email: account.email, password };
  const answer = await ask(rig, "POST", "/auth/register", undefined, { json });
  if (isGood(rig, answer, "register", 201)) account.registered = "yes";
};

/** What is done at each point of a series of kills; `prepare` is never killed. */
export interface Operation {
  prepare?: Act;
  act: Act;
}

/** A document of theirs is there when it begins. */
async function haveDocument(rig: Rig, client: Client): Promise<void> {
  if (rig.ledger.present(client.userId).length === 0) await upload(rig, client);
}

export const OPERATIONS = {
  // In one piece: each time the same number of effects.
  upload: { act: (rig, client) => uploadOf(rig, client, 1_000) },
  delete: { prepare: haveDocument, act: remove },
  rename: { act: rename },
  "password change": {
    async prepare(rig, client) {
      if (client.account.passwords.size > 1) await login(rig, client);
    },
    act: changePassword,
  },
} as const satisfies Record<string, Operation>;

/** How often of a hundred; hashing takes a third of a second of a core. */
const MIX: [number, Act][] = [
  [46, upload],
  [20, download],
  [13, remove],
  [8, list],
  [8, rename],
  [2, changePassword],
  [2, login],
  [1, register],
];
const ACTS = MIX.flatMap(([count, act]) => Array<Act>(count).fill(act));

/** Acts at random until `signal` is aborted. Kills are waited out. */
export async function act(rig: Rig, client: Client, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await client.random.pick(ACTS)(rig, client);
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
    }
  }
}
