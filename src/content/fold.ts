/** What folds to nothing or to something else than Unicode's compatibility decomposition says. */
const ALIKE: Readonly<Record<string, string>> = {
  // What Persian and Urdu write for an Arabic letter. A lone hamza stays: it is a letter.
  ٱ: "ا",
  ى: "ي",
  ی: "ي",
  ے: "ي",
  ة: "ه",
  ۃ: "ه",
  ہ: "ه",
  ھ: "ه",
  ە: "ه",
  ک: "ك",
  ں: "ن",
  // Tatweel, and how transliterations write ayn and hamza.
  ـ: "",
  ʿ: "",
  ʾ: "",
  ʼ: " ",
  æ: "ae",
  œ: "oe",
  ø: "o",
  đ: "d",
  ð: "d",
  ł: "l",
  þ: "th",
};

/** Marks are part of words: without them Devanagari and Thai fall apart. */
const WORD = /^[\p{L}\p{N}\p{M}]$/u;
/** Soft hyphens, bidi controls, joiners, variation selectors. */
const INVISIBLE = /^[\p{Cf}\p{Default_Ignorable_Code_Point}]$/u;
/** Accents, harakat and Quranic marks, niqqud; not the voicing marks of kana. */
const MARKS =
  /[[\p{M}&&[\p{Script=Inherited}\p{Script=Arabic}\p{Script=Hebrew}]]--[\u3099\u309a]]/gv;
/** Arabic-Indic and Persian, whose lowest four bits are the digit. */
const DIGIT = /^[\u0660-\u0669\u06f0-\u06f9]$/;

const SPACE = 32;
/** In `TABLE`, units to which nothing folds: look into `longer`; not looked at yet. */
const LONGER = 0xffff;
const UNKNOWN = 0xfffe;
/** What each code unit folds to, 0 for nothing, learned when a text first has it. */
const TABLE = new Uint16Array(0x10000).fill(UNKNOWN);
/** By code point, what is more than one unit before or after. */
const longer = new Map<number, string>();

/**
 * `text` as searches compare it: its words (letters, digits, marks) without case, accents and the
 * differences that Arabic typists make, a space before, between and after them. `offsets`
 * receives for each UTF-16 unit of the result where in `text` it comes from; a space comes from
 * where the word before it ends.
 */
export function fold(text: string, offsets?: number[]): string {
  let units = new Uint16Array(text.length + 64);
  let length = 0;
  let last = 0;
  const add = (unit: number, at: number) => {
    if (unit === SPACE && last === SPACE) return;
    if (length === units.length) units = enlarged(units);
    last = unit;
    units[length++] = unit;
    offsets?.push(at);
  };
  add(SPACE, 0);
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const unit = TABLE[code] === UNKNOWN ? learn(code) : (TABLE[code] as number);
    if (unit === LONGER) {
      const character = text.codePointAt(at) as number;
      const next = character > 0xffff ? at + 2 : at + 1;
      for (const part of learnLonger(character)) add(part.charCodeAt(0), part === " " ? next : at);
      at = next - 1;
    } else if (unit !== 0) add(unit, at);
  }
  add(SPACE, text.length);
  return Buffer.from(units.buffer, 0, length * 2).toString("utf16le");
}

function enlarged(units: Uint16Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  const larger = new Uint16Array(units.length * 2);
  larger.set(units);
  return larger;
}

/** The words of a folded text. */
export function wordsOf(folded: string): string[] {
  return folded.split(" ").filter((word) => word !== "");
}

function learn(code: number): number {
  const isSurrogate = (code & 0xf800) === 0xd800;
  const folded = isSurrogate ? "" : foldCharacter(String.fromCharCode(code));
  const unit = isSurrogate || folded.length > 1 ? LONGER : folded.charCodeAt(0);
  TABLE[code] = unit;
  return TABLE[code];
}

/** UTF-16 units. */
function learnLonger(character: number): string[] {
  const folded = longer.get(character) ?? foldCharacter(String.fromCodePoint(character));
  longer.set(character, folded);
  return folded.split("");
}

function foldCharacter(character: string): string {
  if (INVISIBLE.test(character)) return "";
  if (!WORD.test(character)) return " ";
  // By way of upper case, which brings ß and ss together, and both small sigmas.
  const cased = character.normalize("NFKD").toUpperCase().toLowerCase();
  // Trimmed: the isolated forms of harakat are spaces with a mark.
  const letters = cased.normalize("NFKD").replace(MARKS, "").trim();
  return Array.from(letters, (letter) => {
    if (DIGIT.test(letter)) return String(letter.charCodeAt(0) & 0xf);
    return ALIKE[letter] ?? (WORD.test(letter) ? letter : " ");
  }).join("");
}
