"""Golden logits of an independent implementation: transformers in F32, reading the same GGUF files.

    python tools/golden/make_logits.py [--model SmolLM2-135M-Instruct.Q4_1.gguf] [--only NAME]

needs `pip install torch transformers gguf accelerate` and the project's bun (npm install). Writes
tests/golden/logits/NAME.bin, one for each tiny model of tests/golden_cases.ts, and smollm2.bin with --model.

A file: one line of JSON, padded with spaces to a multiple of 4 bytes, then float32 little-endian, for each position of
each prompt: min, max, logsumexp and argmax of the logits, then the logits of the ids that are = n modulo `stride`,
ascending, where n counts the positions over all prompts. So every id is looked at, and the sum sees all of them
everywhere, in a `stride`-th of the space.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "golden" / "logits"

TEXTS = [
    "The capital of France is Paris, and the",
    "def add(a, b):\n    return a +",
    "Once upon a time there was a little",
    "Water boils at 100 degrees",
    "Über den Wolken ist der",
    "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n",
    "1, 2, 3, 4, 5,",
    "A",
]


def field(reader: gguf.GGUFReader, key: str):
    """A scalar of the metadata, None when it is not there."""
    found = reader.get_field(key)
    return None if found is None else found.contents()


def config_of(path: pathlib.Path, llama3_original_context):
    """transformers' own reading of the file, with what it leaves out: sizes of heads and experts, RoPE scaling."""
    config = transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    reader = gguf.GGUFReader(path)
    arch = field(reader, "general.architecture")
    head_dim = field(reader, f"{arch}.attention.key_length")
    if head_dim is None:
        head_dim = config.hidden_size // config.num_attention_heads
    config.head_dim = int(head_dim)
    expert_size = field(reader, f"{arch}.expert_feed_forward_length")
    if expert_size is not None:
        config.moe_intermediate_size = int(expert_size)
        config.norm_topk_prob = True
    theta = float(field(reader, f"{arch}.rope.freq_base") or 10000.0)
    rope = {"rope_type": "default", "rope_theta": theta}
    if llama3_original_context is not None:
        rope = {
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": llama3_original_context,
        }
    config.rope_parameters = rope
    return config


def logits_of(path: pathlib.Path, prompts, llama3_original_context=None):
    """[positions of all prompts, vocab] in float64."""
    config = config_of(path, llama3_original_context)
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=config, dtype=torch.float32, output_loading_info=True
    )
    model.eval()
    # A tensor that was not found would be random, silently.
    left = set(loading["missing_keys"]) - ({"lm_head.weight"} if config.tie_word_embeddings else set())
    assert not left and not loading["mismatched_keys"], loading
    rope = model.config.rope_parameters
    assert rope["rope_type"] == ("default" if llama3_original_context is None else "llama3"), rope
    with torch.no_grad():
        rows = [model(torch.tensor([prompt])).logits[0] for prompt in prompts]
    return torch.cat(rows).double().numpy()


def write(name: str, path: pathlib.Path, prompts, logits: np.ndarray, stride: int, extra: dict):
    vocab = logits.shape[1]
    header = {
        "model": name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "source": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32",
        "vocab": vocab,
        "stride": stride,
        "prompts": prompts,
        **extra,
    }
    line = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    line += b" " * (-(len(line) + 1) % 4) + b"\n"
    largest = logits.max(axis=1)
    total = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    parts = []
    for n, row in enumerate(logits):
        parts += [row.min(), row.max(), total[n], row.argmax(), *row[n % stride :: stride]]
    (OUT / f"{name}.bin").write_bytes(line + np.array(parts, dtype="<f4").tobytes())


def tiny_models(only):
    with tempfile.TemporaryDirectory() as folder:
        bun = ROOT / "node_modules" / ".bin" / "bun"
        subprocess.run([bun, ROOT / "tools" / "golden" / "write_models.ts", folder], check=True)
        for case in json.loads((pathlib.Path(folder) / "cases.json").read_text()):
            if only not in (None, case["name"]):
                continue
            path = pathlib.Path(folder) / f"{case['name']}.gguf"
            logits = logits_of(path, case["prompts"], case["llama3_original_context"])
            write(case["name"], path, case["prompts"], logits, 10, {})
            print(f"{case['name']}: range {logits.min():.2f} .. {logits.max():.2f}", flush=True)


def real_model(path: pathlib.Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    logits = logits_of(path, prompts)
    write("smollm2", path, prompts, logits, 192, {"texts": TEXTS})
    at = 0
    for text, prompt in zip(TEXTS, prompts):
        at += len(prompt)
        print(repr(text), "->", repr(tokenizer.decode([int(logits[at - 1].argmax())])), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--only")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.model:
        real_model(options.model)
    if options.only != "none":
        tiny_models(options.only)


main()
