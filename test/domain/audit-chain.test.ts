import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { loadConfig } from "../../src/config.ts";
import type { Database, Queryable } from "../../src/data/database.ts";
import { deleteUser, insertUser } from "../../src/data/users.ts";
import { type Action, type Actor, type Audit, SYSTEM } from "../../src/domain/audit.ts";
import { openEpochs, type Secrets } from "../../src/domain/audit-keys.ts";
import type { Epoch } from "../../src/domain/audit-macs.ts";
import { openTrail, sealEpoch } from "../../src/domain/audit-trail.ts";
import { type Anchor, verifyTrail } from "../../src/domain/audit-verify.ts";
import { AppError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";
import { openDatabase } from "../../src/parts.ts";
import { ENGINES, type Engine } from "../support/engines.ts";
import { silent } from "../support/sqlserver.ts";
import { until } from "../support/wait.ts";

const CLI = join(import.meta.dirname, "../../src/cli/cli.ts");
const WRITER = join(import.meta.dirname, "audit-writer.ts");
const [A, B, C] = ["a", "b", "c"].map((letter) => letter.repeat(40)) as [string, string, string];

/** A migrated database that several handles and processes can open. */
async function make(t: Pick<TestContext, "after">, engine: Engine) {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-audit-"));
  const { env, remove } = await engine.open();
  const variables = { ENVIRONMENT: "test", DATA_DIR: folder, ...env };
  const opened: Database[] = [];
  const another = async () => {
    const database = await openDatabase(loadConfig(variables), silent);
    opened.push(database);
    return database;
  };
  t.after(async () => {
    for (const database of opened) await database.close();
    await remove();
    await rm(folder, { recursive: true });
  });
  const database = await another();
  await database.migrate();
  return { database, another, env: variables };
}

/** Of so many on a slow machine some find no connection in time. */
async function patiently(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof AppError && error.code === "unavailable")) throw error;
    await patiently(work);
  }
}

const trailOf = (database: Database, secrets: Secrets, log = silent) =>
  openTrail({ database, secrets, now: () => new Date(), log });

function write(
  database: Database,
  audit: Audit,
  details: Record<string, unknown> = {},
  { action = "path_create", actor = SYSTEM }: { action?: Action; actor?: Actor } = {},
) {
  return database.transaction((tx) => audit.record(tx, action, actor, 7, details));
}

async function user(database: Database, name: string): Promise<number> {
  return insertUser(database, {
    fullName: "Amina Haddad",
    email: `${name}@example.com`,
    username: name,
    passwordHash: "-",
    createdAt: new Date(),
    isActive: true,
    roleId: null,
  });
}

async function epochOf(database: Database, secrets: Secrets): Promise<Epoch> {
  return (await openEpochs(database, secrets, silent)).at(-1) as Epoch;
}

/** What a verification says, in one text. */
async function say(q: Queryable, secrets: Secrets, anchor?: Anchor): Promise<string> {
  const { isWhole, lines } = await verifyTrail(q, secrets, anchor);
  assert.equal(
    lines.some((line) => line.startsWith("BROKEN: ")),
    !isWhole,
  );
  return lines.join("\n");
}

async function assertWhole(database: Database, secrets: Secrets, rows: number, epoch = 1) {
  const said = await say(database, secrets);
  assert.doesNotMatch(said, /BROKEN/);
  assert.match(
    said,
    new RegExp(
      `^epoch ${epoch}: ${rows} rows, and 0 not sealed yet; head ${epoch}:${rows}:\\w{64}$`,
      "m",
    ),
  );
}

async function anchorOf(database: Queryable, secrets: Secrets): Promise<Anchor> {
  const said = await say(database, secrets);
  const [, epoch, length, mac] = /head (\d+):(\d+):(\w{64})/.exec(said) ?? [];
  return { epoch: Number(epoch), length: Number(length), mac: String(mac) };
}

const at = (sequence: number) => `chain_sequence = ${sequence}`;
const run =
  (...statements: string[]) =>
  async (tx: Queryable) => {
    for (const statement of statements)
      assert.ok((await tx.run(statement)) > 0, `${statement} has touched no row`);
  };
