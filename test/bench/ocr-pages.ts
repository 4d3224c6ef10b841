import { type Browser, chromium } from "playwright-core";

/** A page whose text is known, drawn as a scanner would have seen it. */
export interface BenchPage extends Plan {
  /** PNG, or JPEG where `wear` is `noisy`. */
  picture: Buffer;
}

interface Plan {
  /** The key of its text in ARABIC_TEXTS or LATIN_TEXTS. */
  title: string;
  script: "arabic" | "latin";
  font: string;
  wear: Wear;
  text: string;
}

/** What happened to a page before it reaches the engine. */
type Wear = "clean" | (typeof WORN)[number];
const WORN = ["two columns", "turned", "pale", "noisy", "200 dpi", "150 dpi"] as const;

/** Typefaces and the Debian packages that have them. */
const ARABIC_FONTS = {
  Amiri: "fonts-hosny-amiri",
  "Noto Naskh Arabic": "fonts-noto-core",
  "Noto Sans Arabic": "fonts-noto-core",
};
const LATIN_FONTS = { "DejaVu Sans": "fonts-dejavu-core", "Liberation Serif": "fonts-liberation" };

const PROSE = `محضر اجتماع لجنة حفظ الوثائق
اجتمعت اللجنة صباح يوم الأحد في قاعة الاجتماعات بالطابق الأرضي، وحضر الاجتماع جميع الأعضاء ما عدا
ممثل الإدارة المالية الذي اعتذر لسفره. وافتتح الرئيس الجلسة مرحبًا بالحاضرين، ثم عرض أمين السر ما تم
تنفيذه من توصيات الجلسة السابقة، ومنها نقل السجلات القديمة إلى المستودع الجديد وفهرسة الخرائط.
وناقش الأعضاء مسألة الرطوبة التي أثرت في بعض الصناديق، فتقرر شراء أجهزة لقياسها وتكليف مهندس
الصيانة بتقديم تقرير كل أسبوع. كما أوصت اللجنة بألا تُعار أي وثيقة أصلية خارج المبنى إلا بإذن مكتوب.
وانتهى الاجتماع عند الظهر، والله ولي التوفيق.`;

const NUMBERS = `عقد إيجار رقم 2026/4471
إنه في يوم الثلاثاء الموافق 17 مارس 2026 تم الاتفاق بين الطرف الأول مالك العقار رقم 58 بشارع النخيل
والطرف الثاني المستأجر، على أن يؤجر الأول للثاني الشقة رقم 12 بالدور 3 ومساحتها 140 مترًا مربعًا.
مدة العقد 36 شهرًا تبدأ في 1 أبريل 2026 وتنتهي في 31 مارس 2029 ولا تتجدد إلا باتفاق جديد.
القيمة الإيجارية 4500 جنيه شهريًا تزيد بنسبة 7 في المئة كل سنة، ويدفع المستأجر تأمينًا قدره 9000 جنيه.
يسلم المالك المفاتيح وعددها 4 عند التوقيع، ورقم عداد الكهرباء 803316 وقراءته 25790.`;

const INDIC = `بيان الإيرادات والمصروفات
بلغت إيرادات الجمعية في عام ٢٠٢٥ مبلغ ٣٤٨٧٥٠ دينارًا، منها ٢١٠٠٠٠ دينار من الاشتراكات و ٩٨٥٠٠
من التبرعات، وزادت عن العام السابق بنسبة ١٢ في المئة. وبلغ عدد المشتركين ١٤٦٣ مشتركًا في ١٧ فرعًا.
أما المصروفات فكانت ٢٩٦٣٠٤ دنانير، أكبرها الرواتب وقدرها ١٥٨٩٢٠ ثم الإيجار وقدره ٤٦٨٠٠ دينار.
وقد اعتمد المجلس هذا البيان في جلسته رقم ٨٥ المنعقدة يوم ٣٠ يناير ٢٠٢٦ وأوصى بنشره.`;

const MIXED = `تقرير أعمال الصيانة
قام الفريق بفحص الخادم Dell PowerEdge في غرفة الأجهزة، وتبين أن وحدة التغذية الثانية متوقفة عن العمل.
تم استبدال القرص الصلب بآخر من طراز Seagate Exos ثم أعيد تشغيل نظام Linux دون فقد أي بيانات.
أرسلت نسخة من التقرير إلى قسم Technical Support بالبريد، وطلب القسم تحديث برنامج Backup Manager.
The next inspection is planned for the first week of June.
يرجى من جميع الموظفين حفظ الملفات في المجلد Shared Documents وعدم استخدام أقراص USB الخارجية.`;

const LETTER = `Minutes of the Records Committee
The committee met on Monday in the reading room. All members were present except the keeper of
maps, who sent apologies. The chair asked for a report on the flood in the lower store: forty boxes
were moved, eleven are damp, and none of the bound registers were harmed. It was agreed to hire a
drying room until the end of May and to photograph every wet folder before it is opened.
Mr O'Brien proposed that original papers may leave the building only with written permission; the
motion was carried without a vote. Any questions should be addressed to the secretary.`;

