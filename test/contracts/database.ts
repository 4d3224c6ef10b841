import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type Database,
  escapeLike,
  ForeignKeyViolation,
  type Queryable,
  UniqueViolation,
} from "../../src/data/database.ts";
import { transactionPromises } from "./database-transactions.ts";

/** Names a promise, and tests it on a database of its own. */
export type Promised = (
  title: string,
  body: (database: Database, made: DatabaseUnderTest) => Promise<void>,
) => void;

/** An empty, migrated database of its own. */
export interface DatabaseUnderTest {
  database: Database;
  /** Another connection to the same data, as another process would have; undefined where there can be none. */
  another(): Promise<Database> | undefined;
  dispose(): Promise<void>;
}

export const NOON = new Date("2026-02-26T12:00:00.123Z");

export function user(name: string): Record<string, string | boolean | null | Date> {
  return {
    username: name,
    full_name: name,
    email: `${name}@example.com`,
    password_hash: "x",
    created_at: NOON,
    is_active: true,
    role_id: null,
  };
}

function outbox(body: string): Record<string, string | number | null | Date> {
  return { doc_id: null, queue: "q", message_id: "m", body, created_at: NOON, attempts: 0 };
}

export async function countUsers(q: Queryable): Promise<number> {
  return (await q.first<{ total: number }>("SELECT COUNT(*) AS total FROM Users"))?.total ?? -1;
}

/**
 * What every Database promises. `make` is called once a test. With a `skip` reason the tests are skipped, each by name. Returns
 * how many there are.
 */
