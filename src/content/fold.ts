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
/** In a page: more than one unit, which stand in `longer`. */
const LONGER = 0xffff;
/** What each code point folds to (0: nothing), 256 a page, made when a text first needs it. */
const pages: Uint16Array[] = [];
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
    let code = text.charCodeAt(at);
    const from = at;
    if ((code & 0xf800) === 0xd800) {
      code = text.codePointAt(at) as number;
      if (code > 0xffff) at++;
    }
    const unit = (pages[code >> 8] ?? makePage(code >> 8))[code & 0xff] as number;
    if (unit === LONGER) {
      for (const part of (longer.get(code) ?? "").split(""))
        add(part.charCodeAt(0), part === " " ? at + 1 : from);
    } else if (unit !== 0) add(unit, from);
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

function makePage(page: number): Uint16Array {
  const units = new Uint16Array(256);
  for (let low = 0; low < 256; low++) {
    const code = page * 256 + low;
    const folded = foldCharacter(String.fromCodePoint(code));
    units[low] = folded.length > 1 ? LONGER : folded.charCodeAt(0);
    if (folded.length > 1) longer.set(code, folded);
  }
  pages[page] = units;
  return units;
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