const INVOICE = `INVOICE 80316
Northgate Paper & Office Supplies Ltd
Date: 24 February 2026    Customer no. 55-1207    Due: 26 March 2026
12 x Archive box, grey, 390 mm            3.75      45.00
6 x Acid-free folder, pack of 100         18.90     113.40
1 x Label printer QX-570                  249.00    249.00
25 x Cotton gloves, size 9                1.48      37.00
Subtotal 444.40    VAT 20% 88.88    Total GBP 533.28
Please pay by bank transfer to account 40719526, sort code 20-45-81, and quote the invoice number.
Questions: accounts@northgate.example or 0117 496 0852.`;

const ARABIC_TEXTS = { prose: PROSE, numbers: NUMBERS, indic: INDIC, mixed: MIXED };
const LATIN_TEXTS = { letter: LETTER, invoice: INVOICE };

/** Each text in each typeface of its script, clean and once more worn, by one kind of wear in turn. */
function plan(): Plan[] {
  const plans: Plan[] = [];
  const add = (script: Plan["script"], fonts: object, texts: Record<string, string>) => {
    for (const font of Object.keys(fonts)) {
      for (const [title, text] of Object.entries(texts)) {
        const worn = WORN[(plans.length / 2) % WORN.length] ?? "turned";
        for (const wear of ["clean", worn] as const)
          plans.push({ title, script, font, wear, text });
      }
    }
  };
  add("arabic", ARABIC_FONTS, ARABIC_TEXTS);
  add("latin", LATIN_FONTS, LATIN_TEXTS);
  return plans;
}

const STYLES: Partial<Record<Wear, string>> = {
  "two columns": "main { white-space: pre-line; width: 1000px; columns: 2; column-gap: 60px }",
  turned: "main { transform: rotate(-0.8deg) }",
  pale: "body { background: #d9d5c8 } main { color: #77736c }",
  noisy: "main { filter: blur(0.35px) }",
};

/** The grain of a scanner: grey turbulence over the letters. */
const GRAIN = `<svg style="position: absolute; inset: 0; width: 100%; height: 100%; opacity: .35">
  <filter id="grain"><feTurbulence type="fractalNoise" baseFrequency="0.9" numOctaves="2"/>
  <feColorMatrix type="saturate" values="0"/></filter>
  <rect width="100%" height="100%" filter="url(#grain)"/></svg>`;

function html({ script, font, wear, text }: Plan): string {
  return `<!doctype html>
    <style>
      body { margin: 0; background: white; position: relative; width: max-content }
      main { padding: 40px 48px; white-space: pre; width: max-content; unicode-bidi: plaintext;
        font: ${script === "arabic" ? 19 : 16}px/1.8 "${font}", "Liberation Serif" }
      ${STYLES[wear] ?? ""}
    </style>
    <main dir="${script === "arabic" ? "rtl" : "ltr"}">${text.replaceAll("&", "&amp;")}</main>
    ${wear === "noisy" ? GRAIN : ""}`;
}

/**
 * Draws all pages at 300 dpi, and those of a coarser scanner at 200 and 150. Needs Chromium and the
 * Debian packages above; throws when a typeface is missing.
 */
export async function drawPages(): Promise<BenchPage[]> {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
  try {
    const pages: BenchPage[] = [];
    for (const page of plan()) pages.push({ ...page, picture: await draw(browser, page) });
    return pages;
  } finally {
    await browser.close();
  }
}

async function draw(browser: Browser, page: Plan): Promise<Buffer> {
  const dpi = page.wear.endsWith(" dpi") ? Number.parseInt(page.wear, 10) : 300;
  const context = await browser.newContext({ deviceScaleFactor: dpi / 96 });
  const tab = await context.newPage();
  await tab.setContent(html(page));

  // Chromium takes another typeface without a word where one is missing.
  const devTools = await context.newCDPSession(tab);
  await devTools.send("DOM.enable");
  await devTools.send("CSS.enable");
  const { root } = await devTools.send("DOM.getDocument");
  const main = await devTools.send("DOM.querySelector", { nodeId: root.nodeId, selector: "main" });
  const { fonts } = await devTools.send("CSS.getPlatformFontsForNode", main);
  if (!fonts.some(({ familyName }) => familyName === page.font)) {
    const debian = { ...ARABIC_FONTS, ...LATIN_FONTS }[page.font];
    throw new Error(`The typeface ${page.font} is missing: apt-get install ${debian}`);
  }

  const type = page.wear === "noisy" ? { type: "jpeg" as const, quality: 60 } : {};
  const picture = await tab.locator("body").screenshot(type);
  await context.close();
  return picture;
}