export function databaseContract(
  name: string,
  make: () => Promise<DatabaseUnderTest>,
  skip?: string,
): number {
  let count = 0;
  const promise: Promised = (title, body) => {
    count++;
    it(title, { skip: skip ?? false, timeout: 120_000 }, async () => {
      const made = await make();
      try {
        await body(made.database, made);
      } finally {
        await made.dispose();
      }
    });
  };

  describe(`Database contract: ${name}`, () => {
    promise("text of any script comes back as it went in, up to the longest", async (database) => {
      const texts = [
        "تقرير الربع الأول.pdf",
        "😀👩‍👩‍👧‍👦",
        "a'b\"c;--",
        "  spaces  ",
        "",
        "é".repeat(200_000),
        "ا".repeat(4001),
      ];
      for (const body of texts) {
        const id = await database.insert("Outbox", outbox(body), "outbox_id");
        const row = await database.first("SELECT body FROM Outbox WHERE outbox_id = @id", { id });
        assert.deepEqual(row, { body });
      }
    });

    promise(
      "booleans, dates to the millisecond, nulls and large integers come back as they went in",
      async (database) => {
        const userId = await database.insert(
          "Users",
          { ...user("types"), is_active: false },
          "user_id",
        );
        const row = await database.first<Record<string, unknown>>(
          "SELECT is_active AS active, role_id AS role, full_name AS name FROM Users WHERE user_id = @userId",
          { userId },
        );
        assert.deepEqual(row, { active: false, role: null, name: "types" });
        assert.equal(Object.getPrototypeOf(row), Object.prototype);

        for (const number of [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0, 2 ** 31]) {
          const id = await database.insert(
            "Outbox",
            { ...outbox("n"), doc_id: number },
            "outbox_id",
          );
          const found = await database.first("SELECT doc_id FROM Outbox WHERE outbox_id = @id", {
            id,
          });
          assert.deepEqual(found, { doc_id: number });
        }
        for (const text of [
          "2026-02-26T12:00:00.123Z",
          "1999-12-31T23:59:59.999Z",
          "2026-10-25T01:30:00.001Z",
        ]) {
          const created = new Date(text);
          const id = await database.insert(
            "Outbox",
            { ...outbox("d"), created_at: created },
            "outbox_id",
          );
          const found = await database.first<{ created_at: Date }>(
            "SELECT created_at FROM Outbox WHERE outbox_id = @id AND created_at = @created",
            { id, created },
          );
          assert.equal(found?.created_at.toISOString(), text);
        }
      },
    );

    promise("a null goes into a column of any type", async (database) => {
      const id = await database.insert(
        "Outbox",
        { ...outbox("null"), claimed_until: null },
        "outbox_id",
      );
      const row = await database.first(
        "SELECT doc_id, claimed_until, claimed_by FROM Outbox WHERE outbox_id = @id",
        { id },
      );
      assert.deepEqual(row, { doc_id: null, claimed_until: null, claimed_by: null });
    });

    promise(
      "undefined, NaN, unsafe numbers and invalid dates are refused, never bound",
      async (database) => {
        const bad = [
          undefined,
          Number.NaN,
          0.5,
          2 ** 53,
          new Date(Number.NaN),
          {},
          1n,
        ] as unknown as null[];
        for (const value of bad) {
          await assert.rejects(database.all("SELECT @value AS v", { value }), TypeError);
          await assert.rejects(
            database.insert("Roles", { role_name: value }, "role_id"),
            TypeError,
          );
        }
      },
    );

    promise("what stands in a text is no parameter", async (database) => {
      await assert.rejects(database.all("SELECT @a AS a"), TypeError);
      const row = await database.first("SELECT '@b''@d' AS a, @c AS c", { c: "f" });
      assert.deepEqual(row, { a: "@b'@d", c: "f" });
    });

    promise(
      "a value is never SQL, and a name that isn't an identifier is refused",
      async (database) => {
        const full_name = "x'); DELETE FROM Users; --";
        await database.insert("Users", { ...user("bobby"), full_name }, "user_id");
        assert.equal(await countUsers(database), 1);
        for (const evil of ["Users; DROP TABLE Users", "a b", "", "[Users]"]) {
          await assert.rejects(database.insert(evil, user("a"), "user_id"), TypeError);
          await assert.rejects(database.insert("Users", user("a"), evil), TypeError);
          await assert.rejects(database.insert("Users", { [evil]: 1 }, "user_id"), TypeError);
        }
      },
    );

    promise(
      "insert returns the new identity, and a number is never given twice",
      async (database) => {
        const first = await database.insert("Users", user("one"), "user_id");
        const second = await database.insert("Users", user("two"), "user_id");
        assert.ok(Number.isSafeInteger(first) && second > first);
        assert.equal(
          await database.run("DELETE FROM Users WHERE user_id = @second", { second }),
          1,
        );
        assert.ok((await database.insert("Users", user("three"), "user_id")) > second);
      },
    );

    promise("run returns the number of rows it touched", async (database) => {
      for (const name of ["one", "two", "three"])
        await database.insert("Users", user(name), "user_id");
      const params = { active: false, name: "two" };
      const text = "UPDATE Users SET is_active = @active WHERE username <> @name";
      assert.equal(await database.run(text, params), 2);
      assert.equal(await database.run(text, { active: false, name: "x" }), 3);
      assert.equal(
        await database.run("DELETE FROM Users WHERE username = @name", { name: "none" }),
        0,
      );
    });

    promise("text compares without case, also for uniqueness", async (database) => {
      await database.insert("Users", user("Layla"), "user_id");
      const found = await database.first("SELECT username FROM Users WHERE email = @email", {
        email: "LAYLA@EXAMPLE.COM",
      });
      assert.deepEqual(found, { username: "Layla" });
      await assert.rejects(database.insert("Users", user("LAYLA"), "user_id"), UniqueViolation);
    });

    promise("a missing or a used reference is a foreign key violation", async (database) => {
      await assert.rejects(
        database.insert("Users", { ...user("a"), role_id: 12345 }, "user_id"),
        ForeignKeyViolation,
      );
      await database.insert("Users", { ...user("b"), role_id: 99 }, "user_id");
      await assert.rejects(
        database.run("DELETE FROM Roles WHERE role_id = @id", { id: 99 }),
        ForeignKeyViolation,
      );
    });

    promise("pages neither repeat nor skip a row, and may be empty", async (database) => {
      for (let n = 1; n <= 7; n++) await database.insert("Outbox", outbox(String(n)), "outbox_id");
      const page = async (skip: number, limit: number) => {
        const rows = await database.page<{ body: string }>(
          "SELECT body FROM Outbox WHERE queue = @queue ORDER BY outbox_id DESC",
          { queue: "q" },
          { skip, limit },
        );
        return rows.map((row) => row.body).join("");
      };
      assert.deepEqual(
        [await page(0, 3), await page(3, 3), await page(6, 3), await page(9, 3)],
        ["765", "432", "1", ""],
      );
    });

    promise("an escaped LIKE pattern matches itself only", async (database) => {
      for (const body of ["50%", "500", "a_b", "aXb", "[ab]", "a", "c:\\d", "c:d", "\\[x"]) {
        await database.insert("Outbox", outbox(body), "outbox_id");
      }
      for (const [text, expected] of [
        ["50%", "50%"],
        ["a_b", "a_b"],
        ["[ab]", "[ab]"],
        ["c:\\", "c:\\d"],
        ["\\[", "\\[x"],
      ] as const) {
        const rows = await database.all(
          "SELECT body FROM Outbox WHERE body LIKE @pattern ESCAPE '\\'",
          {
            pattern: `%${escapeLike(text)}%`,
          },
        );
        assert.deepEqual(rows, [{ body: expected }], text);
      }
    });

    promise("the functions that statements use mean the same", async (database) => {
      await database.insert("Users", user("Layla"), "user_id");
      const row = await database.first(
        `SELECT CONCAT(username, @suffix) AS joined, COALESCE(role_id, @none) AS role,
           CASE WHEN EXISTS (SELECT 1 FROM Roles WHERE role_id = 99) THEN 1 ELSE 0 END AS present,
           SUBSTRING(username, @start, 3) AS part, LOWER(username) AS small FROM Users`,
        { suffix: "_1", none: -1, start: 2 },
      );
      assert.deepEqual(row, {
        joined: "Layla_1",
        role: -1,
        present: 1,
        part: "ayl",
        small: "layla",
      });
    });

    promise(
      "a table tells its columns and which may be NULL; one that is not, none",
      async (database) => {
        const columns = await database.columns("Roles");
        assert.deepEqual([...columns.keys()].sort(), ["description", "role_id", "role_name"]);
        assert.deepEqual([columns.get("role_name"), columns.get("description")], [false, true]);
        const absent = await database.transaction((tx) => tx.columns("Rag_Ingest"));
        assert.equal(absent.size, 0);
      },
    );

    transactionPromises(promise);

    promise(
      "a statement that makes no sense is an error, and the next one works",
      async (database) => {
        await assert.rejects(database.all("SELECT nothing FROM Nowhere"), Error);
        await assert.rejects(database.all("SELEC 1"), Error);
        await database.ping();
      },
    );

    promise(
      "migrating again does nothing, and two at once don't collide",
      async (database, made) => {
        assert.deepEqual(await database.migrate(), []);
        assert.deepEqual(await database.pendingMigrations(), []);
        await database.run("DELETE FROM Schema_Migrations WHERE name LIKE '0001%'");
        const other = await made.another();
        try {
          const ran = await Promise.all([database.migrate(), (other ?? database).migrate()]);
          assert.deepEqual(ran.flat(), ["0001-reference-tables"]);
        } finally {
          await other?.close();
        }
        const roles = await database.all(
          "SELECT role_id AS id, role_name AS name FROM Roles ORDER BY role_id",
        );
        assert.deepEqual(roles, [
          { id: 1, name: "User" },
          { id: 99, name: "Admin" },
        ]);
        const paths = await database.all("SELECT full_path, depth FROM Virtual_Paths");
        assert.deepEqual(paths, [{ full_path: "/", depth: 0 }]);
      },
    );

    promise("an altered or a newer migration is refused with its name", async (database) => {
      const name = "9999-from-the-future";
      await database.run(
        "INSERT INTO Schema_Migrations (name, checksum, applied_at) VALUES (@name, @sum, @now)",
        {
          name,
          sum: "0".repeat(64),
          now: NOON,
        },
      );
      await assert.rejects(database.migrate(), /newer.*9999-from-the-future/);
      await assert.rejects(database.pendingMigrations(), /newer/);
      await database.run("DELETE FROM Schema_Migrations WHERE name = @name", { name });
      await database.run("UPDATE Schema_Migrations SET checksum = @sum WHERE name LIKE '0002%'", {
        sum: "0".repeat(64),
      });
      await assert.rejects(database.migrate(), /0002-server-tables/);
    });

    promise("another process sees what was committed", async (database, made) => {
      const other = await made.another();
      if (!other) return;
      try {
        const userId = await database.insert("Users", user("shared"), "user_id");
        assert.equal(await countUsers(other), 1);
        await other.run("DELETE FROM Users WHERE user_id = @userId", { userId });
        assert.equal(await countUsers(database), 0);
      } finally {
        await other.close();
      }
    });

    promise("a closed database says that it is not available", async (database) => {
      await database.close();
      await database.close();
      const code = { name: "AppError", code: "unavailable" };
      await assert.rejects(database.all("SELECT 1 AS one"), code);
      await assert.rejects(
        database.transaction(async () => 1),
        code,
      );
      await assert.rejects(database.ping(), code);
    });
  });
  return count;
}
