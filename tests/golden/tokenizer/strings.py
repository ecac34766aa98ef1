"""The texts of the tokenizer vectors, and the text that the tiny tokenizers are trained on. Written for this purpose."""
import random

WORDS = """the of and to in is that it was for on are with as his they be at one have this from or had by word but what some we
can out other were all there when up use your how said an each she which do their time if will way about many then them write
would like so these her long make thing see him two has look more day could go come did number sound no most people my over know
water than call first who may down side been now find any new work part take get place made live where after back little only round
man year came show every good me give our under name very through just form sentence great think say help low line differ turn cause
much mean before move right boy old too same tell does set three want air well also play small end put home read hand port large
spell add even land here must big high such follow act why ask men change went light kind off need house picture try us again animal
point mother world near build self earth father head stand own page should country found answer school grow study still learn plant
attention sink token layer head query key value residual stream norm""".split()
OTHERS = """el la los de que y en un ser se no haber por con su para como estar tener le lo todo pero más hacer o poder decir este ir
otro ese si me ya ver porque dar cuando él muy sin vez mucho saber qué sobre mi alguno mismo también hasta año dos querer entre así
der die und das nicht über für größe straße können müssen schön früh zwölf être été où déjà garçon français élève cœur noël
и в не на я быть он с что а по это она этот к но они мы весь который из у который то за свой один
και το να του η με που την από για στο δεν είναι
我 的 是 了 不 在 人 有 我们 他 这 个 中国 大学 学习 语言 模型 注意力 東京 日本語 です ます こと もの する ない
안녕 하세요 한국어 모델 주의
في من على أن إلى هذا التي كان
है के में की से को और यह
שלום עולם של את על
""".split()


def training_text():
    """4,000 sentences of these words with numbers, code and punctuation between them."""
    rng = random.Random(1)
    lines = []
    for _ in range(4000):
        words = [rng.choice(WORDS if rng.random() < 0.75 else OTHERS) for _ in range(rng.randint(3, 12))]
        if rng.random() < 0.3:
            words.insert(rng.randrange(len(words)), rng.choice(["don't", "it's", "we'll", "I'm", "they've", "you're", "she'd"]))
        if rng.random() < 0.2:
            words.append(str(rng.randrange(3000)))
        line = " ".join(words)
        if rng.random() < 0.5:
            line = line[0].upper() + line[1:]
        lines.append(line + rng.choice([".", "!", "?", " ...", ":\n", ";", "\n\n", "  ", "(x)", " = 0;\n", "\r\n", " 🙂", " 👍🏽"]))
    return lines


