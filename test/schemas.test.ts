import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import type { User } from "../src/data/users.ts";
import {
  email,
  fullName,
  password,
  username,
  usernameFromEmail,
} from "../src/domain/credentials.ts";
import { documentName, fileType } from "../src/domain/filenames.ts";
import { depthOf, newPath, pathUpdate, virtualPath } from "../src/domain/paths.ts";
import { newAccount } from "../src/domain/registration.ts";
import { description, fields, line, text } from "../src/domain/text.ts";
import { adminUpdate, selfUpdate } from "../src/domain/users.ts";
import { AppError } from "../src/errors.ts";

const ARABIC = "كلمةمرورطويلةجدا";
const EMOJI = "😀";
const HALF = "\ud800";

/** Inputs that a schema takes, each with what comes out, and inputs that it refuses. */
function rule(
  name: string,
  schema: v.GenericSchema,
  good: readonly (unknown | [unknown, unknown])[],
  bad: readonly unknown[],
): void {
  test(`${name} takes what it should`, () => {
    for (const item of good) {
      const [input, output] = Array.isArray(item) ? item : [item, item];
      const result = v.safeParse(schema, input);
      assert.ok(
        result.success,
        `${JSON.stringify(input)}: ${result.issues?.map(({ message }) => message)}`,
      );
      assert.deepEqual(result.output, output);
    }
  });
  test(`${name} refuses the rest`, () => {
    for (const input of [...bad, undefined, 7, true]) {
      assert.equal(v.safeParse(schema, input).success, false, String(JSON.stringify(input)));
    }
  });
}

