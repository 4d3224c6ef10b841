import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import {
  apiSuite,
  PASSWORD,
  type Person,
  type Suite,
  startTestApp,
  type TestApp,
} from "../support/app.ts";
import type { Answer } from "../support/client.ts";
import { memoryInUse } from "../support/memory.ts";
import { watchPasswordJobs } from "../support/password-threads.ts";
import { until } from "../support/wait.ts";

const LIMITS = {
  TRUST_PROXY: "yes",
  AUTH_RATE_PER_ADDRESS: "30",
  AUTH_RATE_PER_ACCOUNT: "10",
};

function login(app: TestApp, from: string, username: string, password = PASSWORD): Promise<Answer> {
  return app.call("POST", "/api/v1/auth/login", {
    form: { username, password },
    headers: { "X-Forwarded-For": from },
  });
}

const refresh = (app: TestApp, from: string, token: string) =>
  app.call("POST", "/api/v1/auth/refresh", { as: token, headers: { "X-Forwarded-For": from } });

/** The comparisons of bcrypt until now. */
let comparisons = 0;
watchPasswordJobs(({ kind }) => {
  if (kind === "compare") comparisons++;
});

/** Wrong passwords for one account, one from each address, a few at a time. */
async function guess(app: TestApp, email: string, addresses: readonly string[]) {
  const statuses = new Map<number, number>();
  const next = addresses.entries();
  const guesser = async () => {
    for (const [index, address] of next) {
      const { status } = await login(app, address, email, `guess ${index}`);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 8 }, guesser));
  return statuses;
}

const hex = (number: number) => number.toString(16);
const range = (length: number, make: (index: number) => string) =>
  Array.from({ length }, (_, index) => make(index));

/** As many tokens as a bucket of 10 gives in the time since. */
const meant = (started: number) => 10 + Math.ceil((performance.now() - started) / 6000);

const ATTACKS: Record<string, string[]> = {
  "1,000 addresses of one /64": range(1000, (i) => `2001:db8:0:1:${hex(i)}::${hex(i + 1)}`),
  "1,000 networks": range(1000, (i) => `2001:db8:${hex(i + 1)}::1`),
  "1,000 IPv4 addresses": range(1000, (i) => `10.1.${i >> 8}.${i & 255}`),
};

function attacks({ testAlone }: Suite): void {
  for (const [name, addresses] of Object.entries(ATTACKS)) {
    testAlone(`guesses from ${name} have one account's bucket`, { env: LIMITS }, async (app) => {
      const owner = await app.person();
      const home = "192.0.2.1";
      assert.equal((await login(app, home, owner.email)).status, 200);
      const started = performance.now();
      comparisons = 0;
      const statuses = await guess(app, owner.email, addresses);
      assert.deepEqual([...statuses.keys()].sort(), [401, 429]);
      // The owner took one of the ten before the address was known.
      assert.ok((statuses.get(401) ?? 0) >= 9);
      assert.ok(comparisons <= meant(started), `${comparisons} comparisons`);
      // Where the owner signed in before, guesses from elsewhere don't count.
      for (let again = 0; again < 5; again++)
        assert.equal((await login(app, home, owner.email)).status, 200);
      assert.equal((await login(app, `::ffff:${home}`, owner.email)).status, 200);
      // It is known for this account and for no other.
      const other = await app.person();
      await guess(
        app,
        other.email,
        range(12, (i) => `203.0.113.${i}`),
      );
      assert.equal((await login(app, home, other.email)).status, 429);
    });
  }

  testAlone("a known address has a bucket, not a licence", { env: LIMITS }, async (app) => {
    const owner = await app.person();
    assert.equal((await login(app, "2001:db8::1", owner.email)).status, 200);
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++)
      statuses.push((await login(app, `2001:db8::${i + 1}`, owner.email, "x")).status);
    assert.deepEqual(statuses.slice(0, 10), Array(10).fill(401));
    assert.equal(statuses[11], 429);
    // Whoever has learnt of it can't empty it by its name.
    const forged = await login(app, "203.0.113.1", `${owner.email} 2001:db8:0:0`, "x");
    assert.equal(forged.status, 401);
    // The account's own bucket is as it was.
    assert.equal((await login(app, "203.0.113.2", owner.email)).status, 200);
  });

  testAlone("an account has one bucket, however it is written", { env: LIMITS }, async (app) => {
    const { email } = await app.person();
    const wide = (text: string) =>
      text.replace(/[a-z]/g, (letter) => String.fromCodePoint(letter.charCodeAt(0) + 0xfee0));
    const spellings = [email, email.toUpperCase(), ` ${email}\t`, `\u3000${email}`];
    // SQL Server's collations hold wide and narrow letters equal.
    for (let i = 1; i <= 8; i++) spellings.push(wide(email.slice(0, i)) + email.slice(i));
    const statuses: number[] = [];
    for (const [i, spelling] of spellings.entries())
      statuses.push((await login(app, `203.0.113.${i}`, spelling, "x")).status);
    assert.deepEqual(statuses, [...Array(10).fill(401), 429, 429]);
  });

  testAlone("where a session is refreshed is known too", { env: LIMITS }, async (app) => {
    // As after a restart of the server: no login that it would remember.
    const owner = await app.person();
    assert.equal((await refresh(app, "192.0.2.1", owner.refreshToken)).status, 200);
    await guess(
      app,
      owner.email,
      range(12, (i) => `203.0.113.${i}`),
    );
    assert.equal((await login(app, "192.0.2.2", owner.email)).status, 429);
    assert.equal((await login(app, "192.0.2.1", owner.email)).status, 200);
  });

  testAlone("an address has one bucket, however it is written", { env: LIMITS }, async (app) => {
    const spellings = [
      "2001:db8::7",
      "2001:DB8::7",
      "2001:0db8:0000:0000:0000:0000:0000:0007",
      "2001:db8:0:0:ffff::",
      "2001:db8::7%eth0",
      "[2001:db8::9]:443",
    ];
    const statuses: number[] = [];
    for (let i = 0; i < 36; i++) {
      const spelling = spellings[i % spellings.length] as string;
      statuses.push((await login(app, spelling, `guess${i}@example.com`, "x")).status);
    }
    assert.deepEqual(statuses.slice(0, 30), Array(30).fill(401));
    assert.ok(statuses.slice(31).includes(429), statuses.join());
    const mapped = [
      "192.0.2.9",
      "::ffff:192.0.2.9",
      "::FFFF:c000:0209",
      "0:0:0:0:0:ffff:192.0.2.9",
    ];
    const refused: number[] = [];
    for (let i = 0; i < 36; i++) {
      const spelling = mapped[i % mapped.length] as string;
      refused.push((await login(app, spelling, `guess${i}@example.net`, "x")).status);
    }
    assert.deepEqual(refused.slice(0, 30), Array(30).fill(401));
    assert.ok(refused.slice(31).includes(429), refused.join());
  });
}

