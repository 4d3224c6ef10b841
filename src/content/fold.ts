/** What letters fold to beyond Unicode's compatibility decomposition, and the letters that do. */
const ALIKE = {
  // What Persian and Urdu write for an Arabic letter. A lone hamza stays: it is a letter.
  ا: "ٱ",
  ي: "ىیے",
  ه: "ةۃہھە",
  ك: "ک",
  ن: "ں",
  // Tatweel, and how transliterations write ayn and hamza.
  "": "ـʿʾ",
  " ": "ʼ",
  ae: "æ",
  oe: "œ",
  o: "ø",
  d: "đð",
  l: "ł",
  th: "þ",
};
const LETTERS = new Map(
  Object.entries(ALIKE).flatMap(([to, from]) => from.split("").map((letter) => [letter, to])),
);

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
/** Units on their way to the result; there is room for what one more letter folds to. */
const piece = new Uint16Array(4_096 + 64);
const pieceBytes = Buffer.from(piece.buffer);
/** What texts had so far: what is one unit before and after; all else by character, to a bound. */
const UNITS = new Uint16Array(0x10000);
const others = new Map<string, string>();
const MAX_OTHERS = 20_000;

/**
 * `text` as searches compare it: its words (letters, digits, marks) without case, accents and the
 * differences that Arabic typists make, a space before, between and after them. `offsets`
 * receives for each UTF-16 unit of the result where in `text` it comes from; a space comes from
 * where the word before it ends.
 */
export function fold(text: string, offsets?: number[]): string {
  let result = " ";
  let length = 0;
  let last = SPACE;
  offsets?.push(0);
  for (let at = 0; at <= text.length; at++) {
    if (length >= 4_096) {
      result += pieceBytes.toString("utf16le", 0, length * 2);
      length = 0;
    }
    const unit = at < text.length ? (UNITS[text.charCodeAt(at)] as number) : SPACE;
    if (unit !== 0) {
      if (unit === SPACE && last === SPACE) continue;
      offsets?.push(at);
      piece[length++] = last = unit;
      continue;
    }
    const character = String.fromCodePoint(text.codePointAt(at) as number);
    const folded = learn(character);
    const end = at + character.length;
    for (let index = 0; index < folded.length; index++) {
      const unit = folded.charCodeAt(index);
      if (unit === SPACE && last === SPACE) continue;
      offsets?.push(unit === SPACE && folded !== " " ? end : at);
      piece[length++] = last = unit;
    }
    at = end - 1;
  }
  return result + pieceBytes.toString("utf16le", 0, length * 2);
}

function learn(character: string): string {
  const folded = others.get(character) ?? foldCharacter(character);
  const isUnit = character.length === 1 && folded.length === 1 && character.isWellFormed();
  if (isUnit) UNITS[character.charCodeAt(0)] = folded.charCodeAt(0);
  else if (others.size < MAX_OTHERS) others.set(character, folded);
  return folded;
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
    return LETTERS.get(letter) ?? (WORD.test(letter) ? letter : " ");
  }).join("");
}
