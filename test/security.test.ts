import assert from "node:assert/strict";
import crypto, { createHmac } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { after, describe, test } from "node:test";
import bcrypt from "bcryptjs";
import fc from "fast-check";
import { AppError } from "../src/errors.ts";
import type { AccessClaims, Claims, Refusal } from "../src/security/claims.ts";
import { createJwt, InvalidToken } from "../src/security/jwt.ts";
import { createPasswords } from "../src/security/passwords.ts";
import { watchPasswordJobs } from "./support/password-threads.ts";

const SECRET = "a secret of the reference server, long enough";
const NOW = new Date("2026-02-26T14:30:00.123Z");
const SECONDS = Math.floor(NOW.getTime() / 1000);
const ID = "0123456789abcdef0123456789abcdef";

const access: AccessClaims = {
  sub: "7",
  rid: 99,
  type: "access",
  iat: SECONDS,
  exp: SECONDS + 60,
  sid: ID,
};
const refresh: Claims = {
  sub: "7",
  type: "refresh",
  iat: SECONDS,
  exp: SECONDS + 60,
  sid: ID,
  jti: ID,
};

/** RFC 7515 §3.1, written again here so that the server is not checked against itself. */
function mint(
  payload: unknown,
  header: unknown = { alg: "HS256", typ: "JWT" },
  secret = SECRET,
): string {
  const part = (value: unknown) =>
    Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  const input = `${part(header)}.${part(payload)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

function refusal(reason: Refusal) {
  return (error: unknown) => {
    assert.ok(error instanceof InvalidToken, String(error));
    assert.equal(error.reason, reason);
    return true;
  };
}

const claimsArbitrary: fc.Arbitrary<Claims> = fc
  .record({
    userId: fc.integer({ min: 1, max: 2_147_483_647 }),
    rid: fc.option(fc.integer({ min: 1, max: 2_147_483_647 })),
    iat: fc.integer({ min: 0, max: SECONDS }),
    exp: fc.integer({ min: SECONDS + 1, max: 253_402_300_799 }),
    sid: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    jti: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    kind: fc.constantFrom("access", "old access", "refresh"),
  })
  .map(({ userId, rid, iat, exp, sid, jti, kind }): Claims => {
    const id = { sid: Buffer.from(sid).toString("hex") };
    const sub = String(userId);
    if (kind === "refresh") {
      return { sub, type: "refresh", iat, exp, ...id, jti: Buffer.from(jti).toString("hex") };
    }
    return { sub, rid, type: "access", iat, exp, ...(kind === "access" ? id : {}) };
  });

describe("JWT creation", () => {
  const jwt = createJwt({ secret: SECRET, previous: [] });

  test("a token gives back its claims", () => {
    fc.assert(
      fc.property(claimsArbitrary, (claims) =>
        assert.deepEqual(jwt.verify(jwt.sign(claims), NOW), claims),
      ),
    );
  });

  test("a token is the HS256 signature that any other library computes", () => {
    const token = jwt.sign(access);
    const [header = "", payload = "", signature] = token.split(".");
    assert.equal(
      signature,
      createHmac("sha256", SECRET).update(`${header}.${payload}`).digest("base64url"),
    );
    const { kid, ...rest } = JSON.parse(Buffer.from(header, "base64url").toString());
    assert.deepEqual(rest, { alg: "HS256", typ: "JWT" });
    assert.match(kid, /^[0-9a-f]{16}$/);
    assert.deepEqual(JSON.parse(Buffer.from(payload, "base64url").toString()), access);
  });

  test("a client with a plain base64 decoder can read every token", () => {
    fc.assert(
      fc.property(claimsArbitrary, (claims) => {
        const [header = "", payload = ""] = jwt.sign(claims).split(".");
        assert.doesNotMatch(header + payload, /[-_]/);
        assert.deepEqual(JSON.parse(atob(payload)), claims);
      }),
    );
  });

  test("neither the secret nor the id of its key tells the other", () => {
    const id = (secret: string) => {
      const [header = ""] = createJwt({ secret, previous: [] }).sign(access).split(".");
      return JSON.parse(atob(header)).kid;
    };
    assert.equal(id(SECRET), id(SECRET));
    assert.notEqual(id(SECRET), id(`${SECRET}!`));
  });

  test("an empty secret is refused, current or previous", () => {
    assert.throws(() => createJwt({ secret: "", previous: [] }), TypeError);
    assert.throws(() => createJwt({ secret: SECRET, previous: [""] }), TypeError);
  });
});

describe("JWT decoding", () => {
  const jwt = createJwt({ secret: SECRET, previous: [] });

  test("tokens of the reference server are accepted", () => {
    const { sid, ...old } = access;
    assert.deepEqual(jwt.verify(mint(old), NOW), old);
    assert.deepEqual(jwt.verify(mint({ ...old, rid: null }, { typ: "JWT", alg: "HS256" }), NOW), {
      ...old,
      rid: null,
    });
    assert.deepEqual(jwt.verify(mint(access, { alg: "HS256" }), NOW), { ...old, sid });
  });

  test("the key is the secret's text in UTF-8, in any script", () => {
    const secret = "مفتاح سري طويل بما يكفي للتوقيع";
    const arabic = createJwt({ secret, previous: [] });
    assert.deepEqual(arabic.verify(mint(access, undefined, secret), NOW), access);
  });

  test("a previous key verifies, with and without a key id, and never signs", () => {
    const newer = createJwt({
      secret: "the newer secret, quite as long",
      previous: ["unused", SECRET],
    });
    assert.deepEqual(newer.verify(jwt.sign(access), NOW), access);
    assert.deepEqual(newer.verify(mint(access), NOW), access);
    assert.throws(() => jwt.verify(newer.sign(access), NOW), refusal("unknown_key"));
    assert.throws(
      () =>
        createJwt({ secret: "the newer secret, quite as long", previous: [] }).verify(
          mint(access),
          NOW,
        ),
      refusal("signature"),
    );
  });

  test("a key id picks its key and no other", () => {
    const newer = createJwt({ secret: "the newer secret, quite as long", previous: [SECRET] });
    const [header = ""] = newer.sign(access).split(".");
    const forged = mint(access, Buffer.from(header, "base64url").toString());
    assert.throws(() => newer.verify(forged, NOW), refusal("signature"));
    for (const kid of ["", "0123456789abcdef", null, 7, ["x"], {}]) {
      assert.throws(
        () => newer.verify(mint(access, { alg: "HS256", kid }), NOW),
        refusal("unknown_key"),
      );
    }
  });

  const badHeaders: [string, unknown][] = [
    ["none", { alg: "none" }],
    ["None", { alg: "None" }],
    ["no algorithm", { typ: "JWT" }],
    ["null", { alg: null }],
    ["another case", { alg: "hs256" }],
    ["another hash", { alg: "HS512" }],
    ["a public-key algorithm", { alg: "RS256" }],
    ["a list", { alg: ["HS256"] }],
    ["an algorithm by prototype", '{"__proto__":{"alg":"HS256"}}'],
    ["an unknown critical extension", { alg: "HS256", crit: ["exp"], exp: 1 }],
    ["an empty crit", { alg: "HS256", crit: [] }],
    ["a null crit", { alg: "HS256", crit: null }],
    ["an unencoded payload", { alg: "HS256", b64: false, crit: ["b64"] }],
    ["another type", { alg: "HS256", typ: "at+jwt" }],
    ["a nested token", { alg: "HS256", typ: "JOSE" }],
    ["a null type", { alg: "HS256", typ: null }],
  ];
  for (const [name, header] of badHeaders) {
    test(`a header with ${name} is refused, however well it is signed`, () => {
      assert.throws(() => jwt.verify(mint(access, header), NOW), refusal("header"));
    });
  }

  test("a token with alg none and no signature is refused", () => {
    const [header, payload] = mint(access, { alg: "none" }).split(".");
    assert.throws(() => jwt.verify(`${header}.${payload}.`, NOW), refusal("header"));
    const [good, claims] = mint(access).split(".");
    assert.throws(() => jwt.verify(`${good}.${claims}.`, NOW), refusal("signature"));
  });

  const notTokens: [string, string][] = [
    ["nothing", ""],
    ["two parts", mint(access).split(".").slice(0, 2).join(".")],
    ["four parts", `${mint(access)}.`],
    ["five parts", `${mint(access)}.a.b`],
    ["a leading space", ` ${mint(access)}`],
    ["a trailing line break", `${mint(access)}\n`],
    ["padding", `${mint(access)}=`],
    ["a header that is a list", mint(access, [])],
    ["a header that is null", mint(access, "null")],
    ["a header that is not JSON", mint(access, "{")],
    ["a header behind a byte-order mark", mint(access, '\uFEFF{"alg":"HS256"}')],
    ["a payload that is a list", mint([])],
    ["a payload that is text", mint('"x"')],
    ["a payload that is not JSON", mint("{'sub': 7}")],
    ["an empty payload", mint("")],
  ];
  for (const [name, token] of notTokens) {
    test(`${name} is malformed`, () => {
      assert.throws(() => jwt.verify(token, NOW), refusal("malformed"));
    });
  }

  test("a payload that is not UTF-8 is malformed", () => {
    const json = JSON.stringify({ ...access, name: "?" });
    const payload = Buffer.from(json);
    payload[json.indexOf("?")] = 0xff;
    const input = `${Buffer.from('{"alg":"HS256"}').toString("base64url")}.${payload.toString("base64url")}`;
    const token = `${input}.${createHmac("sha256", SECRET).update(input).digest("base64url")}`;
    assert.throws(() => jwt.verify(token, NOW), refusal("malformed"));
  });

  test("a token over 4096 characters is not read", () => {
    const padded = (length: number) => mint({ ...access, padding: "x".repeat(length) });
    assert.ok(padded(2800).length < 4096);
    assert.deepEqual(jwt.verify(padded(2800), NOW), access);
    assert.throws(() => jwt.verify(padded(3100), NOW), refusal("too_long"));
    assert.throws(() => jwt.verify(".".repeat(10_000_000), NOW), refusal("too_long"));
  });

  const at = (changes: object) => () => jwt.verify(mint({ ...access, ...changes }), NOW);

  test("exp is compared to the second it names, without leeway", () => {
    assert.throws(at({ exp: SECONDS }), refusal("expired"));
    assert.throws(at({ exp: SECONDS - 1_000_000 }), refusal("expired"));
    assert.doesNotThrow(at({ exp: SECONDS + 1 }));
    const token = mint({ ...access, exp: SECONDS + 1 });
    assert.doesNotThrow(() => jwt.verify(token, new Date((SECONDS + 1) * 1000 - 1)));
    assert.throws(() => jwt.verify(token, new Date((SECONDS + 1) * 1000)), refusal("expired"));
  });

  test("a token of the future is refused beyond a minute", () => {
    assert.doesNotThrow(at({ iat: SECONDS + 60, exp: SECONDS + 200 }));
    assert.throws(at({ iat: SECONDS + 61, exp: SECONDS + 200 }), refusal("not_yet_valid"));
    assert.doesNotThrow(at({ nbf: SECONDS + 60, exp: SECONDS + 200 }));
    assert.throws(at({ nbf: SECONDS + 61, exp: SECONDS + 200 }), refusal("not_yet_valid"));
  });

  test("times that are not finite numbers are refused", () => {
    for (const name of ["exp", "iat", "nbf"]) {
      for (const value of [null, String(SECONDS + 60), true, [SECONDS], {}]) {
        assert.throws(at({ [name]: value }), refusal("claims"), `${name} ${JSON.stringify(value)}`);
      }
      const infinite = JSON.stringify({ ...access, [name]: "?" }).replace('"?"', "1e999");
      assert.throws(() => jwt.verify(mint(infinite), NOW), refusal("claims"), name);
    }
    for (const name of ["exp", "iat"]) {
      const { [name]: _, ...rest } = access as unknown as Record<string, unknown>;
      assert.throws(() => jwt.verify(mint(rest), NOW), refusal("claims"), name);
    }
  });
});

describe("token type validation", () => {
  const jwt = createJwt({ secret: SECRET, previous: [] });

  test("a refresh token reads as one, an access token as the other", () => {
    assert.equal(jwt.verify(jwt.sign(access), NOW).type, "access");
    assert.equal(jwt.verify(jwt.sign(refresh), NOW).type, "refresh");
  });

  test("any other type is refused", () => {
    for (const type of [undefined, null, "", "Access", "reset", 1, ["access"], "__proto__"]) {
      assert.throws(() => jwt.verify(mint({ ...access, type }), NOW), refusal("type"));
    }
  });

  test("a subject is a positive SQL integer in decimal text", () => {
    const bad = [
      "",
      "0",
      "-1",
      "07",
      "7.0",
      "1e3",
      " 7",
      "7\n",
      "٧",
      "2147483648",
      "99999999999",
      7,
      null,
      undefined,
      ["7"],
    ];
    for (const sub of bad) {
      assert.throws(
        () => jwt.verify(mint({ ...access, sub }), NOW),
        refusal("claims"),
        String(sub),
      );
    }
    assert.equal(jwt.verify(mint({ ...access, sub: "2147483647" }), NOW).sub, "2147483647");
  });

  test("a role is an integer or null", () => {
    for (const rid of ["99", 1.5, true, {}]) {
      assert.throws(() => jwt.verify(mint({ ...access, rid }), NOW), refusal("claims"));
    }
    const { rid, ...withoutRole } = access;
    assert.deepEqual(jwt.verify(mint(withoutRole), NOW), { ...access, rid: null });
  });

  test("session and token ids are 32 lower-case hexadecimal digits; a refresh token has both", () => {
    for (const id of ["", ID.slice(1), `${ID}0`, ID.toUpperCase(), `${ID}\n`, 7, null]) {
      assert.throws(() => jwt.verify(mint({ ...access, sid: id }), NOW), refusal("claims"));
      assert.throws(() => jwt.verify(mint({ ...refresh, sid: id }), NOW), refusal("claims"));
      assert.throws(() => jwt.verify(mint({ ...refresh, jti: id }), NOW), refusal("claims"));
    }
    assert.throws(() => jwt.verify(mint({ ...refresh, sid: undefined }), NOW), refusal("claims"));
    assert.throws(() => jwt.verify(mint({ ...refresh, jti: undefined }), NOW), refusal("claims"));
  });

  test("claims that nobody asked for do not come out", () => {
    const claims = jwt.verify(mint({ ...access, is_admin: true, jti: ID, nbf: SECONDS }), NOW);
    assert.deepEqual(claims, access);
  });
});

describe("tamper detection", () => {
  const jwt = createJwt({ secret: SECRET, previous: ["a previous secret"] });

  test("signatures are compared in constant time", (t) => {
    const compare = t.mock.method(crypto, "timingSafeEqual");
    syncBuiltinESMExports();
    try {
      const token = mint(access);
      assert.deepEqual(jwt.verify(token, NOW), access);
      assert.throws(() => jwt.verify(mint(access, undefined, "x"), NOW), refusal("signature"));
      const signature = Buffer.from(token.split(".")[2] as string, "base64url");
      assert.deepEqual(compare.mock.calls[0]?.arguments, [signature, signature]);
      // The second one with each of the two keys.
      assert.equal(compare.mock.callCount(), 3);
    } finally {
      compare.mock.restore();
      syncBuiltinESMExports();
    }
  });
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

  test("every other character in every place of a token is noticed", () => {
    for (const token of [jwt.sign(access), jwt.sign(refresh), mint(access)]) {
      for (let place = 0; place < token.length; place += 1) {
        for (const character of `${alphabet}.=+/ é`) {
          if (character === token[place]) continue;
          const changed = token.slice(0, place) + character + token.slice(place + 1);
          assert.throws(() => jwt.verify(changed, NOW), InvalidToken, `${place} ${character}`);
        }
      }
    }
  });

  test("a character more or less is noticed", () => {
    const token = jwt.sign(access);
    for (let place = 0; place <= token.length; place += 1) {
      for (const character of "A.= \n") {
        const longer = token.slice(0, place) + character + token.slice(place);
        assert.throws(() => jwt.verify(longer, NOW), InvalidToken);
      }
      if (place === token.length) continue;
      assert.throws(
        () => jwt.verify(token.slice(0, place) + token.slice(place + 1), NOW),
        InvalidToken,
      );
    }
  });

  test("the stray bits of the last signature character are noticed", () => {
    const token = jwt.sign(access);
    const last = alphabet.indexOf(token.at(-1) as string);
    for (const stray of [1, 2, 3]) {
      const changed = token.slice(0, -1) + alphabet[last ^ stray];
      const bytes = (text: string) => Buffer.from(text.split(".")[2] as string, "base64url");
      assert.deepEqual(bytes(changed), bytes(token));
      assert.throws(() => jwt.verify(changed, NOW), refusal("malformed"));
    }
  });

  test("the parts of two good tokens make no third", () => {
    const [header, , signature] = jwt.sign(access).split(".");
    const [, payload] = jwt.sign({ ...access, sub: "1" }).split(".");
    assert.throws(() => jwt.verify(`${header}.${payload}.${signature}`, NOW), refusal("signature"));
  });

  test("a token signed with another secret, or with none, is refused", () => {
    assert.throws(() => jwt.verify(mint(access, undefined, "another"), NOW), refusal("signature"));
    assert.throws(() => jwt.verify(mint(access, undefined, ""), NOW), refusal("signature"));
  });

  test("no text makes it throw anything but InvalidToken", () => {
    const part = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json().map((text) => Buffer.from(text).toString("base64url")),
      fc.constantFrom(...mint(access).split(".")),
    );
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(part).map((parts) => parts.join(".")),
    );
    fc.assert(
      fc.property(texts, (text) => {
        if (text === mint(access)) return;
        assert.throws(() => jwt.verify(text, NOW), InvalidToken);
      }),
      { numRuns: 1000 },
    );
  });

  test("no signed JSON makes it throw anything but InvalidToken", () => {
    const header = fc.oneof(
      fc.record({ alg: fc.constant("HS256"), kid: fc.jsonValue() }, { requiredKeys: ["alg"] }),
      fc.jsonValue(),
    );
    const keys = ["sub", "rid", "type", "iat", "exp", "sid", "jti", "nbf", "__proto__"];
    const payload = fc.oneof(
      fc.jsonValue(),
      fc
        .dictionary(fc.constantFrom(...keys), fc.jsonValue())
        .map((changes) => ({ ...access, ...changes })),
    );
    fc.assert(
      fc.property(header, payload, (h, p) => {
        try {
          assert.match(
            jwt.verify(mint(JSON.stringify(p), JSON.stringify(h)), NOW).type,
            /^(access|refresh)$/,
          );
        } catch (error) {
          assert.ok(error instanceof InvalidToken, String(error));
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("a refusal repeats nothing of the token", () => {
    const token = mint(access, undefined, "another");
    assert.throws(
      () => jwt.verify(token, NOW),
      (error: Error) => !token.split(".").some((piece) => error.message.includes(piece)),
    );
  });
});

describe("password hashing", () => {
  const passwords = createPasswords({ cost: 4, threads: 2 });
  after(() => passwords.close());

  /** bcrypt's versions differ in name alone for such a password. */
  const salted = bcrypt.hashSync("Correct horse 1!", 4);

  test("a hash is $2b$ with the configured cost, and salted", async () => {
    const [one, two] = await Promise.all([
      passwords.hash("Pass word 1!"),
      passwords.hash("Pass word 1!"),
    ]);
    assert.match(one, /^\$2b\$04\$[./A-Za-z0-9]{53}$/);
    assert.notEqual(one, two);
    assert.ok(bcrypt.compareSync("Pass word 1!", one));
  });

  test("the cost is 12 unless told otherwise", async () => {
    const standard = createPasswords({ threads: 1 });
    try {
      assert.match(await standard.hash("Pass word 1!"), /^\$2b\$12\$/);
    } finally {
      await standard.close();
    }
  });

  test("the right password matches and no other does", async () => {
    const hash = await passwords.hash("كلمة سر طويلة 1!");
    assert.equal(await passwords.verify("كلمة سر طويلة 1!", hash), true);
    for (const wrong of ["", "كلمة سر طويلة 1", "كلمة سر طويلة 1! ", "x"]) {
      assert.equal(await passwords.verify(wrong, hash), false, wrong);
    }
  });

  test("hashes of the reference system verify, whatever their prefix", async () => {
    for (const prefix of ["$2a$", "$2b$", "$2y$"]) {
      const hash = prefix + salted.slice(4);
      assert.equal(await passwords.verify("Correct horse 1!", hash), true, prefix);
      assert.equal(await passwords.verify("Correct horse 2!", hash), false, prefix);
    }
    // Published vectors of the crypt_blowfish and pyca/bcrypt test suites.
    const published: [string, string][] = [
      ["U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"],
      ["Kk4DQuMMfZL9o", "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"],
    ];
    for (const [password, hash] of published)
      assert.equal(await passwords.verify(password, hash), true);
  });

  const malformed = [
    "",
    "x",
    "plain text password",
    "$2b$04$",
    salted.slice(0, -1),
    `${salted}x`,
    `${salted}\n`,
    ` ${salted.slice(0, -1)}`,
    salted.replace("$2b$", "$2x$"),
    salted.replace("$2b$", "$3b$"),
    salted.replace("$04$", "$03$"),
    salted.replace("$04$", "$31$"),
    salted.replace("$04$", "$99$"),
    salted.replace("$04$", "$4x$"),
    `${salted.slice(0, -1)}=`,
    `${salted.slice(0, 10)}é${salted.slice(11)}`,
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
    "$2b$04$".padEnd(60, "\0"),
  ];
  test("what is no hash of bcrypt matches nothing and throws nothing", async () => {
    for (const hash of malformed) {
      assert.equal(await passwords.verify("Correct horse 1!", hash), false, JSON.stringify(hash));
    }
  });

  test("a password over 72 bytes is never cut: it gets no hash and matches none", async () => {
    const longest = "é".repeat(36);
    const hash = await passwords.hash(longest);
    assert.equal(await passwords.verify(longest, hash), true);
    assert.equal(await passwords.verify(`${longest}x`, hash), false);
    assert.equal(await passwords.verify(longest + "x".repeat(100_000), hash), false);
    assert.equal(await passwords.verify(`${longest}x`, await passwords.hash("")), false);
    await assert.rejects(passwords.hash(`${longest}x`), (error: unknown) => {
      assert.ok(error instanceof AppError);
      assert.equal(error.code, "bad_request");
      assert.doesNotMatch(error.message, /éé/);
      return true;
    });
  });

  test("a NUL or half a character is refused: bcrypt would take different passwords for the same", async () => {
    const hash = await passwords.hash("abc");
    assert.ok(bcrypt.compareSync("abc\0abc", hash), "bcrypt repeats its key after a NUL");
    assert.equal(await passwords.verify("abc\0abc", hash), false);
    for (const password of ["abc\0abc", "\0", "\ud800 Pass 1"]) {
      await assert.rejects(passwords.hash(password), AppError);
      assert.equal(await passwords.verify(password, hash), false);
    }
  });

  test("an unknown address, an unusable password and a malformed hash cost a comparison at the configured cost", async () => {
    const jobs: { kind: string; hash: string }[] = [];
    const stop = watchPasswordJobs((job) => jobs.push(job as (typeof jobs)[number]));
    const standard = createPasswords({ cost: 5, threads: 1 });
    try {
      assert.equal(await standard.verify("x", undefined), false);
      assert.equal(await standard.verify("é".repeat(100), undefined), false);
      assert.equal(await standard.verify("x", "no hash"), false);
      assert.equal(await standard.verify("é".repeat(100), salted), false);
    } finally {
      stop();
      await standard.close();
    }
    assert.deepEqual(
      jobs.map(({ kind, hash }) => [kind, hash.slice(0, 7), hash.length]),
      [
        ["compare", "$2b$05$", 60],
        ["compare", "$2b$05$", 60],
        ["compare", "$2b$05$", 60],
        ["compare", "$2b$04$", 60],
      ],
    );
  });
});