SCRIPTS = [
    "The quick brown fox jumps over the lazy dog.", "Příliš žluťoučký kůň úpěl ďábelské ódy.", "Größe, Straße, Übermut",
    "Съешь же ещё этих мягких французских булок", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία", "שלום עולם, מה שלומך?",
    "مرحبا بالعالم ١٢٣ هذا نص", "नमस्ते दुनिया, यह हिन्दी है।", "বাংলা ভাষা ১২৩", "ਪੰਜਾਬੀ ਲਿਖਤ", "ગુજરાતી લખાણ", "தமிழ் மொழி ௧௨௩", "తెలుగు భాష",
    "ಕನ್ನಡ ಭಾಷೆ", "മലയാളം ഭാഷ", "සිංහල අකුරු", "ภาษาไทยไม่มีช่องว่าง", "ພາສາລາວ", "བོད་ཡིག་", "မြန်မာဘာသာ", "ქართული ენა", "հայերեն լեզու",
    "አማርኛ ቋንቋ ፩፪፫", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ᐃᓄᒃᑎᑐᑦ", "ភាសាខ្មែរ ០១២", "ᠮᠣᠩᠭᠣᠯ\u180eᠪᠢᠴᠢᠭ", "日本語のテキスト、カタカナとひらがな。", "中文文本没有空格，标点也不同。", "繁體中文測試",
    "한국어 문장입니다.", "ㄱㄴㄷㄹ ㅏㅑㅓㅕ", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "𝓜𝓪𝓽𝓱 𝔸𝕝𝕡𝕙𝕒 𝟙𝟚𝟛", "𐍈𐌰𐌽𐌳𐍅", "𒀀𒀁𒀂", "𓀀𓀁", "ꙮ ꙁ", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "ߒߞߏ", "𞤀𞤣𞤤𞤢𞤥",
    "ⅠⅡⅢ ① ② ㊀ ½ ⅓ ² ³", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "１２３４ ＡＢＣ", "ﬁ ﬂ ﬀ", "ĳ ŉ ǅ ǈ", "ſ K Å Ω µ",
]
EMOJI = [
    "🙂", "🙂🙂🙂", "👍🏽", "👨‍👩‍👧‍👦", "👩🏾‍🚀 in space", "🏳️‍🌈🏴‍☠️", "🇩🇪🇯🇵🇺🇸", "☺️ ☺", "1️⃣2️⃣", "❤️‍🔥", "text🙂text", " 🙂 ", "🧑🏻‍🤝‍🧑🏿", "😀😃😄😁😆", "©®™", "♔♕♖♗",
    "🫠🫨", "a👍b", "👍\u200d", "\u200d👍", "\ufe0f", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
]
COMBINING = [
    "e\u0301", "cafe\u0301", "e\u0301e\u0301e\u0301", "a\u0300\u0301\u0302\u0303", "q\u0307\u0323", "q\u0323\u0307", "\u0301", " \u0301x", "o\u0302\u0301",
    "A\u030a", "\u212b", "\u2126", "\u1e9b\u0323", "d\u0323\u0307", "\u0344", "\u0958", "\u09c7\u09be", "\u0bc6\u0bbe", "\u1025\u102e",
    "\uac00\u11a8", "\u1100\u1161", "\u1100\u1161\u11a8", "x\u0300" * 20, "z" + "\u0335" * 40, "n\u0303a\u0303o", "fi\u0308nd", "\u0f71\u0f72", "\u0f73",
    "\ufb1d", "\u05d9\u05b4", "\u2adc", "\U0001d15e", "e\u0301 e\u0301", "re\u0301sume\u0301 and nai\u0308ve", "\u0041\u0328\u0301", "le\u0301on's", "Z\u0301'S",
]
BLANKS = [
    " ", "  ", "   ", " " * 7, " " * 8, " " * 25, " " * 60, "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", " \n ", "  \n  ", "\t \n", "a b", "a  b",
    "a   b", "a\tb", "a\nb", "a\n\nb", "a\r\nb", "a \n b", "a  ", "  a", "a\n", "\na", " a ", "\t\ta", "a\t\t", "x \t y", "if x:\n    return y\n", "\tdef f():\n\t\tpass\n",
    "a\u00a0b", "a\u00a0\u00a0b", "\u00a0", "\u2003a", "a\u2003", "a\u2003\u2003b", "a\u3000b", "\u3000\u3000", "a\u1680b", "a\u2028b", "a\u2029b", "\u2028\u2029", "a\u202fb", "a\u205fb",
    "a\u0085b", "\u0085", "\u0085\u0085 x", "a \u0085 b", "a\u180eb", "\u180e", " \u180e ", "a\u180e\u180e b", "a\u200bb", "\u200b", "\ufeffa", "a\ufeffb", "\ufeff", "\u000b\u000c", "a\u000bb", "a\u000cb",
    "\u001c\u001d\u001e\u001f", "a\u001cb", "end of line  \n\n  begin", "many\n\n\n\n\nlines", "\n \n \n", " \t \t ", "x" + " " * 16 + "y", "trailing \u00a0", "a\u2007b", "  'll", " 's", "\n's",
]
DIGITS = [
    "0", "1", "12", "123", "1234", "12345", "123456", "1234567890", " 1", " 12", " 1234", "1 2 3", "1,234,567.89", "3.14159", "-42", "+1-555-0100", "0x1F", "1e-5", "2024-01-02", "10:30:59",
    "a1b2c3", "x1", "1x", "100%", "$9.99", "№5", "½ cup", "x²+y²", "1⁄2", "Ⅷ", "١٢٣٤", "12٣٤", "𝟘𝟙𝟚", "①②③", "１２３", "v1.2.3", "1st 2nd 3rd", "000", "9" * 30, "1 000 000", "٣٫١٤", "〇一二",
]
CONTRACTIONS = [
    "don't", "DON'T", "Don'T", "it's", "IT'S", "we'll", "WE'LL", "We'Ll", "I'm", "I'M", "they've", "THEY'VE", "you're", "YOU'RE", "she'd", "SHE'D", "'s", "'S", "'t", "'re", "'ve", "'ll", "'d", "'m",
    "''s", "'sx", "'tx", "'lls", "l'll", "rock'n'roll", "o'clock", "'tis", "d'accord", "it’s", "'\u017f", "it'\u017f", "IT'\u017f x", "'\u212a", "\u212a's", "'ſ'ſ", "'\u017fx", "x'\u017f", "'LL", "'Ve", "'rE", "'R", "'v", "a'b'c",
    "\u0130'\u0131", "'\u00df", "'ST", "'\ufb05",
]
PUNCTUATION = [
    ".", "...", "!?", "(a)", "[b]", "{c}", "<d>", "\"quoted\"", "'quoted'", "“curly”", "‘single’", "«guillemets»", "a-b", "a--b", "a — b", "a_b", "a__b__c", "a/b/c", "a\\b", "a|b", "a&b", "a@b.com", "#tag", "50%",
    "~/path", "^caret", "a=b", "a==b", "a!=b", "i++;", "x->y", "f(x, y);", "{\"k\": [1, 2]}", "<html lang=\"en\">", "http://example.org/?q=1&r=2#frag", "// comment\n", "/* c */", "#include <stdio.h>\n", "$x = 5;",
    "`code`", "***bold***", "!!!\n\n", "...\n", " ?\n\n x", ";;\r\n", "—", "…", "·", "•", "、。", "！？", "¿qué?", "¡sí!", "†‡", "€£¥", "∑∫√∞", "←→↑↓", "☃", "a,b;c:d", ") (", "))) ", "=====\n-----\n", "\u061b\u061f", "-\n-",
]
SPECIALS = [
    "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", " <|endoftext|> ", "<|endoftext|", "|endoftext|>", "<|im_start|>user\nhi<|im_end|>\n", "<|im_start|>", "<|im_end|>x", "<|begin_of_text|>Hello", "<|eot_id|>",
    "x<|begin_of_text|>y", "<|start_header_id|>system", "<|padding|>", "<<|endoftext|>>", "<|ENDOFTEXT|>", "<mask>", "a <mask> b", "a  <mask>  b", "<mask><mask>", "  <mask>", "<r>", "a <r>  b", "<r>  <r>", "a<r>b", "x <lr> y", "  <lr>  <lr>  ",
    "<lr>\n\n<mask>", "<a>", "<a><b>", "<a><a><b><b>", "<a> <b>", "<n>", " <n> ", "word", "words", "a word b", "sword", "word.", "word_", "-word-", "wordword", "word word", "\u00e9word", "word1", "ing", "singing", "king ing", "b\u1ebdn", "be\u0303n", "a be\u0303n b",
    "b\u1ebdns", "be\u0303ns", "e\u0301t", "\u00e9t", "e\u0301te\u0301", "\u6f22", "\u6f22\u5b57", "\u6f22\u6f22\u5b57", "a\u6f22b", "<a>be\u0303n<r> e\u0301 <mask>", "\u00a0<mask>\u00a0", "<r>\u3000x", "word\u0301", "\u200dword", "<mask> ing", "unreachable unreachable tokenization", "🙂🙂",
    "<|endoftext|>\n", "  <|endoftext|>", "<|im_start|>assistant\n<|im_start|>", "a<|end", "<r><mask>", "<r> <mask>",
]
CONTROL = [
    "\u0000", "a\u0000b", "\u0001\u0002\u0003", "\u0004", "a\u0004b", "to\u0006ken", "\u0013", "\u007f", "\u0080", "\u009f", "\u00ad", "soft\u00adhyphen", "\u0378", "\ue000", "\uf8ff", "\ufffd", "\ufffe", "\uffff", "\U000e0001", "\U000f0000", "\U00040000", "a\U0010ffffb",
    "\u202eabc\u202c", "\u2066x\u2069", "\u061c", "\u034f", "\u115f\u1160", "\u17b4", "\u3164", "\uffa0", "\u2800", "\u001b[31mred\u001b[0m",
]
PROSE = [
    "In the beginning there was one token, and it drew all attention to itself.", "She said: \"It's 5 o'clock, isn't it?\" -- and left.", "Der Fluß floß über 1.000 m² Land; niemand wußte, warum.",
    "def softmax(x):\n    e = np.exp(x - x.max())\n    return e / e.sum()\n", "for (size_t i = 0; i < n; i++) {\n\tsum += x[i];\n}\n", "Table:\n| a | b |\n|---|---|\n| 1 | 2 |\n", "1. First\n2. Second\n\n\t- nested\n",
    "E = mc², ∀x∈ℝ: x² ≥ 0", "Привет, мир! Как дела? 123", "你好，世界！2024年", "こんにちは世界🌏。", "مرحبا! كيف الحال؟ 42", "mixed Русский and English та українська", "CamelCaseWord and snake_case_word and kebab-case-word",
    "ALL CAPS SHOUTING", "aAbBcC", "https://en.wikipedia.org/wiki/Byte_pair_encoding", "The  double  spaced   text.", "no", "I", "We'll see what they've done; I'm sure you're right, she'd say.", "Tab\tseparated\tvalues\n1\t2\t3\n",
    "the the the the the the", "abcabcabcabcabc", "the.of,and;to:in", "theofandtoin", "THEOFAND", "Qu'est-ce que c'est?", "naïve coöperation façade", "a" * 50, "ab" * 40, "\u00e9" * 30, "\u4e2d" * 40, "the" * 30, " the" * 30, "." * 50, "-=" * 30,
    "xX" * 20 + " " + "yY" * 20, "\n".join("line %d" % i for i in range(12)), "",
]


