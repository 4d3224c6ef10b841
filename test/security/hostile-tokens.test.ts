import assert from "node:assert/strict";
import crypto, {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type JsonWebKey,
  sign,
  verify,
} from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { describe, test } from "node:test";
import type { Claims, Refusal } from "../../src/security/claims.ts";
import { createJwt, InvalidToken, type Jwt } from "../../src/security/jwt.ts";

const base64url = (bytes: string | Buffer) => Buffer.from(bytes).toString("base64url");

function refusal(jwt: Jwt, token: string, now: Date): Refusal | "accepted" {
  try {
    jwt.verify(token, now);
    return "accepted";
  } catch (error) {
    assert.ok(error instanceof InvalidToken, String(error));
    return error.reason;
  }
}

/** A server whose key are these bytes: its own secrets are text, those of the RFCs are not. */
function createJwtOfKey(key: Buffer): Jwt {
  const original = crypto.createSecretKey;
  crypto.createSecretKey = (() => original(key)) as typeof original;
  syncBuiltinESMExports();
  try {
    return createJwt({ secret: "the bytes come from elsewhere", previous: [] });
  } finally {
    crypto.createSecretKey = original;
    syncBuiltinESMExports();
  }
}

describe("the examples of the RFCs", () => {
  /** RFC 7515, appendix A.1.1. */
  const KEY = Buffer.from(
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "base64url",
  );
  /** An hour before `exp`, 1300819380. */
  const NOW = new Date((1300819380 - 3600) * 1000);
  const PAYLOAD =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
  const A1 = `eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.${PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk`;
  /** RFC 7515, appendix A.2.1 and A.2.2. */
  const RSA: JsonWebKey = {
    kty: "RSA",
    n: "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    e: "AQAB",
  };
  const A2 = `eyJhbGciOiJSUzI1NiJ9.${PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw`;
  /** RFC 7515, appendix A.3.1 and A.3.2. */
  const EC: JsonWebKey = {
    kty: "EC",
    crv: "P-256",
    x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
  };
  const A3 = `eyJhbGciOiJFUzI1NiJ9.${PAYLOAD}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q`;

  const server = createJwtOfKey(KEY);
  const halves = (token: string) =>
    [
      token.slice(0, token.lastIndexOf(".")),
      Buffer.from(token.slice(token.lastIndexOf(".") + 1), "base64url"),
    ] as const;

  test("RFC 7515 A.1: the signature is right, and what it signs are no claims of ours", () => {
    const [input, signature] = halves(A1);
    assert.deepEqual(createHmac("sha256", KEY).update(input).digest(), signature);
    // `iat` is missing: nothing looks at claims whose signature is wrong.
    assert.equal(refusal(server, A1, NOW), "claims");
    assert.equal(refusal(server, A1, new Date(1300819380 * 1000)), "claims");
    assert.equal(refusal(server, `${A1.slice(0, -2)}Xl`, NOW), "malformed");
    assert.equal(refusal(server, `${A1.slice(0, -2)}Xk`.replace(".dBj", ".dBk"), NOW), "signature");
    assert.equal(refusal(createJwtOfKey(KEY.subarray(1)), A1, NOW), "signature");
  });

  test("RFC 7515 A.1 with the claims of ours is accepted, its JSON with line breaks as it is", () => {
    const header = A1.split(".")[0];
    const claims =
      '{"sub":"7",\r\n "type":"access","iat":1300815780,\r\n "exp":1300819380,"rid":null}';
    const input = `${header}.${base64url(claims)}`;
    const token = `${input}.${createHmac("sha256", KEY).update(input).digest("base64url")}`;
    assert.equal(server.verify(token, NOW).sub, "7");
    assert.equal(refusal(server, token, new Date(1300819380 * 1000)), "expired");
  });

  test("RFC 7515 A.2 and A.3: genuine, and of algorithms that are not ours", () => {
    const [rsaInput, rsaSignature] = halves(A2);
    const rsa = createPublicKey({ key: RSA, format: "jwk" });
    assert.ok(verify("sha256", Buffer.from(rsaInput), rsa, rsaSignature));
    assert.equal(refusal(server, A2, NOW), "header");
    const [ecInput, ecSignature] = halves(A3);
    const ec = createPublicKey({ key: EC, format: "jwk" });
    const p1363 = { key: ec, dsaEncoding: "ieee-p1363" } as const;
    assert.ok(verify("sha256", Buffer.from(ecInput), p1363, ecSignature));
    assert.equal(refusal(server, A3, NOW), "header");
  });

  const others: [name: string, token: string, reason: Refusal][] = [
    ["RFC 7515 A.5 and RFC 7519 6.1, not secured", `eyJhbGciOiJub25lIn0.${PAYLOAD}.`, "header"],
    [
      "RFC 7515 A.6, two signatures in JSON",
      `{"payload":"${PAYLOAD}","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","header":{"kid":"2010-12-29"},"signature":"cC4hiUPoj9Eetdgt"}]}`,
      "malformed",
    ],
    [
      "RFC 7515 A.7, one signature in JSON",
      `{"payload":"${PAYLOAD}","protected":"eyJhbGciOiJFUzI1NiJ9","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"DtEhU3ljbEg8L38VWAfUAqOyKAM6"}`,
      "malformed",
    ],
    [
      "RFC 7515 E, a critical extension that nobody knows",
      "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.",
      "header",
    ],
    [
      "RFC 7797 4.2, an unencoded and detached payload",
      "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY",
      "header",
    ],
    [
      "RFC 7520 4.4, HS256 with another server's key",
      "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
      "unknown_key",
    ],
    [
      "RFC 7516 3.3, an encrypted one, has five parts",
      "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKo.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4v.XFBoMYUZodetZdvTiFvSkQ",
      "malformed",
    ],
  ];
  for (const [name, token, reason] of others) {
    test(`${name}: ${reason}`, () => assert.equal(refusal(server, token, NOW), reason));
  }

  test("the example of RFC 7520 is what its key signs", () => {
    const key = Buffer.from("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg", "base64url");
    const [input, signature] = halves(others[5]?.[1] ?? "");
    assert.deepEqual(createHmac("sha256", key).update(input).digest(), signature);
  });
});