describe("credentials", () => {
  rule(
    "a full name",
    fullName,
    [
      "abcdef",
      "Amina Haddad",
      "x".repeat(60),
      "عبد الله",
      "李小龙先生们",
      ["  Amina Haddad\t", "Amina Haddad"],
      ["cafe\u0301 de la paix", "café de la paix"],
      ["Ａｍｉｎａ\u3000ﬁsch", "Amina fisch"],
      ["\u00a0Amina Haddad", "Amina Haddad"],
      `O'Brien-Smith, Jr. "${EMOJI}"`,
    ],
    [
      "",
      "abcde",
      "     abcde     ",
      "x".repeat(61),
      "Amina\nHaddad",
      "Amina\u0000Haddad",
      "Amina\u0085Haddad",
      `Amina${HALF}Haddad`,
      null,
      {},
    ],
  );
  rule(
    "an address",
    email,
    [
      "a@b.co",
      "first.last+tag@sub.example.com",
      "o'brien@example.com",
      ["  John@Example.COM ", "john@example.com"],
      "x@xn--mgbh0fb.xn--kgbechtv",
      `${"a".repeat(38)}@example.com`,
      "1@2.ab",
    ],
    [
      "",
      "john",
      "@example.com",
      "john@",
      "john@example",
      "john@@example.com",
      "john@example.com@x.com",
      "john doe@example.com",
      ".john@example.com",
      "john.@example.com",
      "jo..hn@example.com",
      "john@-example.com",
      "john@example-.com",
      "john@.example.com",
      "john@example..com",
      "john@example.c",
      "john@example.1",
      "john@127.0.0.1",
      "john@[127.0.0.1]",
      '"john doe"@example.com',
      "jöhn@example.com",
      "john@exämple.com",
      "john@example.com\n.evil.com",
      "john@example.com\r\nBcc: all@example.com",
      `${"a".repeat(39)}@example.com`,
      "john@exa_mple.com",
      "john@example.com.",
      "john@example.com,jane@example.com",
      "<john@example.com>",
      `john${HALF}@example.com`,
      null,
    ],
  );
  rule(
    "a user name",
    username,
    [
      "abc",
      "x".repeat(20),
      "john_doe-1.2",
      "سلمى",
      "李小龍",
      "Ωmega",
      "٣٤٥",
      "...",
      ["e\u0301lise", "élise"],
      ["ａｂｃｄ_x", "abcd_x"],
      ["ﬁsch", "fisch"],
      ["\ufee3\ufeae\ufea3\ufe92\ufe8e", "مرحبا"],
      "كتـاب_x", // a tatweel is a letter of its own
      "हिन्दी",
    ],
    [
      "",
      "ab",
      "x".repeat(21),
      "a b",
      " abc",
      "abc ",
      "a@b",
      "a/b",
      "a:b",
      `abc${EMOJI}`,
      "a\u0000bc",
      "a\u200bbc",
      "a\nbc",
      "abc\n",
      "abc\u00a8", // a blank and a mark in NFKC
      `${"ﷺ".repeat(2)}`, // 36 characters in NFKC
      null,
    ],
  );
  rule(
    "a password",
    password,
    [
      "passw0rd!",
      "1234567!",
      "Passw0rd ",
      `${"a".repeat(62)}1!`,
      `${ARABIC} 7`,
      "كلمة مرور ٧ طويلة",
      `a1${EMOJI.repeat(6)}`,
      "пароль 1",
      "        1", // eight characters and a digit: the blanks are its special ones
      `${"é".repeat(8)}1!${"a".repeat(54)}`, // 64 characters, 72 bytes
    ],
    [
      "",
      "passw0!",
      "password",
      "password!",
      "passw0rd",
      "PASSWORD1",
      `${"a".repeat(63)}1!`,
      ARABIC,
      `${ARABIC}٧`,
      `${"ä".repeat(40)}1!`, // 42 characters, 82 bytes
      `${"é".repeat(9)}1!${"a".repeat(53)}`, // 64 characters, 73 bytes
      `a1${EMOJI.repeat(5)}`, // seven characters
      "passw0rd!\u0000",
      `passw0rd!${HALF}`,
      null,
    ],
  );

  test("a password is never trimmed nor changed", () => {
    for (const secret of [" passw0rd! ", "PÄSSw0rd\u0308!", "e\u0301e\u0301e\u0301 12345"])
      assert.equal(v.parse(password, secret), secret);
  });

  test("no message of a rule repeats what was sent", () => {
    for (const [schema, secret] of [
      [password, "hunter2"],
      [email, "hunter2"],
      [username, "h!"],
      [fullName, "hunt\u0007er2 "],
    ] as const) {
      const { issues } = v.safeParse(schema, secret, { message: "public" });
      for (const { message } of issues ?? []) assert.ok(!message.includes(secret), message);
    }
  });

  test("a user name made of an address satisfies its own rule, with any number", () => {
    assert.equal(usernameFromEmail("john@example.com", 0), "john_example");
    assert.equal(usernameFromEmail("john@example.com", 12), "john_example12");
    assert.equal(usernameFromEmail("a@b.co", 0), "a_b");
    const address = fc
      .tuple(
        fc.stringMatching(
          /^[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,5})?$/,
        ),
        fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?\.[a-z]{2,6}$/),
      )
      .map((parts) => parts.join("@"))
      .filter((text) => v.is(email, text));
    fc.assert(
      fc.property(address, fc.integer({ min: 0, max: 200 }), (sent, rivals) => {
        const names = new Set<string>();
        for (let i = 0; i < rivals; i++) names.add(usernameFromEmail(sent, 100 + i));
        // Names with numbers of other lengths may meet, when the address's own end looks like a number.
        assert.equal(names.size, rivals);
        for (const name of names) assert.ok(v.is(username, name), name);
        for (const number of [0, 1, 99, 2 ** 31])
          assert.ok(v.is(username, usernameFromEmail(sent, number)));
      }),
      { numRuns: 100 },
    );
  });
});

const ACCOUNT = { full_name: "Amina Haddad", email: "amina@example.com", password: "passw0rd!" };

/** A user of an old database, whose names and address today's rules refuse. */
const OLD: User = {
  userId: 7,
  fullName: "Al\u0007",
  email: `${"a".repeat(78)}@example.com`,
  username: "o".repeat(40),
  passwordHash: "",
  createdAt: new Date(0),
  isActive: true,
  roleId: 1,
  roleName: "User",
};
const OLD_NAMES = { full_name: OLD.fullName, username: OLD.username };

