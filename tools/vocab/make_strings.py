"""Writes tests/golden/text/strings.json.gz: the strings that every vocabulary is compared on.

Deterministic: the same Python gives the same file. A string may hold characters U+F8F0 ... U+F8FF: they stand for
special tokens, the k-th for token `7 * k mod n` of the vocabulary's n added tokens in order of their ids
(tests/text_support.ts and make_vectors.py put them in).

    python tools/vocab/make_strings.py
"""

import gzip
import json
import random
from pathlib import Path

SEED = 20261124
OUT = Path(__file__).parents[2] / "tests/golden/text/strings.json.gz"

PROSE = [
    "The quick brown fox jumps over the lazy dog, and it's not the first time she'd seen that.",
    "I'LL say it's YOU'RE we've THEY'D don't 'tis rock'n'roll O'Neill's isn'T 'Ve 'RE 'lL ſ'ſ'S",
    "Les élèves n'étaient pas à l'heure; où est-ce qu'ils ont été ? « Ça va ! »",
    "Der Fußgänger überquerte größtenteils mühelos die Straße — „natürlich“, sagte er.",
    "El niño comió piñas en España… ¿Cuándo? ¡Mañana por la mañana!",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Ὁ ἄνθρωπος ᾠδή ᾷ.",
    "这是一个测试句子,包含标点符号。今天天气很好！你吃了吗？",
    "吾輩は猫である。名前はまだ無い。カタカナとひらがなも。ｶﾀｶﾅ",
    "안녕하세요, 오늘 날씨가 좋네요. 각하 ㄱㄴㄷ 뷁",
    "السلام عليكم، كيف حالك؟ اللُّغَةُ العَرَبِيَّة ١٢٣",
    "שלום עולם, מה שלומך? בְּרֵאשִׁית",
    "नमस्ते दुनिया, आप कैसे हैं? क्षत्रिय १२३",
    "ภาษาไทยเขียนติดกันไม่มีช่องว่าง ๑๒๓",
    "বাংলা ভাষা খুব সুন্দর। தமிழ் மொழி. తెలుగు ಕನ್ನಡ മലയാളം සිංහල",
    "Tiếng Việt có nhiều dấu thanh: ắ ằ ẳ ẵ ặ.",
    "ქართული ენა ᲥᲐᲠᲗᲣᲚᲘ Հայերեն ժողովուրդ ᏣᎳᎩ አማርኛ ភាសាខ្មែរ မြန်မာ ལྷ་ས ᠮᠣᠩᠭᠣᠯ",
    "ꦧꦱꦗꦮ ᜏᜒᜃᜅ᜔ ⵜⴰⵎⴰⵣⵉⵖⵜ 𐌰𐌱𐌲 𒀀𒁀 𐎀𐎁 𓀀𓁀 ꙮ Ǆ ǅ ǆ ﬁ ﬆ ŉ İ ı ẞ",
]
CODE = [
    "def f(x):\n    return [i**2 for i in range(x) if i % 3 == 0]\n\n\nclass A(B):\n\tpass\n",
    "for (let i = 0; i < n; i++) { sum += a[i] ?? 0; } // comment\r\n",
    '#include <stdio.h>\nint main(void) { printf("%d\\n", 0x1F); return 0; }\n',
    "SELECT * FROM users WHERE id >= 100 AND name LIKE '%O''Brien%';",
    "<html><body class=\"x\">&nbsp;<a href='https://example.com/a?b=c&d=%20#e'>link</a></body></html>",
    '{"key": [1, 2.5e-10, null, true], "nested": {"a": "\\u00e9"}}',
    "git commit -m \"fix: don't crash\" && ./run.sh --flag=value | grep -v '^#' > out.txt 2>&1",
    "\\begin{equation} \\int_0^\\infty e^{-x^2} dx = \\frac{\\sqrt{\\pi}}{2} \\end{equation}",
    "if (a && b || !c) a ^= b << 3 >>> 2; x = y ? z : w;",
    "import numpy as np\nnp.zeros((3,4))[..., None] @ W.T  # matmul",
]
EMOJI = "😀😂🤣😊🥰👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇫🇷1️⃣❤️✨🚀🎉©®™☺︎⌚️🫠🩷"
SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\u00a0",
    "\u3000",
    "\u2003",
    "\u2028",
    "\u0085",
    "\u200b",
    "\ufeff",
    "\v",
    "\f",
]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»“”‘’…—–·•、。「」！？：；（）￥€£§¶†‡№")
NUMBERS = [
    "0",
    "1",
    "12",
    "123",
    "1234",
    "12345",
    "3.14159",
    "1,000,000",
    "2024-11-24",
    "12:34:56",
    "0xdeadbeef",
    "1e-5",
    "²³¹½¼",
    "Ⅷ",
    "१२३",
    "１２３",
    "٣٤٥",
    "一二三",
    "⑩",
    "൰",
]
MARKS = "\u0301\u0300\u0308\u0323\u0327\u0345\u064b\u05b0\u093c\u1161\u11a8\u20e3\ufe0f\u200d\u0344\u0958"
RANGES = [
    (0x00, 0x7F),
    (0x00, 0x1F),
    (0x80, 0xFF),
    (0x100, 0x24F),
    (0x250, 0x2FF),
    (0x300, 0x36F),
    (0x370, 0x52F),
    (0x530, 0x7FF),
    (0x900, 0xDFF),
    (0xE00, 0x1FFF),
    (0x2000, 0x2BFF),
    (0x2C00, 0x2E7F),
    (0x3000, 0x33FF),
    (0x4E00, 0x9FFF),
    (0xA000, 0xABFF),
    (0xAC00, 0xD7FF),
    (0xE000, 0xE0FF),
    (0xF900, 0xFFFF),
    (0x10000, 0x107FF),
    (0x10800, 0x16FFF),
    (0x1D000, 0x1DFFF),
    (0x1F000, 0x1FAFF),
    (0x20000, 0x2FFFF),
    (0xE0000, 0xE01FF),
    (0x10FF00, 0x10FFFF),
]