def make_strings():
    """All texts; a list of [part, n] stands for the parts repeated n times, one after the other."""
    rng = random.Random(2)
    texts = SCRIPTS + EMOJI + COMBINING + BLANKS + DIGITS + CONTRACTIONS + PUNCTUATION + SPECIALS + CONTROL + PROSE
    pieces = SCRIPTS + EMOJI + COMBINING + BLANKS + DIGITS + CONTRACTIONS + PUNCTUATION + CONTROL
    for _ in range(60):  # neighbours that nobody thought of
        texts.append("".join(rng.choice(pieces)[:6] for _ in range(rng.randint(2, 6))))
    characters = [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x300, 0x370), *range(0x370, 0x400), *range(0x400, 0x460),
                  *range(0x5D0, 0x5EB), *range(0x2000, 0x2070), *range(0x20A0, 0x20C0), *range(0x3040, 0x3100),
                  *range(0x4E00, 0x4E40), *range(0xAC00, 0xAC40), *range(0x1F600, 0x1F640), 0x9, 0xA, 0xD, 0x20, 0x20, 0x27]
    for _ in range(60):
        texts.append("".join(chr(rng.choice(characters)) for _ in range(rng.randint(1, 24))))
    texts = list(dict.fromkeys(texts))
    texts += [
        [["a", 20000]], [[" ", 20000]], [["\n", 20000]], [["the", 8000]], [["the ", 8000]], [["9", 20000]], [["\u00e9", 9000]],
        [["e\u0301", 6000]], [["\u4e2d", 8000]], [["\U0001f642", 5000]], [["a", 1], ["\u0301", 5000]], [["!", 20000]], [["'s", 8000]],
        [[" \n", 8000]], [["a b", 8000]], [["<|endoftext|>", 2000]], [["x", 3000], [" ", 3000], ["\n", 3000], ["7", 3000]],
        [["ab", 5000], ["ba", 5000]], [["\u200d", 5000]], [[" ", 9999], ["x", 1]],
    ]
    return texts
