/* modules.c - the compiled kernels, for every GPU this build is for. */
#include "cuda.h"

alignas(64) static const unsigned char weights_code[] = {
#embed "weights.fatbin"
};
alignas(64) static const unsigned char ops_code[] = {
#embed "ops.fatbin"
};
alignas(64) static const unsigned char attention_code[] = {
#embed "attention.fatbin"
};
alignas(64) static const unsigned char matmul_code[] = {
#embed "matmul.fatbin"
};
alignas(64) static const unsigned char gemv_code[] = {
#embed "gemv.fatbin"
};
alignas(64) static const unsigned char gemm_code[] = {
#embed "gemm.fatbin"
};
alignas(64) static const unsigned char flash_code[] = {
#embed "flash.fatbin"
};
alignas(64) static const unsigned char prefill_product_code[] = {
#embed "prefill_product.fatbin"
};
alignas(64) static const unsigned char prefill_wgmma_code[] = {
#embed "prefill_wgmma.fatbin"
};
alignas(64) static const unsigned char prompt_attention_code[] = {
#embed "prompt_attention.fatbin"
};
alignas(64) static const unsigned char best_code[] = {
#embed "best.fatbin"
};

const void *rzc_fatbin(rzc_module module) {
    static const void *const code[] = {
#define CODE(name) [RZC_M_##name] = name##_code,
        RZC_MODULES(CODE)
#undef CODE
    };
    return code[module];
}