describe("bodies", () => {
  rule(
    "a registration",
    newAccount,
    [
      ACCOUNT,
      { ...ACCOUNT, username: "amina" },
      [{ ...ACCOUNT, email: " AMINA@example.com " }, ACCOUNT],
    ],
    [
      {},
      null,
      { ...ACCOUNT, username: undefined },
      { ...ACCOUNT, username: null },
      { ...ACCOUNT, username: "" },
      { ...ACCOUNT, email: undefined },
      { ...ACCOUNT, is_active: true },
      { ...ACCOUNT, role_id: 99 },
      { ...ACCOUNT, "": 1 },
      { ...ACCOUNT, toString: 1 },
      ...Object.keys(ACCOUNT).map((name) =>
        Object.fromEntries(Object.entries(ACCOUNT).filter(([key]) => key !== name)),
      ),
    ],
  );
  rule(
    "a change of one's own",
    selfUpdate(OLD),
    [
      OLD_NAMES,
      {},
      { full_name: "Amina Haddad" },
      { username: "amina" },
      [
        { full_name: " Amina Haddad ", username: "amina" },
        { full_name: "Amina Haddad", username: "amina" },
      ],
    ],
    [
      null,
      { email: "a@b.co" },
      { role_id: 1 },
      { is_active: true },
      { password: "passw0rd!" },
      { full_name: null },
      { username: null },
      { full_name: "short" },
      { username: "ab" },
      { full_name: `${OLD.fullName}o` },
      { username: OLD.username.toUpperCase() },
      { username: OLD.fullName },
    ],
  );
  rule(
    "a change by an admin",
    adminUpdate(OLD),
    [
      { ...OLD_NAMES, email: OLD.email },
      {},
      { role_id: null },
      { role_id: 1 },
      { role_id: 2 ** 53 - 1 },
      { is_active: false },
      [{ email: "A@B.CO" }, { email: "a@b.co" }],
      { full_name: "Amina Haddad", username: "amina" },
    ],
    [
      null,
      { role_id: 0 },
      { role_id: -1 },
      { role_id: 1.5 },
      { role_id: 2 ** 53 },
      { role_id: Number.NaN },
      { role_id: Number.POSITIVE_INFINITY },
      { role_id: "1" },
      { role_id: true },
      { is_active: 1 },
      { is_active: "true" },
      { is_active: null },
      { email: null },
      { email: "" },
      { email: ` ${OLD.email}` },
      { username: `${OLD.username}o` },
      { user_id: 1 },
      { password: "passw0rd!" },
      { created_at: "now" },
    ],
  );
  rule(
    "a new path",
    newPath,
    [
      { full_path: "a" },
      [{ full_path: "/a/b/" }, { full_path: "a/b" }],
      { full_path: "a", description: null },
      { full_path: "a", description: "x".repeat(4000) },
      { full_path: "a", description: "two\nlines" },
    ],
    [
      {},
      null,
      { full_path: null },
      { full_path: "a", depth: 1 },
      { full_path: "a", description: 7 },
      { full_path: "a", description: "x".repeat(4001) },
      { full_path: "a", description: "\0" },
      { description: "x" },
    ],
  );
  rule(
    "a change of a path",
    pathUpdate,
    [{}, { description: null }, { description: "" }, [{ full_path: "/a" }, { full_path: "a" }]],
    [null, { full_path: null }, { full_path: "a//b" }, { depth: 1 }, { id: 2 }],
  );

  test("names that every object inherits are as unknown as any other", () => {
    const schema = fields({ known: v.exactOptional(v.string()) });
    for (const name of [
      "__proto__",
      "constructor",
      "toString",
      "hasOwnProperty",
      "valueOf",
      "__defineGetter__",
    ]) {
      assert.equal(
        v.safeParse(schema, JSON.parse(`{${JSON.stringify(name)}: "x"}`)).success,
        false,
        name,
      );
    }
    assert.equal(({} as Record<string, unknown>).known, undefined);
  });
});

describe("text", () => {
  rule(
    "text",
    text,
    ["", "a\nb\t", EMOJI, ARABIC, "\u202e"],
    ["\0", `a${HALF}`, "\udc00a", null, {}],
  );
  rule(
    "a line",
    line,
    ["", "e\u0301", "a b"],
    ["a\nb", "\t", "\u007f", "\u0085", "\0", HALF, null],
  );
  rule(
    "a description",
    description,
    [null, "", "a\nb", "x".repeat(4000)],
    ["x".repeat(4001), "\0", HALF, {}],
  );
});

