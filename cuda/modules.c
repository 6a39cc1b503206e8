/* modules.c - the compiled kernels: machine code for the GPUs this build is for, and PTX, which the driver compiles for
 * any. Either may be missing. */
#include "cuda.h"
#include <stdlib.h>
#include <string.h>

alignas(64) static const unsigned char weights_native[] = {
#embed "weights.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char weights_ptx[] = {
#embed "weights.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char ops_native[] = {
#embed "ops.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char ops_ptx[] = {
#embed "ops.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char attention_native[] = {
#embed "attention.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char attention_ptx[] = {
#embed "attention.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char matmul_native[] = {
#embed "matmul.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char matmul_ptx[] = {
#embed "matmul.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char gemv_native[] = {
#embed "gemv.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char gemv_ptx[] = {
#embed "gemv.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prefill_product_native[] = {
#embed "prefill_product.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prefill_product_ptx[] = {
#embed "prefill_product.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prefill_wgmma_native[] = {
#embed "prefill_wgmma.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prefill_wgmma_ptx[] = {
#embed "prefill_wgmma.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char place_native[] = {
#embed "place.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char place_ptx[] = {
#embed "place.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prompt_attention_native[] = {
#embed "prompt_attention.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prompt_attention_ptx[] = {
#embed "prompt_attention.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prompt_wgmma_native[] = {
#embed "prompt_wgmma.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char prompt_wgmma_ptx[] = {
#embed "prompt_wgmma.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char decode_attention_native[] = {
#embed "decode_attention.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char decode_attention_ptx[] = {
#embed "decode_attention.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char best_native[] = {
#embed "best.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char best_ptx[] = {
#embed "best.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char moe_native[] = {
#embed "moe.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char moe_ptx[] = {
#embed "moe.ptx.fatbin" if_empty(0)
};
alignas(64) static const unsigned char moe_many_native[] = {
#embed "moe_many.native.fatbin" if_empty(0)
};
alignas(64) static const unsigned char moe_many_ptx[] = {
#embed "moe_many.ptx.fatbin" if_empty(0)
};

const void *rzc_fatbin(rzc_module module, bool portable) {
    static const struct {
        const unsigned char *code;
        size_t n_bytes;
    } code[][2] = {
#define CODE(name)                                                                                                    \
    [RZC_M_##name] = {{name##_native, sizeof name##_native}, {name##_ptx, sizeof name##_ptx}},
        RZC_MODULES(CODE)
#undef CODE
    };
    return code[module][portable].n_bytes > 1 ? code[module][portable].code : NULL;
}

/* Machine code runs on GPUs of the same major number and of no smaller minor one; that of sm_90a on 9.0 alone. */
bool rzc_has_code(const char *list, int major, int minor) {
    if (strcmp(list, "stub") == 0) return true; /* unit tests */
    for (const char *at = list; at != NULL && *at != 0; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, "ptx", 3) == 0) return true;
        char *end = NULL;
        const long number = strncmp(at, "sm_", 3) == 0 ? strtol(at + 3, &end, 10) : 0;
        const bool exact = end != NULL && *end == 'a';
        if (number / 10 == major && (exact ? number % 10 == minor : number % 10 <= minor)) return true;
    }
    return false;
}