def random_points(rng: random.Random) -> str:
    low, high = rng.choice(RANGES)
    points = (rng.randint(low, high) for _ in range(rng.randint(1, 12)))
    # Placeholders are put in on purpose only. U+1DF6 ... U+1DF9 (marks of Unicode 10) are unknown to the normalization
    # tables of `tokenizers` 0.23, which puts marks around them in another order than Unicode says.
    unwanted = [*range(0xD800, 0xE000), *range(0xF8F0, 0xF900), *range(0x1DF6, 0x1DFA)]
    return "".join(chr(c) for c in points if c not in unwanted)


def random_bytes(rng: random.Random) -> str:
    data = bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 24)))
    return data.decode("utf-8", "replace") if rng.random() < 0.5 else data.decode("latin-1")


def random_words(rng: random.Random) -> str:
    words = rng.choice(PROSE).split(" ")
    at = rng.randrange(len(words))
    text = rng.choice([" ", " ", " ", "  ", "\n", ""]).join(words[at : at + rng.randint(1, 8)])
    return rng.choice([text, text, text, text.upper(), text.lower(), text.title(), text[::-1]])


def random_code(rng: random.Random) -> str:
    text = rng.choice(CODE)
    at = rng.randrange(len(text))
    return text[at : at + rng.randint(3, 60)]


def random_letters(rng: random.Random) -> str:
    letters = rng.choice(["abcdefghijklmnopqrstuvwxyz", "ABCXYZabcxyz", "aA", "eèéêë", "ab'", "日本語文字", "абвгд"])
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 20)))


def part(rng: random.Random) -> str:
    kind = rng.randrange(14)
    if kind <= 2:
        return random_words(rng)
    if kind == 3:
        return random_code(rng)
    if kind == 4:
        return rng.choice(SPACES) * rng.choice([1, 1, 2, 3, 4, 5, 8, 16, 33])
    if kind == 5:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 6)))
    if kind == 6:
        return rng.choice(PUNCTUATION) * rng.choice([1, 1, 2, 3, 7])
    if kind == 7:
        return rng.choice(NUMBERS) + ("" if rng.random() < 0.5 else str(rng.randint(0, 10 ** rng.randint(1, 20))))
    if kind == 8:
        at = rng.randrange(len(EMOJI))
        return EMOJI[at : at + rng.randint(1, 6)]
    if kind == 9:
        return random_points(rng)
    if kind == 10:
        return random_bytes(rng)
    if kind == 11:
        return chr(0xF8F0 + rng.randrange(16)) * rng.choice([1, 1, 1, 2])
    if kind == 12:
        return rng.choice("aeounAEOkक한ᄒ") + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 3)))
    return random_letters(rng)


def strings() -> list[str]:
    rng = random.Random(SEED)
    result = [
        "",
        " ",
        "  ",
        "a",
        "\n",
        *PROSE,
        *CODE,
        *NUMBERS,
        *SPACES,
        *PUNCTUATION,
        EMOJI,
        "<0x0A>",
        "a▁b",
        " ▁x",
        "▁ y",
        "<s>",
        "</s>",
        "<unk>",
    ]
    # Each special token alone, between words, and between spaces.
    for k in range(16):
        result += [chr(0xF8F0 + k), f"a{chr(0xF8F0 + k)}b", f"x {chr(0xF8F0 + k)} y\n"]
    # One code point of every range of 64 (surrogates aside): a class that is wrong shows.
    for low in range(0, 0x20000, 64):
        point = low + rng.randrange(64)
        if not 0xD800 <= point <= 0xDFFF and not 0xF8F0 <= point <= 0xF8FF:
            result.append(f"a{chr(point)}b 1{chr(point)}! {chr(point)}{chr(point)}")
    while len(result) < 6000:
        result.append("".join(part(rng) for _ in range(rng.choice([1, 2, 3, 3, 4, 6, 10]))))
    return result


if __name__ == "__main__":
    data = json.dumps(strings(), ensure_ascii=True, separators=(",", ":")).encode()
    with open(OUT, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
        file.write(data)
    print(f"{OUT.name}: {len(strings())} strings, {len(data)} bytes, {OUT.stat().st_size} compressed")