describe("virtual paths", () => {
  rule(
    "a path",
    virtualPath,
    [
      ["", "/"],
      ["/", "/"],
      ["/a", "a"],
      ["a/", "a"],
      ["/a/b/", "a/b"],
      "a",
      "a/b/c",
      "x".repeat(500),
      [`/${"x".repeat(500)}/`, "x".repeat(500)],
      "...",
      "a/...",
      ".a/..b",
      "a b/c d",
      "أرشيف/رسائل",
      "%/_/[x]",
      "~",
      "C:",
      "a:b*c?",
      ["e\u0301", "é"],
      " ",
    ],
    [
      "//",
      "///",
      "//a",
      "a//",
      "a//b",
      ".",
      "..",
      "a/.",
      "a/..",
      "./a",
      "../a",
      "a/./b",
      "a/../b",
      "/.",
      "/../",
      "a\\b",
      "\\",
      "a\nb",
      "a\tb",
      "\0",
      "a\u0085b",
      "\u007f",
      "x".repeat(501),
      `${"a/".repeat(250)}ab`,
      HALF,
      null,
      {},
    ],
  );

  test("normalising twice changes nothing more, and depth is the number of segments", () => {
    const segment = fc.oneof(
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }),
      fc.constantFrom(".", "..", "", "a", "é", "e\u0301", " "),
    );
    const path = fc
      .tuple(
        fc.constantFrom("", "/", "//"),
        fc.array(segment, { maxLength: 6 }),
        fc.constantFrom("", "/", "//"),
      )
      .map(([before, middle, after]) => before + middle.join("/") + after);
    fc.assert(
      fc.property(path, (sent) => {
        const once = v.safeParse(virtualPath, sent);
        if (!once.success) return;
        const canonical = once.output;
        assert.equal(v.parse(virtualPath, canonical), canonical);
        assert.equal(v.parse(virtualPath, `/${canonical === "/" ? "" : canonical}`), canonical);
        if (canonical === "/") return assert.equal(depthOf(canonical), 0);
        const segments = canonical.split("/");
        assert.equal(depthOf(canonical), segments.length);
        assert.ok(
          segments.every(
            (part) => part !== "" && part !== "." && part !== ".." && !part.includes("\\"),
          ),
        );
        assert.ok(canonical.length <= 500 && canonical.normalize("NFC") === canonical);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("file names", () => {
  const refused = (name: string) =>
    assert.throws(
      () => documentName(name),
      (error) => {
        assert.ok(error instanceof AppError && error.code === "validation_failed", String(error));
        const [issue] = error.detail as { loc: unknown[]; msg: string }[];
        assert.deepEqual(issue?.loc, ["body", "file"]);
        return true;
      },
      JSON.stringify(name),
    );

  test("a document's name is the last segment of what was sent, in NFC", () => {
    for (const [sent, kept] of [
      ["report.pdf", "report.pdf"],
      ["/etc/passwd", "passwd"],
      ["..\\..\\boot.ini", "boot.ini"],
      ["C:\\a/b\\c.txt", "c.txt"],
      ["cafe\u0301.txt", "café.txt"],
      ["تقرير.pdf", "تقرير.pdf"],
      ["م\u200f.txt", "م\u200f.txt"], // a right-to-left mark belongs to Arabic text
      ["..a", "..a"],
      ["...", "..."],
      [" a ", " a "],
      ["z".repeat(255), "z".repeat(255)],
      [`${"d/".repeat(500)}name`, "name"],
      [EMOJI, EMOJI],
    ] as const) {
      assert.equal(documentName(sent), kept);
    }
  });

  test("names that are none or deceive are refused", () => {
    for (const name of [
      "",
      " ",
      "\u3000",
      ".",
      "..",
      "/",
      "a/",
      "a\\",
      "a/.",
      "a/..",
      "z".repeat(256),
      `a${HALF}`,
      "a\0",
      "\0",
      "a\nb",
      "a\rb",
      "a\tb",
      "\u007f",
      "a\u0080",
      "\u001b[31m",
    ])
      refused(name);
    for (const control of [
      "\u202a",
      "\u202b",
      "\u202c",
      "\u202d",
      "\u202e",
      "\u2066",
      "\u2067",
      "\u2068",
      "\u2069",
    ])
      refused(`a${control}b.txt`);
  });

  test("whatever is sent, what comes out is one clean name that stays itself", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (sent) => {
        let name: string;
        try {
          name = documentName(sent);
        } catch (error) {
          assert.ok(error instanceof AppError && error.code === "validation_failed", String(error));
          return;
        }
        assert.equal(documentName(name), name);
        assert.ok(name.length > 0 && name.length <= 255 && name !== "." && name !== "..");
        assert.doesNotMatch(name, /[/\\\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
        assert.ok(name.isWellFormed());
      }),
      { numRuns: 3000 },
    );
  });

  test("a file's type is its plain extension", () => {
    for (const [name, type] of [
      ["a.pdf", "pdf"],
      ["a.PDF", "pdf"],
      ["a.tar.gz", "gz"],
      [".hidden", "hidden"],
      ["a", null],
      ["a.", null],
      ["a.b c", null],
      ["a.مستند", null],
      ["a.12345678901", null],
      ["a.1234567890", "1234567890"],
      ["a.p_f", null],
    ] as const) {
      assert.equal(fileType(name), type, name);
    }
  });
});