const COPY = `INSERT INTO Logs
  (log_timestamp, action_type, user_id, entity_id, details, row_mac, chain_epoch, chain_sequence, chain_mac)
  SELECT log_timestamp, action_type, user_id, entity_id, details, row_mac, chain_epoch`;

/** A sealed trail of 10 rows, written by a user; then two rows that wait, and one outside. */
const TAMPERS: [what: string, tamper: (tx: Queryable) => Promise<void>, named: RegExp][] = [
  [
    "details are changed",
    run(`UPDATE Logs SET details = REPLACE(details, '192.0.2.7', '192.0.2.8') WHERE ${at(4)}`),
    /row 4 \(sequence 4\) was changed/,
  ],
  [
    "an action is changed",
    run(`UPDATE Logs SET action_type = 'login' WHERE ${at(1)}`),
    /row 1 \(sequence 1\) was changed/,
  ],
  [
    "what it happened to is changed",
    run(`UPDATE Logs SET entity_id = 8 WHERE ${at(10)}`),
    /row 10 \(sequence 10\) was changed/,
  ],
  [
    "a time is changed",
    run(`UPDATE Logs SET log_timestamp = '2020-01-01' WHERE ${at(5)}`),
    /row 5 \(sequence 5\) has another log_timestamp/,
  ],
  [
    "another user is blamed",
    run(`UPDATE Logs SET user_id = 2 WHERE ${at(5)}`),
    /row 5 \(sequence 5\) has another user_id/,
  ],
  [
    "the first of two changes is named",
    run(`UPDATE Logs SET entity_id = 8 WHERE ${at(9)} OR ${at(3)}`),
    /row 3 \(sequence 3\) was changed/,
  ],
  [
    "a row is removed",
    run(`DELETE FROM Logs WHERE ${at(5)}`),
    /row 6 \(sequence 6\) does not follow: the row of sequence 5, after row 4, was removed/,
  ],
  [
    "the first row is removed",
    run(`DELETE FROM Logs WHERE ${at(1)}`),
    /row 2 \(sequence 2\) does not follow: the row of sequence 1, the first, was removed/,
  ],
  [
    "a row is removed and the gap closed",
    run(
      `DELETE FROM Logs WHERE ${at(5)}`,
      "UPDATE Logs SET chain_sequence = chain_sequence - 1 WHERE chain_sequence > 5",
    ),
    /row 6 \(sequence 5\) is not where it was sealed/,
  ],
  [
    "a row is taken out of the chain",
    run(`UPDATE Logs SET chain_epoch = NULL, row_mac = NULL WHERE ${at(5)}`),
    /the row of sequence 5, after row 4, was removed/,
  ],
  [
    "a row is taken back to those that wait",
    run(`UPDATE Logs SET chain_sequence = NULL, chain_mac = NULL WHERE ${at(5)}`),
    /the row of sequence 5, after row 4, was removed/,
  ],
  [
    "two rows change places",
    run(
      `UPDATE Logs SET chain_sequence = 100 WHERE ${at(3)}`,
      `UPDATE Logs SET chain_sequence = 3 WHERE ${at(6)}`,
      `UPDATE Logs SET chain_sequence = 6 WHERE ${at(100)}`,
    ),
    /row 6 \(sequence 3\) is not where it was sealed/,
  ],
  [
    "two rows change their contents",
    run(
      `UPDATE Logs SET details = (SELECT x.details FROM Logs x WHERE x.${at(6)}),
         row_mac = (SELECT x.row_mac FROM Logs x WHERE x.${at(6)}),
         log_timestamp = (SELECT x.log_timestamp FROM Logs x WHERE x.${at(6)}) WHERE ${at(3)}`,
    ),
    /row 3 \(sequence 3\) is not where it was sealed/,
  ],
  [
    "the last rows are cut off",
    run("DELETE FROM Logs WHERE chain_sequence >= 8"),
    /the last 3 rows were cut off, after row 7 \(sequence 7\)/,
  ],
  [
    "all rows are cut off",
    run("DELETE FROM Logs WHERE chain_epoch = 1"),
    /the last 10 rows were cut off, from the first on/,
  ],
  [
    "the last rows are cut off and the head counts less",
    run(
      "DELETE FROM Logs WHERE chain_sequence >= 8",
      "UPDATE Audit_Heads SET length = 7",
      `UPDATE Audit_Heads SET last_mac = (SELECT x.chain_mac FROM Logs x WHERE x.${at(7)})`,
    ),
    /epoch 1: its head was changed/,
  ],
  [
    "a row is appended to the chain",
    run(`${COPY}, 11, chain_mac FROM Logs WHERE ${at(10)}`),
    /row \d+ \(sequence 11\) is not where it was sealed/,
  ],
  [
    "a row is made up",
    run(
      `INSERT INTO Logs (log_timestamp, action_type, details, row_mac, chain_epoch)
         VALUES ('2026-01-01', 'login', '{"actor_id":1}', '${"0".repeat(64)}', 1)`,
    ),
    /row \d+ \(not sealed\) was changed or forged/,
  ],
  [
    "a row is made up with what isn't JSON, a sequence that nobody gives and no mac",
    run(
      `INSERT INTO Logs (log_timestamp, action_type, details, chain_epoch, chain_sequence)
         VALUES ('2026-01-01', 'login', 'x', 1, -5)`,
    ),
    /row \d+ \(sequence -5\) was inserted: its sequence is another's or nobody's/,
  ],
  [
    "a sealed row is copied",
    run(`${COPY}, NULL, NULL FROM Logs WHERE ${at(4)}`),
    /row \d+ was inserted: it is a copy of row 4/,
  ],
  [
    "a sealed row is copied, sequence and all",
    run(`${COPY}, 4, chain_mac FROM Logs WHERE ${at(4)}`),
    /row \d+ \(sequence 4\) was inserted: its sequence is another's/,
  ],
  [
    "a row that waits is copied",
    run(`${COPY}, NULL, NULL FROM Logs WHERE log_id = 12`),
    /row \d+ was inserted: it is a copy of row 12/,
  ],
  [
    "a row that waits is changed",
    run("UPDATE Logs SET entity_id = 8 WHERE log_id = 12"),
    /row 12 \(not sealed\) was changed/,
  ],
  [
    "the head's mac is changed",
    run(`UPDATE Audit_Heads SET head_mac = '${"0".repeat(64)}'`),
    /epoch 1: its head was changed/,
  ],
  [
    "the head's key is changed",
    run("UPDATE Audit_Heads SET wrapped_key = 'AAAA'"),
    /epoch 1: can't be proven/,
  ],
  [
    "the head is removed",
    run("DELETE FROM Audit_Heads"),
    /the trail has no head[\s\S]*row 1: the head of its epoch 1 was removed/,
  ],
  [
    "everything is removed",
    run("DELETE FROM Audit_Heads", "DELETE FROM Logs"),
    /the trail has no head/,
  ],
];