function refreshes({ testAlone }: Suite): void {
  const env = { ...LIMITS, AUTH_RATE_PER_ACCOUNT: "2" };

  testAlone("a dead refresh token spends nobody's tokens", { env }, async (app) => {
    const owner = await app.person();
    const statuses = async (from: string, token: string, times: number) => {
      const found: number[] = [];
      for (let i = 0; i < times; i++) found.push((await refresh(app, from, token)).status);
      return found;
    };
    const dead: Person = await app.person();
    await app.app.database.run("UPDATE Sessions SET revoked_at = @now WHERE user_id = @id", {
      now: new Date(),
      id: dead.id,
    });
    assert.deepEqual(await statuses("192.0.2.1", dead.refreshToken, 20), Array(20).fill(401));
    // The same person's other session, and anybody else's, have all of theirs.
    const again = await login(app, "192.0.2.2", dead.email);
    assert.deepEqual(await statuses("192.0.2.2", again.body.refresh_token, 3), [200, 200, 429]);
    assert.deepEqual(await statuses("192.0.2.3", owner.refreshToken, 3), [200, 200, 429]);
    // The address is counted, whatever the token.
    const rest = await statuses("192.0.2.1", dead.refreshToken, 12);
    assert.deepEqual([rest[0], rest.at(-1)], [401, 429]);
  });
}

function abandoned({ testAlone }: Suite): void {
  const options = { passwordCost: 12 };

  testAlone("112 abandoned logins don't keep the next one waiting", options, async (app) => {
    const owner = await app.person();
    comparisons = 0;
    const logins = Array.from({ length: 112 }, (_, i) => {
      const { request: left } = app.open("POST", "/api/v1/auth/login", {
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      });
      left.on("error", () => {});
      left.end(new URLSearchParams({ username: `left${i}@example.com`, password: "x" }).toString());
      return left;
    });
    const answered = (status: number) => app.lines.filter((line) => line.status === status).length;
    await until(() => answered(503) > 0, "the queue is full");
    for (const left of logins) left.destroy();
    await until(() => answered(499) > 20, "the server has learnt that they are gone");
    assert.equal((await login(app, "192.0.2.1", owner.email)).status, 200);
    assert.ok(comparisons < 20, `${comparisons} comparisons`);
  });
}

/** On the embedded engine alone, and without the checks of every answer: they take longer than the logins. */
test("10,000 logins from 10,000 addresses take a bounded memory", async () => {
  const app = await startTestApp({ env: { ...LIMITS, LOG_LEVEL: "error" } });
  try {
    const statuses = new Map<number, number>();
    const next = range(10_000, (i) => `2001:db8:${hex(i + 1)}::1`).entries();
    const agent = new Agent({ keepAlive: true });
    const visitor = async () => {
      for (const [index, address] of next) {
        const answered = request(`${app.url}/api/v1/auth/login`, {
          method: "POST",
          agent,
          headers: {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Forwarded-For": address,
          },
        });
        answered.end(`username=visitor${index}%40example.com&password=x`);
        const [response] = await once(answered, "response");
        await buffer(response);
        statuses.set(response.statusCode, (statuses.get(response.statusCode) ?? 0) + 1);
      }
    };
    const before = memoryInUse().heapUsed;
    await Promise.all(Array.from({ length: 8 }, visitor));
    assert.deepEqual([...statuses], [[401, 10_000]]);
    const megabytes = (memoryInUse().heapUsed - before) / 2 ** 20;
    assert.ok(megabytes < 100, `${megabytes} MB`);
    agent.destroy();
  } finally {
    await app.close();
  }
});

apiSuite("guessing", (suite) => {
  attacks(suite);
  refreshes(suite);
  abandoned(suite);
});
