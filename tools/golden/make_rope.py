"""RoPE tables of an independent implementation, for tests/arch_test.ts.

    python tools/golden/make_rope.py > tests/golden/rope.json

Needs transformers (its functions compute in F32) and torch. Each case: what the file's metadata would say, the
divisors that the file's rope_freqs would hold (Llama 3), and transformers' inverse frequencies and magnitude.
"""

import json
import math

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS


def table(head_dim, base, context, parameters):
    config = LlamaConfig(
        hidden_size=head_dim * 4,
        num_attention_heads=4,
        head_dim=head_dim,
        max_position_embeddings=context,
        rope_parameters={"rope_theta": base, **parameters},
    )
    inv_freq, magnitude = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, "cpu")
    return {"inv_freq": inv_freq.tolist(), "magnitude": magnitude}


def llama3_divisors(head_dim, base, original, factor, low, high):
    """The rule that Meta published for Llama 3.1, as the divisors that converters write into rope_freqs."""
    divisors = []
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * base ** (2 * i / head_dim)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(float(factor))
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def llama3(name, head_dim, base, factor, original=8192, low=1.0, high=4.0):
    parameters = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }
    divisors = llama3_divisors(head_dim, base, original, factor, low, high)
    rope = {"freqBase": base, "nRot": head_dim}
    return {"name": name, "rope": rope, "divisors": divisors, **table(head_dim, base, 131072, parameters)}


def yarn(name, head_dim, base, factor, original, beta_fast=32.0, beta_slow=1.0):
    parameters = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": beta_fast,
        "beta_slow": beta_slow,
    }
    rope = {
        "freqBase": base,
        "nRot": head_dim,
        "scaling": "yarn",
        "factor": factor,
        "origContext": original,
        "extFactor": 1,
        "betaFast": beta_fast,
        "betaSlow": beta_slow,
    }
    return {"name": name, "rope": rope, **table(head_dim, base, int(original * factor), parameters)}


def linear(name, head_dim, base, factor):
    rope = {"freqBase": base, "nRot": head_dim, "scaling": "linear", "factor": factor}
    return {"name": name, "rope": rope, **table(head_dim, base, 4096, {"rope_type": "linear", "factor": factor})}


print(
    json.dumps(
        [
            llama3("Llama 3.1 8B", 128, 500000.0, 8.0),
            llama3("Llama 3.2 1B", 64, 500000.0, 32.0),
            yarn("Qwen2.5 with YaRN 4", 128, 1000000.0, 4.0, 32768),
            yarn("Llama 2 with YaRN 16", 128, 10000.0, 16.0, 4096),
            yarn("YaRN with other betas", 64, 150000.0, 32.0, 4096, 16.0, 2.0),
            linear("linear 2", 64, 10000.0, 2.0),
        ],
        indent=1,
    )
)
