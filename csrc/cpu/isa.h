/* isa.h - internal: which instruction set this process may use, and its kernels. */
#ifndef RZ_CPU_ISA_H
#define RZ_CPU_ISA_H
#include "kernels.h"
#include "realizar.h"

typedef struct rz_cpu_kernels {
    uint32_t isa; /* rz_isa */
    const char *name;
    const rz_cpu_few *few;
    const rz_cpu_int8 *int8;
    const rz_cpu_panels *pairs; /* in place of int8's panels for the layouts it has; NULL: they don't pay here */
    const rz_cpu_float *floats;
    const rz_cpu_bf16 *bf16; /* for BF16 weights in place of `floats`; NULL: not here */
    const rz_cpu_rows *rows;
    const rz_cpu_attention *attention;
    const rz_cpu_run_f16 *attention_bf16; /* for caches in F16 in place of attention's run; NULL: not here */
} rz_cpu_kernels;

/* Kernels of the best instruction set that runs here, no better than isa_max (RZ_ISA_AUTO: no limit; one of another
 * architecture: the base). */
const rz_cpu_kernels *rz_cpu_kernels_for(uint32_t isa_max);

/* Whether kernels of this instruction set were compiled, and run on this machine. */
bool rz_cpu_isa_usable(uint32_t isa);

#endif
