"""Writes tests/golden/text/splits.json: where PyPI `tokenizers` cuts the strings of strings.json.gz.

For pre-tokenizers whose vocabulary is not at hand: the pipeline of the model's own tokenizer.json, built from the
parts that `tokenizers` offers. Each value is a list of hashes, one of every 32 strings (the ends of the pieces, in
code points); tests/tokenizer_split_test.ts computes the same.

    python tools/vocab/make_splits.py

Needs `tokenizers` (0.23.3 was used).
"""

import gzip
import json

from make_vectors import GOLDEN, SEPARATOR, hash_ids
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

GROUP = 32
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORD = r"[^\r\n\p{L}\p{N}]?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
NO_HAN = r"&&[^\p{Han}]]"
UPPER_NO_HAN, LOWER_NO_HAN = UPPER[:-1] + NO_HAN, LOWER[:-1] + NO_HAN
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN2 = LLAMA3.replace("{1,3}", "")
# Letters with case, as deepseek-llm lists them beside A-Z and a-z.
CASED = (
    "B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376-377 37B-37D 37F 386 388-38A 38C 38E-3A1 "
    "3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B "
    "1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D "
    "1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 "
    "2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E "
    "2183-2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2-2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E "
    "AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 "
    "10CC0-10CF2 118A0-118DF 1E900-1E943 "
)
CASED_CLASS = "".join("-".join(f"\\x{{{code}}}" for code in each.split("-")) for each in CASED.split())


def split(pattern: str) -> PreTokenizer:
    return Split(Regex(pattern), "isolated")


def gpt2() -> PreTokenizer:
    return ByteLevel(add_prefix_space=False, use_regex=True)


PIPELINES = {
    "gpt-2": [gpt2()],
    "smollm": [Digits(individual_digits=True), gpt2()],
    "llama-bpe": [split(LLAMA3)],
    "qwen2": [split(QWEN2)],
    "qwen35": [
        split(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL)
    ],
    "gpt-4o": [
        split(
            f"{WORD}{UPPER}*{LOWER}+{CONTRACTIONS}?|{WORD}{UPPER}+{LOWER}*{CONTRACTIONS}?"
            + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
            + TAIL
        )
    ],
    "tekken": [
        split(f"{WORD}{UPPER}*{LOWER}+|{WORD}{UPPER}+{LOWER}*" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL)
    ],
    "kimi-k2": [
        split(
            rf"[\p{{Han}}]+|{WORD}{UPPER_NO_HAN}*{LOWER_NO_HAN}+{CONTRACTIONS}?"
            + rf"|{WORD}{UPPER_NO_HAN}+{LOWER_NO_HAN}*{CONTRACTIONS}?"
            + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
            + TAIL
        )
    ],
    "deepseek-llm": [
        split(r"[\r\n]"),
        split(rf"\s?[A-Za-z{CASED_CLASS}]+"),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        split(r"\s+$"),
        split("[一-龥ࠀ-一가-퟿]+"),
        Digits(individual_digits=False),
    ],
    "deepseek-coder": [
        split(r"[\r\n]"),
        split(r"\s?\p{L}+"),
        split(r"\s?\p{P}+"),
        split("[一-龥ࠀ-一가-퟿]+"),
        Digits(individual_digits=True),
    ],
    "deepseek-v3": [
        split(r"\p{N}{1,3}"),
        split("[一-龥぀-ゟ゠-ヿ]+"),
        split(
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            + r"| ?[\p{P}\p{S}]+[\r\n]*|"
            + TAIL
        ),
    ],
    "bailingmoe": [
        split(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
            + r"|\s*[\r\n]|\s+(?!\S)|\s+"
        )
    ],
    "seed-coder": [split(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + TAIL)],
    "exaone-moe": [
        split(
            CONTRACTIONS
            + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
            + r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        )
    ],
    "bloom": [split(r" ?[^(\s|[.,!?…。，、।۔،])]+")],
    "minicpm5": [split(r"\p{N}{1,3}"), split(LLAMA3.replace("{1,3}", "+"))],
}


def group_hashes(pipeline: list[PreTokenizer], strings: list[str]) -> list[int]:
    sequence = Sequence(pipeline)
    hashes = []
    for at in range(0, len(strings), GROUP):
        value = 0x811C9DC5
        for text in strings[at : at + GROUP]:
            ends = [end for _, (_, end) in sequence.pre_tokenize_str(text)]
            value = hash_ids([SEPARATOR], hash_ids(ends, value))
        hashes.append(value)
    return hashes


def main() -> None:
    with gzip.open(GOLDEN / "strings.json.gz") as file:
        strings = json.load(file)
    splits = {name: group_hashes(pipeline, strings) for name, pipeline in PIPELINES.items()}
    lines = ",\n".join(f'"{name}": {json.dumps(hashes, separators=(",", ":"))}' for name, hashes in splits.items())
    (GOLDEN / "splits.json").write_text("{\n" + lines + "\n}\n")
    print(f"{len(splits)} pre-tokenizers, {len(strings)} strings")


if __name__ == "__main__":
    main()