for (const engine of ENGINES) {
  describe(`The audit trail, on ${engine.name}`, () => {
    describe("names what breaks it", () => {
      const ends: (() => Promise<void>)[] = [];
      let database: Database;
      before(async () => {
        ({ database } = await make({ after: (end) => ends.push(end as never) }, engine));
        const [amina] = [await user(database, "amina"), await user(database, "other")];
        const actor = { userId: amina, address: "192.0.2.7", requestId: "r" };
        const trail = await trailOf(database, [A]);
        for (let n = 0; n < 10; n++) await write(database, trail.audit, { n }, { actor });
        await trail.close();
        for (let n = 0; n < 2; n++) await write(database, trail.audit, { n }, { actor });
        await database.run("INSERT INTO Logs (log_timestamp, action_type) VALUES (@at, 'other')", {
          at: new Date(),
        });
      });
      after(async () => {
        for (const end of ends) await end();
      });

      test("and says what is there when nothing does", async () => {
        const said = await say(database, [A]);
        assert.match(
          said,
          /^epoch 1: 10 rows, and 2 not sealed yet; head 1:10:\w{64}\noutside .*: 1 rows, the newest is row 13$/,
        );
        assert.equal(await say(database, [A], await anchorOf(database, [A])), said);
      });

      /** What a verification says after `tamper`, which is taken back. */
      async function saidAfter(tamper: (tx: Queryable) => Promise<void>, anchor?: Anchor) {
        let said = "";
        const undone = new Error("undone");
        const tampered = database.transaction(async (tx) => {
          await tamper(tx);
          said = await say(tx, [A], anchor);
          throw undone;
        });
        await assert.rejects(tampered, undone);
        return said;
      }

      for (const [what, tamper, named] of TAMPERS) {
        test(what, async () => {
          const said = await saidAfter(tamper);
          assert.match(said, named);
          assert.match(said, /^BROKEN: /m);
        });
      }

      test("an older copy of rows and head, told by a head that was printed later", async () => {
        const older = await anchorOf(database, [A]);
        const old = await database.first<Record<string, string>>(
          "SELECT length AS length, last_mac AS lastMac, head_mac AS headMac FROM Audit_Heads",
        );
        await sealEpoch(database, await epochOf(database, [A]));
        const newer = await anchorOf(database, [A]);
        assert.equal(newer.length, 12);
        assert.doesNotMatch(await say(database, [A], older), /BROKEN/, "it is still in the trail");
        const restore = async (tx: Queryable) => {
          await run("DELETE FROM Logs WHERE chain_sequence > 10")(tx);
          await tx.run(
            "UPDATE Audit_Heads SET length = @length, last_mac = @lastMac, head_mac = @headMac",
            old,
          );
        };
        assert.doesNotMatch(await saidAfter(restore), /BROKEN/, "without it nothing can tell");
        assert.match(await saidAfter(restore, newer), /the head that was given is not in it/);
        const mac = newer.mac.replace(/./, (digit) => (digit === "0" ? "1" : "0"));
        assert.match(await say(database, [A], { ...newer, mac }), /head that was given is not in/);
        assert.match(await say(database, [A], { ...newer, epoch: 2 }), /epoch 2, which is not in/);
      });
    });

    test("is whole after 1,000 rows of four handles that write and seal at once", async (t) => {
      const { another, database } = await make(t, engine);
      const handles = await Promise.all(Array.from({ length: 4 }, another));
      const trails = await Promise.all(handles.map((handle) => trailOf(handle, [A])));
      const epoch = await epochOf(database, [A]);
      await Promise.all(
        handles.map(async (handle, index) => {
          const { audit } = trails[index] as (typeof trails)[number];
          const rows = Array.from({ length: 250 }, (_, n) =>
            patiently(() => write(handle, audit, { index, n })),
          );
          for (let round = 0; round < 5; round++) {
            await rows[round * 50];
            await patiently(() => sealEpoch(handle, epoch));
          }
          await Promise.all(rows);
        }),
      );
      // On a slow machine their last sealing takes too long.
      await Promise.allSettled(trails.map((trail) => trail.close()));
      await patiently(() => sealEpoch(database, epoch));
      await assertWhole(database, [A], 1000);
      const heads = await database.first("SELECT COUNT(*) AS heads FROM Audit_Heads");
      assert.deepEqual(heads, { heads: 1 });
    });

    test("is whole after 1,000 rows of four processes", async (t) => {
      const { database, env } = await make(t, engine);
      const exits = Array.from({ length: 4 }, async () => {
        const writer = spawn(process.execPath, ["--import", "tsx", WRITER, "250"], {
          env: { ...process.env, ...env, AUDIT_KEY: A },
          stdio: ["ignore", "inherit", "inherit"],
        });
        t.after(() => writer.kill());
        return (await once(writer, "exit"))[0];
      });
      assert.deepEqual(await Promise.all(exits), [0, 0, 0, 0]);
      await sealEpoch(database, await epochOf(database, [A]));
      await assertWhole(database, [A], 1000);
    });

    test("can be verified while it grows", async (t) => {
      const { another, database } = await make(t, engine);
      const trail = await trailOf(database, [A]);
      const epoch = await epochOf(database, [A]);
      const reader = await another();
      let isWriting = true;
      const writing = (async () => {
        for (let n = 0; n < 300; n++) {
          await write(database, trail.audit, { n });
          if (n % 7 === 0) await sealEpoch(database, epoch);
        }
        isWriting = false;
      })();
      while (isWriting) {
        assert.doesNotMatch(await say(reader, [A]), /BROKEN/);
        // Reads alone would never let the writer's turn come.
        await new Promise(setImmediate);
      }
      await writing;
      await trail.close();
      await assertWhole(reader, [A], 300);
    });

    test("is whole after the JWT key was rotated and AUDIT_KEY set, then the old keys dropped", async (t) => {
      const { database } = await make(t, engine);
      let rows = 0;
      for (const secrets of [[A], [B, A], [B], [C, B], [C, A], [C]] as Secrets[]) {
        const trail = await trailOf(database, secrets);
        await write(database, trail.audit);
        await trail.close();
        await assertWhole(database, secrets, ++rows);
      }
      assert.match(await say(database, [A, B]), /epoch 1: can't be proven/, "no old key opens it");
    });

    test("goes on in a new epoch when the key is lost, and says so", async (t) => {
      const { database } = await make(t, engine);
      const first = await trailOf(database, [A]);
      await write(database, first.audit);
      await first.close();
      const errors: unknown[] = [];
      const log: Logger = { ...silent, error: (message) => errors.push(message) };
      const second = await trailOf(database, [B], log);
      assert.deepEqual(errors, [
        "no key opens the audit trail: a new epoch begins, the old one can't be proven",
      ]);
      // A server of before, that has not stopped yet.
      await write(database, first.audit);
      await write(database, second.audit);
      await second.close();
      const said = await say(database, [B]);
      assert.match(said, /^BROKEN: epoch 1: can't be proven/m);
      assert.match(said, /^epoch 2: 1 rows, and 0 not sealed yet/m);
      assert.match(await say(database, [B, A]), /^epoch 1: 1 rows, and 1 not sealed yet/m);

      // The key is found: the epoch that is written to stays, the rows that waited are sealed.
      const third = await trailOf(database, [B, A], log);
      await third.close();
      assert.match(
        await say(database, [B]),
        /^epoch 1: 2 rows, and 0[\s\S]*^epoch 2: 1 rows, and 0/m,
      );
      assert.equal(errors.length, 1);

      await database.run("DELETE FROM Logs WHERE chain_epoch = 1");
      await database.run("DELETE FROM Audit_Heads WHERE epoch = 1");
      assert.match(await say(database, [B]), /^BROKEN: epoch 1 was removed/);
    });

    test("begins once when servers start at the same time", async (t) => {
      const { another, database } = await make(t, engine);
      const handles = await Promise.all(Array.from({ length: 6 }, another));
      const epochs = await Promise.all(handles.map((handle) => epochOf(handle, [A])));
      assert.equal(new Set(epochs.map(({ key }) => key.toString("hex"))).size, 1);
      await assertWhole(database, [A], 0);
    });

    test("keeps what a deleted user did", async (t) => {
      const { database } = await make(t, engine);
      const id = await user(database, "gone");
      const actor = { userId: id, address: "192.0.2.7", requestId: "r" };
      const trail = await trailOf(database, [A]);
      await write(database, trail.audit, {}, { actor });
      await sealEpoch(database, await epochOf(database, [A]));
      await write(database, trail.audit, {}, { actor });
      await database.transaction((tx) => deleteUser(tx, id));
      await trail.close();
      await assertWhole(database, [A], 2);
      const rows = await database.all<{ userId: number | null; details: string }>(
        "SELECT user_id AS userId, details FROM Logs",
      );
      for (const { userId, details } of rows)
        assert.deepEqual([userId, JSON.parse(details).actor_id], [null, id]);
    });

    test("takes any text, and no detail takes the place of who and when", async (t) => {
      const { database } = await make(t, engine);
      const trail = await trailOf(database, [A]);
      const texts = [
        `"},"actor_id":99,"x":{"`,
        "a\r\nX-Injected: yes\n\t\\ \\u0000 \0 \x7f\u2028",
        "../../etc/passwd%00 C:\\x ' ; DROP TABLE Logs; -- @at [x] %_",
        "سلمى \u202eحداد e\u0301 😀 👩‍👩‍👧 \ud800 trailing  ",
        "long ".repeat(5000),
      ];
      const actor = { userId: null, address: texts[0] ?? "", requestId: texts[1] ?? "" };
      for (const text of texts)
        await write(
          database,
          trail.audit,
          { text, [text.slice(0, 9)]: text, actor_id: 99, at: "never", event_id: "none" },
          { actor },
        );
      await trail.close();
      await assertWhole(database, [A], texts.length);
      const rows = await database.all<{ details: string; at: Date }>(
        "SELECT details, log_timestamp AS at FROM Logs ORDER BY log_id",
      );
      for (const [index, row] of rows.entries()) {
        const { text, event_id, ...rest } = JSON.parse(row.details);
        assert.equal(text, texts[index]);
        assert.match(event_id, /^[0-9a-f-]{36}$/);
        assert.deepEqual(
          [rest.actor_id, rest.address, rest.request_id],
          [null, ...texts.slice(0, 2)],
        );
        assert.ok(Math.abs(Date.parse(rest.at) - Number(row.at)) <= 4);
      }
    });

    test("is sealed soon after something was recorded, and what is forged is left out", async (t) => {
      const { database } = await make(t, engine);
      const trail = await trailOf(database, [A]);
      const sealed = async () =>
        (await database.first<{ length: number }>("SELECT length AS length FROM Audit_Heads"))
          ?.length;
      await database.run(
        `INSERT INTO Logs (log_timestamp, action_type, details, row_mac, chain_epoch)
         VALUES ('2026-01-01', 'login', '{"actor_id":1}', '${"0".repeat(64)}', 1)`,
      );
      await write(database, trail.audit);
      await until(async () => (await sealed()) === 1, "the first row to be sealed", 10_000);
      await write(database, trail.audit);
      await until(async () => (await sealed()) === 2, "the second row to be sealed", 10_000);
      assert.match(await say(database, [A]), /row 1 \(not sealed\) was changed or forged/);

      await database.run("UPDATE Audit_Heads SET length = 1");
      await write(database, trail.audit);
      await assert.rejects(
        trail.close(),
        /The head of epoch 1 of the audit trail was tampered with/,
      );
      assert.equal(await sealed(), 1, "nothing was sealed on such a head");
    });

    test("is written or not with what it records", async (t) => {
      const { database } = await make(t, engine);
      const trail = await trailOf(database, [A]);
      const failure = new Error("not to be");
      const failed = database.transaction(async (tx) => {
        await trail.audit.record(tx, "path_create", SYSTEM, 1);
        throw failure;
      });
      await assert.rejects(failed, failure);
      await write(database, trail.audit);
      await trail.close();
      await assertWhole(database, [A], 1);
    });

    test("npm run verify-audit: 0 when whole, 1 when broken, 64 for what is no head", async (t) => {
      const { database, env } = await make(t, engine);
      const verify = async (args: string[] = [], keys: Record<string, string> = {}) => {
        const { PATH, HOME } = process.env;
        const child = spawn(process.execPath, [CLI, "verify-audit", ...args], {
          env: { PATH, HOME, ...env, JWT_SECRET_KEY: A, ...keys },
        });
        let text = "";
        for (const stream of [child.stdout, child.stderr])
          stream.setEncoding("utf8").on("data", (chunk) => {
            text += chunk;
          });
        const [code] = await once(child, "close");
        return { code, text };
      };
      const none = await verify();
      assert.deepEqual([none.code, /the trail has no head/.test(none.text)], [1, true]);
      const trail = await trailOf(database, [A]);
      await write(database, trail.audit);
      await trail.close();
      const whole = await verify();
      assert.equal(whole.code, 0, whole.text);
      assert.match(whole.text, /The audit trail is whole\.\n$/);
      const head = /head (\S+)/.exec(whole.text)?.[1] ?? "";
      assert.equal((await verify(["--head", head])).code, 0);
      const { code, text } = await verify(["--head", head.replace(":1:", ":2:")]);
      assert.deepEqual([code, /BROKEN: .*head that was given/.test(text)], [1, true]);
      assert.equal((await verify(["--head", "1:2"])).code, 64);
      const rotated = { JWT_SECRET_KEY: B, JWT_SECRET_KEY_PREVIOUS: A };
      assert.equal((await verify([], rotated)).code, 0);
      assert.equal((await verify([], { AUDIT_KEY: A, JWT_SECRET_KEY: B })).code, 0);
      assert.equal((await verify([], { JWT_SECRET_KEY: B })).code, 1);
      await database.run("DELETE FROM Logs WHERE chain_sequence = 1");
      const broken = await verify();
      assert.equal(broken.code, 1);
      assert.match(
        broken.text,
        /^BROKEN: epoch 1: the last 1 rows were cut off[\s\S]*is broken\.\n$/,
      );
    });
  });
}