describe("hostile tokens", () => {
  const SECRET = "the secret of the server, 32 bytes or more";
  const OLD_SECRET = "the secret before, of 32 bytes or more";
  const NOW = new Date("2026-02-26T14:30:00Z");
  const SECONDS = NOW.getTime() / 1000;
  const ID = "0123456789abcdef0123456789abcdef";
  const jwt = createJwt({ secret: SECRET, previous: [OLD_SECRET] });

  const claims: Claims = {
    sub: "7",
    rid: 1,
    type: "access",
    iat: SECONDS,
    exp: SECONDS + 60,
    sid: ID,
  };
  const HEADER = { alg: "HS256", typ: "JWT" };
  const genuine = jwt.sign(claims);
  const [head = "", body = "", mac = ""] = genuine.split(".");
  const { kid } = JSON.parse(Buffer.from(head, "base64url").toString()) as { kid: string };
  const old = createJwt({ secret: OLD_SECRET, previous: [] });
  const oldKid = JSON.parse(atob(old.sign(claims).split(".")[0] ?? "")).kid as string;

  /** Signs with the server's own secret unless told otherwise; text goes in as it is. */
  function mint(
    header: unknown,
    payload: unknown,
    secret: string | Buffer = SECRET,
    hash = "sha256",
  ) {
    const part = (value: unknown) =>
      base64url(
        typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value),
      );
    const input = `${part(header)}.${part(payload)}`;
    return `${input}.${createHmac(hash, createSecretKey(Buffer.from(secret)))
      .update(input)
      .digest("base64url")}`;
  }
  const headed = (header: object) => mint({ ...HEADER, ...header }, claims);
  const claimed = (changes: object) => mint(HEADER, { ...claims, ...changes });
  /** With a number that JSON.stringify can't write. */
  const literal = (name: string, text: string) =>
    mint(HEADER, JSON.stringify({ ...claims, [name]: "?" }).replace('"?"', text));

  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = publicKey.export({ type: "spki", format: "pem" });
  const der = publicKey.export({ type: "spki", format: "der" });
  const jwk = publicKey.export({ format: "jwk" });
  const attackers = "a key that the attacker chose";
  const oct = { kty: "oct", k: base64url(attackers) };
  const rsaSigned = (header: object, payload: object) => {
    const input = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(payload))}`;
    return `${input}.${base64url(sign("sha256", Buffer.from(input), createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" }))))}`;
  };
  const { privateKey: edKey } = generateKeyPairSync("ed25519");
  const edInput = `${base64url('{"alg":"EdDSA"}')}.${body}`;

  const unencodedInput = `${base64url('{"alg":"HS256","b64":false}')}.${JSON.stringify(claims)}`;
  const unencoded = `${unencodedInput}.${createHmac("sha256", SECRET).update(unencodedInput).digest("base64url")}`;

  const tokens: [name: string, token: string, reason: Refusal][] = [
    // Another algorithm, or one by another name.
    ["alg NONE, unsigned", `${base64url('{"alg":"NONE"}')}.${body}.`, "header"],
    ["alg nOnE, signed all the same", headed({ alg: "nOnE" }), "header"],
    ["alg none behind a good one", mint('{"alg":"HS256","alg":"none"}', claims), "header"],
    [
      "a good alg behind none, unsigned",
      `${base64url('{"alg":"none","alg":"HS256"}')}.${body}.`,
      "signature",
    ],
    [
      "a good alg behind none, signed by another",
      mint('{"alg":"none","alg":"HS256"}', claims, attackers),
      "signature",
    ],
    ["alg empty", headed({ alg: "" }), "header"],
    ["alg with a blank", headed({ alg: "HS256 " }), "header"],
    ["alg with a NUL", headed({ alg: "HS256\0" }), "header"],
    ["alg in homoglyphs", headed({ alg: "ΗS256" }), "header"],
    ["alg HS384, well signed", mint({ alg: "HS384" }, claims, SECRET, "sha384"), "header"],
    ["alg HS512, well signed", mint({ alg: "HS512" }, claims, SECRET, "sha512"), "header"],
    ["alg HS256, signed with SHA-512", mint(HEADER, claims, SECRET, "sha512"), "signature"],
    ["alg HS256, signed with SHA-1", mint(HEADER, claims, SECRET, "sha1"), "signature"],
    ["alg RS256, with an RSA signature", rsaSigned({ alg: "RS256" }, claims), "header"],
    ["alg PS256", headed({ alg: "PS256" }), "header"],
    [
      "alg EdDSA, with its signature",
      `${edInput}.${base64url(sign(null, Buffer.from(edInput), edKey))}`,
      "header",
    ],
    ["alg dir, for encryption", headed({ alg: "dir", enc: "A256GCM" }), "header"],
    ["alg as a number", headed({ alg: 256 }), "header"],
    ["alg as an object", headed({ alg: { toString: "HS256" } }), "header"],
    ["alg under another case", mint({ ALG: "HS256" }, claims), "header"],
    [
      "alg in the prototype of a prototype",
      mint('{"constructor":{"prototype":{"alg":"HS256"}}}', claims),
      "header",
    ],
    ["typ JWE", headed({ typ: "JWE" }), "header"],
    ["typ of a DPoP proof", headed({ typ: "dpop+jwt" }), "header"],
    ["crit that names what is there", headed({ crit: ["typ"] }), "header"],
    ["crit as text", headed({ crit: "kid" }), "header"],
    // Keys that come with the token.
    [
      "a jwk in the header, and signed with it",
      mint({ ...HEADER, jwk: oct }, claims, attackers),
      "signature",
    ],
    [
      "an RSA jwk in the header, and signed with it",
      rsaSigned({ ...HEADER, jwk }, claims),
      "signature",
    ],
    [
      "a jku",
      mint({ ...HEADER, jku: "https://attacker.example/jwks.json" }, claims, attackers),
      "signature",
    ],
    [
      "a jku of a local file",
      mint({ ...HEADER, jku: "file:///dev/null" }, claims, ""),
      "signature",
    ],
    [
      "an x5u",
      mint({ ...HEADER, x5u: "https://attacker.example/cert.pem" }, claims, attackers),
      "signature",
    ],
    ["an x5c", mint({ ...HEADER, x5c: [base64url(der)] }, claims, pem.toString()), "signature"],
    [
      "the kid of the server, and another key",
      mint({ ...HEADER, kid }, claims, attackers),
      "signature",
    ],
    [
      "the kid of the current key, and the old key",
      mint({ ...HEADER, kid }, claims, OLD_SECRET),
      "signature",
    ],
    [
      "the kid of the old key, and the current key",
      mint({ ...HEADER, kid: oldKid }, claims),
      "signature",
    ],
    // Keys that are told from outside.
    ["signed with the kid", mint(HEADER, claims, kid), "signature"],
    ["signed with an RSA key's PEM", mint(HEADER, claims, pem.toString()), "signature"],
    ["signed with an RSA key's DER", mint(HEADER, claims, der), "signature"],
    ["signed with an RSA key's JWK", mint(HEADER, claims, JSON.stringify(jwk)), "signature"],
    ["signed with 32 bytes of zero", mint(HEADER, claims, Buffer.alloc(32)), "signature"],
    ["signed with the secret and a line break", mint(HEADER, claims, `${SECRET}\n`), "signature"],
    [
      "signed with the secret in base64",
      mint(HEADER, claims, Buffer.from(SECRET).toString("base64")),
      "signature",
    ],
    [
      "signed with the secret in UTF-16",
      mint(HEADER, claims, Buffer.from(SECRET, "utf16le")),
      "signature",
    ],
    // A kid that leads elsewhere.
    [
      "kid ../../../../dev/null, signed with nothing",
      mint({ ...HEADER, kid: "../../../../dev/null" }, claims, ""),
      "unknown_key",
    ],
    [
      "kid /proc/sys/kernel/randomize_va_space",
      mint({ ...HEADER, kid: "/proc/sys/kernel/randomize_va_space" }, claims, "2\n"),
      "unknown_key",
    ],
    ["kid with SQL", headed({ kid: "x' UNION SELECT 'key' --" }), "unknown_key"],
    ["kid with a command", headed({ kid: "|| id ;" }), "unknown_key"],
    ["kid __proto__", headed({ kid: "__proto__" }), "unknown_key"],
    ["kid constructor", headed({ kid: "constructor" }), "unknown_key"],
    ["kid in capitals", headed({ kid: kid.toUpperCase().replace(/^\d/, "F") }), "unknown_key"],
    ["kid and a NUL", headed({ kid: `${kid}\0` }), "unknown_key"],
    ["kid in a list", headed({ kid: [kid] }), "unknown_key"],
    ["kid as true", headed({ kid: true }), "unknown_key"],
    ["kid of 2,000 characters", headed({ kid: "k".repeat(2000) }), "unknown_key"],
    // Signatures.
    [
      "a signature cut to half",
      `${head}.${body}.${base64url(Buffer.from(mac, "base64url").subarray(0, 16))}`,
      "signature",
    ],
    ["a signature of one byte", `${head}.${body}.AA`, "signature"],
    ["a signature of zeros", `${head}.${body}.${base64url(Buffer.alloc(32))}`, "signature"],
    [
      "a signature twice",
      `${head}.${body}.${base64url(Buffer.concat([Buffer.from(mac, "base64url"), Buffer.from(mac, "base64url")]))}`,
      "signature",
    ],
    [
      "a signature in hexadecimal",
      `${head}.${body}.${Buffer.from(mac, "base64url").toString("hex")}`,
      "signature",
    ],
    [
      "a signature of the payload alone",
      `${head}.${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`,
      "signature",
    ],
    [
      "a signature without the dot",
      `${head}.${body}.${createHmac("sha256", SECRET)
        .update(head + body)
        .digest("base64url")}`,
      "signature",
    ],
    [
      "a signature of the decoded text",
      `${head}.${body}.${createHmac("sha256", SECRET)
        .update(`${atob(head)}.${atob(body)}`)
        .digest("base64url")}`,
      "signature",
    ],
    [
      "a signature of another token",
      `${head}.${base64url(JSON.stringify({ ...claims, sub: "1" }))}.${mac}`,
      "signature",
    ],
    [
      "a forged role",
      `${head}.${base64url(atob(body).replace('"rid":1', '"rid":99'))}.${mac}`,
      "signature",
    ],
    ["a signature in plain base64", `${head}.${body}.+/${mac.slice(2)}`, "malformed"],
    ["a signature with padding", `${genuine}=`, "malformed"],
    ["a signature with stray bits", `${head}.${body}.AB`, "malformed"],
    ["a signature in percent-encoding", `${head}.${body}.%41${mac.slice(1)}`, "malformed"],
    // Parts.
    ["two dots", "..", "malformed"],
    ["one dot", ".", "malformed"],
    ["only a header", head, "malformed"],
    ["a header and a dot", `${head}.`, "malformed"],
    ["no header", `.${body}.${mac}`, "malformed"],
    ["no payload, well signed", mint(HEADER, ""), "malformed"],
    ["a part too many", `${genuine}.${mac}`, "malformed"],
    ["five parts, as encrypted ones have", `${genuine}.${body}.${mac}`, "malformed"],
    ["the scheme before it", `Bearer ${genuine}`, "malformed"],
    ["quotes around it", `"${genuine}"`, "malformed"],
    ["a comma and another token", `${genuine},${genuine}`, "malformed"],
    ["a NUL at the end", `${genuine}\0`, "malformed"],
    [
      "a padded header, well signed",
      `${head}=.${body}.${createHmac("sha256", SECRET).update(`${head}=.${body}`).digest("base64url")}`,
      "malformed",
    ],
    [
      "a payload with a line break, well signed",
      `${head}.${body}\n.${createHmac("sha256", SECRET).update(`${head}.${body}\n`).digest("base64url")}`,
      "malformed",
    ],
    ["an unencoded payload without crit, well signed", unencoded, "malformed"],
    // Payloads that are well signed.
    ["a nested token", mint({ ...HEADER, cty: "JWT" }, genuine), "malformed"],
    ["a payload of NaN", mint(HEADER, "NaN"), "malformed"],
    ["a payload that is a number", mint(HEADER, "7"), "malformed"],
    ["a payload with a comment", mint(HEADER, `${JSON.stringify(claims)}//`), "malformed"],
    ["a payload with a comma too many", mint(HEADER, '{"sub":"7",}'), "malformed"],
    ["two payloads", mint(HEADER, JSON.stringify(claims).repeat(2)), "malformed"],
    [
      "a compressed payload",
      mint({ ...HEADER, zip: "DEF" }, Buffer.from("ab2e02", "hex")),
      "malformed",
    ],
    [
      "a payload behind a byte-order mark",
      mint(HEADER, `\uFEFF${JSON.stringify(claims)}`),
      "malformed",
    ],
    [
      "an overlong form of UTF-8",
      mint(HEADER, Buffer.from("7b2273c1b562223a2237227d", "hex")),
      "malformed",
    ],
    [
      "claims in the prototype",
      mint(HEADER, JSON.stringify({ x: claims }).replace('"x"', '"__proto__"')),
      "claims",
    ],
    ["nested claims", mint(HEADER, { claims }), "claims"],
    ["a thousand levels", mint(HEADER, `{"exp":${"[".repeat(1000)}${"]".repeat(1000)}}`), "claims"],
    ["an empty object", mint(HEADER, {}), "claims"],
    // Subjects.
    ["sub as the number 7", claimed({ sub: 7 }), "claims"],
    ["sub as the number 0", claimed({ sub: 0 }), "claims"],
    ["sub as the number -1", claimed({ sub: -1 }), "claims"],
    ["sub as 2^31", claimed({ sub: 2 ** 31 }), "claims"],
    ["sub +7", claimed({ sub: "+7" }), "claims"],
    ["sub 0x7", claimed({ sub: "0x7" }), "claims"],
    ["sub 7 and a NUL", claimed({ sub: "7\0" }), "claims"],
    ["sub NaN", claimed({ sub: "NaN" }), "claims"],
    ["sub with SQL", claimed({ sub: "7 OR 1=1" }), "claims"],
    ["sub of a thousand digits", claimed({ sub: "9".repeat(1000) }), "claims"],
    ["sub as true", claimed({ sub: true }), "claims"],
    ["sub as an object", claimed({ sub: { toString: "7" } }), "claims"],
    ["sub with half a character", claimed({ sub: "7\ud800" }), "claims"],
    // Times.
    ["exp as text", claimed({ exp: "never" }), "claims"],
    ["exp as the text of a date", claimed({ exp: "2999-01-01T00:00:00Z" }), "claims"],
    ["exp NaN", literal("exp", "NaN"), "malformed"],
    ["exp beyond all numbers", literal("exp", "1e400"), "claims"],
    ["exp -1", claimed({ exp: -1 }), "expired"],
    ["exp -1e308", claimed({ exp: -1e308 }), "expired"],
    ["exp 0", claimed({ exp: 0 }), "expired"],
    [
      "exp twice, the past last",
      mint(
        HEADER,
        JSON.stringify(claims)
          .replace("{", `{"exp":${SECONDS + 60},`)
          .replace(/"exp":\d+(?=,"sid")/, '"exp":1'),
      ),
      "expired",
    ],
    ["iat as text", claimed({ iat: "now" }), "claims"],
    ["iat -Infinity", literal("iat", "-1e400"), "claims"],
    ["iat huge", claimed({ iat: 1e308 }), "not_yet_valid"],
    ["iat in milliseconds", claimed({ iat: SECONDS * 1000 }), "not_yet_valid"],
    ["nbf as text", claimed({ nbf: "0" }), "claims"],
    ["nbf NaN", literal("nbf", "NaN"), "malformed"],
    ["nbf huge", claimed({ nbf: Number.MAX_SAFE_INTEGER }), "not_yet_valid"],
    ["nbf beyond all numbers", literal("nbf", "1e999"), "claims"],
    ["nbf true", claimed({ nbf: true }), "claims"],
    // The rest.
    ["a type that does not exist", claimed({ type: "password_reset" }), "type"],
    ["an access token made a refresh token, without jti", claimed({ type: "refresh" }), "claims"],
    ["sid as a path", claimed({ sid: "../../sessions" }), "claims"],
    ["sid as a list", claimed({ sid: [ID] }), "claims"],
    ["rid beyond the integers", claimed({ rid: 1e20 }), "claims"],
    ["rid as a list", claimed({ rid: [99] }), "claims"],
    ["a megabyte of a genuine token", `${genuine}${"A".repeat(2 ** 20)}`, "too_long"],
    ["a megabyte of dots", ".".repeat(2 ** 20), "too_long"],
    [
      "a character too many",
      mint({ ...HEADER, pad: "x".repeat(2840) }, claims).padEnd(4097, "A"),
      "too_long",
    ],
  ];

  test("the token that they start from is good, and so is one that says all twice", () => {
    assert.equal(refusal(jwt, genuine, NOW), "accepted");
    assert.equal(refusal(jwt, mint(HEADER, claims), NOW), "accepted");
    // RFC 7515 §4: of a name that is there twice, the last one counts.
    assert.equal(refusal(jwt, mint('{"alg":"none","alg":"HS256"}', claims), NOW), "accepted");
  });

  test(`there are ${tokens.length}, each different`, () => {
    assert.ok(tokens.length >= 60);
    assert.equal(new Set(tokens.map(([, token]) => token)).size, tokens.length);
    assert.equal(new Set(tokens.map(([name]) => name)).size, tokens.length);
  });

  for (const [name, token, reason] of tokens) {
    test(`${name}: ${reason}`, () => assert.equal(refusal(jwt, token, NOW), reason));
  }
});
