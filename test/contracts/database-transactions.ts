import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { type Queryable, UniqueViolation } from "../../src/data/database.ts";
import {
  countUsers as countAdmins,
  findUser,
  lockAdmins,
  updateUser,
} from "../../src/data/users.ts";
import { countUsers, NOON, type Promised, user } from "./database.ts";

/** What every Database promises of its transactions. */
export function transactionPromises(promise: Promised): void {
  promise(
    "a transaction commits what its callback did, and returns what it returned",
    async (database) => {
      const id = await database.transaction(async (tx) => {
        const userId = await tx.insert("Users", user("a"), "user_id");
        assert.equal(await countUsers(tx), 1);
        await tx.insert(
          "Logs",
          { log_timestamp: NOON, action_type: "x", user_id: userId },
          "log_id",
        );
        return userId;
      });
      const row = await database.first("SELECT user_id FROM Logs");
      assert.deepEqual(row, { user_id: id });
    },
  );

  promise(
    "a statement that need not be durable is committed, or fails all the same",
    async (database) => {
      const add = () =>
        database.transaction((tx) => tx.insert("Users", user("a"), "user_id"), { durable: false });
      await add();
      await assert.rejects(add(), UniqueViolation);
      assert.equal(await countUsers(database), 1);
    },
  );

  promise("a transaction whose callback throws leaves nothing behind", async (database) => {
    const reason = new Error("no");
    const failing = database.transaction(async (tx) => {
      await tx.insert("Users", user("a"), "user_id");
      throw reason;
    });
    await assert.rejects(failing, (error) => error === reason);
    assert.equal(await countUsers(database), 0);
  });

  promise(
    "a failed statement fails its transaction, even when the callback goes on",
    async (database) => {
      let afterwards: unknown;
      const failing = database.transaction(async (tx) => {
        await tx.insert("Users", user("a"), "user_id");
        await tx.insert("Users", user("a"), "user_id").catch(() => {});
        afterwards = await tx
          .insert("Users", user("b"), "user_id")
          .catch((error: unknown) => error);
      });
      await assert.rejects(failing, UniqueViolation);
      assert.ok(afterwards instanceof Error);
      assert.equal(await countUsers(database), 0);
    },
  );

  const path = (fullPath: string) =>
    [
      `INSERT INTO Virtual_Paths (full_path, depth, description) VALUES (@fullPath, 1, 'an @depth')`,
      { fullPath },
    ] as const;

  promise(
    "deferred statements run in their order, before the next one and before the commit",
    async (database) => {
      const paths = (q: Queryable) =>
        q.all<{ full_path: string; description: string }>(
          "SELECT full_path, description FROM Virtual_Paths WHERE depth = 1 ORDER BY path_id",
        );
      const names = ["first", "it's;\n@fullPath", "last"] as const;
      await database.transaction(async (tx) => {
        await tx.defer(...path(names[0]));
        await tx.defer(...path("to go"));
        await tx.defer("DELETE FROM Virtual_Paths WHERE full_path = @gone", { gone: "to go" });
        const rename = "UPDATE Virtual_Paths SET depth = 1 WHERE full_path = @fullPath";
        assert.equal(await tx.run(rename, { fullPath: names[0] }), 1);
        await tx.defer(...path(names[1]));
        assert.deepEqual(
          (await paths(tx)).map(({ full_path }) => full_path),
          names.slice(0, 2),
        );
        await tx.defer(...path(names[2]));
      });
      const expected = names.map((full_path) => ({ full_path, description: "an @depth" }));
      assert.deepEqual(await paths(database), expected);
      await database.defer("DELETE FROM Virtual_Paths WHERE depth = @depth", { depth: 1 });
      assert.deepEqual(await paths(database), []);
    },
  );

  promise("a deferred statement that fails fails its transaction", async (database) => {
    await database.defer(...path("taken"));
    for (const goesOn of [true, false]) {
      const failing = database.transaction(async (tx) => {
        await tx.insert("Users", user("a"), "user_id");
        await tx.defer(...path("taken"));
        await tx.defer(...path("free"));
        if (goesOn) await tx.insert("Users", user("b"), "user_id");
      });
      await assert.rejects(failing, UniqueViolation);
      assert.equal(await countUsers(database), 0);
    }
    const free = "SELECT path_id FROM Virtual_Paths WHERE full_path = 'free'";
    assert.equal(await database.first(free), undefined);
  });

  promise("no other statement falls into a transaction that is waiting", async (database) => {
    const inside = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const failing = database.transaction(async (tx) => {
      await tx.insert("Users", user("inside"), "user_id");
      inside.resolve();
      await go.promise;
      throw new Error("rolled back");
    });
    await inside.promise;
    const outside = database.insert("Users", user("outside"), "user_id");
    go.resolve();
    await assert.rejects(failing, { message: "rolled back" });
    await outside;
    assert.deepEqual(await database.all("SELECT username FROM Users"), [{ username: "outside" }]);
  });

  promise("of writers that wait together each fails alone", async (database) => {
    const reason = new Error("no");
    const insert = (name: string) => (q: Queryable) => q.insert("Users", user(name), "user_id");
    const outcomes = await Promise.allSettled([
      database.transaction(insert("a")),
      database.transaction(async (tx) => {
        await insert("b")(tx);
        await insert("b2")(tx);
        throw reason;
      }),
      insert("c")(database),
      insert("c")(database),
      database.transaction(async (tx) => {
        await insert("d")(tx);
        await insert("a")(tx).catch(() => {});
      }),
      database.transaction(insert("e"), { durable: false }),
    ]);
    const failures = outcomes.map((outcome) => outcome.status === "rejected" && outcome.reason);
    assert.equal(failures[1], reason);
    assert.ok(failures[4] instanceof UniqueViolation);
    // Of the two statements either may be first.
    const statements = failures.slice(2, 4).filter((failure) => failure instanceof UniqueViolation);
    assert.equal(statements.length, 1);
    assert.deepEqual([failures[0], failures[5]], [false, false]);
    const rows = await database.all<{ name: string }>("SELECT username AS name FROM Users");
    assert.deepEqual(rows.map(({ name }) => name).sort(), ["a", "c", "e"]);
  });

  promise(
    "who is answered finds what they wrote, and others nothing before",
    async (database, made) => {
      const other = (await made.another()) ?? database;
      const written: number[] = [];
      const write = async (n: number) => {
        await database.transaction(async (tx) => {
          await tx.insert("Users", user(`first${n}`), "user_id");
          await new Promise(setImmediate);
          await tx.insert("Users", user(`second${n}`), "user_id");
        });
        written.push(n);
        for (const q of [database, other]) assert.ok((await countUsers(q)) >= 2 * written.length);
      };
      const writing = Promise.all([1, 2, 3, 4].map(write));
      let isDone = false;
      const reading = (async () => {
        while (!isDone) {
          assert.equal((await countUsers(database)) % 2, 0);
          await new Promise(setImmediate);
        }
      })();
      await writing.finally(() => (isDone = true));
      await reading;
      if (other !== database) await other.close();
    },
  );

  promise("two transactions that read, wait and write don't mix", async (database) => {
    const name = "counter";
    const userId = await database.insert("Users", { ...user(name), full_name: "0" }, "user_id");
    const add = () =>
      database.transaction(async (tx) => {
        // The write comes first, so that it locks the row on every engine.
        await tx.run("UPDATE Users SET is_active = @on WHERE user_id = @userId", {
          on: true,
          userId,
        });
        const row = await tx.first<{ n: string }>(
          "SELECT full_name AS n FROM Users WHERE user_id = @userId",
          {
            userId,
          },
        );
        await new Promise(setImmediate);
        const next = String(Number(row?.n) + 1);
        await tx.run("UPDATE Users SET full_name = @next WHERE user_id = @userId", {
          next,
          userId,
        });
      });
    await Promise.all(Array.from({ length: 8 }, add));
    const row = await database.first("SELECT full_name AS n FROM Users WHERE user_id = @userId", {
      userId,
    });
    assert.deepEqual(row, { n: "8" });
  });

  promise("who counts the admins behind the lock sees what others committed", async (database) => {
    const admin = { roleId: 99, isActive: true };
    const last = await database.insert("Users", { ...user("last"), role_id: 99 }, "user_id");
    const other = await database.insert("Users", { ...user("other"), role_id: 1 }, "user_id");
    const hasRead = Promise.withResolvers<void>();
    const othersAreDone = Promise.withResolvers<void>();
    const deactivation = database.transaction(async (tx) => {
      await lockAdmins(tx, 99);
      const before = await findUser(tx, other);
      hasRead.resolve();
      // An engine that let the others through would leave no admin.
      await Promise.race([othersAreDone.promise, delay(300)]);
      if (before?.roleId === 99) return;
      await updateUser(tx, other, { is_active: false });
    });
    await hasRead.promise;
    await database.transaction(async (tx) => {
      await lockAdmins(tx, 99);
      await updateUser(tx, other, { role_id: 99 });
    });
    await database.transaction(async (tx) => {
      await lockAdmins(tx, 99);
      if ((await countAdmins(tx, { ...admin, exceptUserId: last })) > 0)
        await updateUser(tx, last, { role_id: 1 });
    });
    othersAreDone.resolve();
    await deactivation;
    assert.equal(await countAdmins(database, admin), 1);
  });

  promise(
    "statements sent at once inside a transaction run one after the other",
    async (database) => {
      await database.transaction(async (tx) => {
        await Promise.all(["a", "b", "c"].map((name) => tx.insert("Users", user(name), "user_id")));
      });
      assert.equal(await countUsers(database), 3);
    },
  );

  promise(
    "a statement that the callback did not wait for belongs to the transaction",
    async (database) => {
      await database.transaction(async (tx) => {
        void tx.insert("Users", user("late"), "user_id");
      });
      assert.equal(await countUsers(database), 1);
      const failing = database.transaction(async (tx) => {
        tx.insert("Users", user("LATE"), "user_id").catch(() => {});
      });
      await assert.rejects(failing, UniqueViolation);
    },
  );

  promise("a transaction's handle is dead after its end", async (database) => {
    let kept: Queryable | undefined;
    await database.transaction(async (tx) => {
      kept = tx;
    });
    await assert.rejects(async () => kept?.run("DELETE FROM Roles"), /ended/);
    await assert.rejects(async () => kept?.all("SELECT 1 AS one"), /ended/);
  });
}
