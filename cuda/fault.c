/* fault.c - real device errors on order, in the test library only: what a broken kernel does to its context. */
#if defined(RZ_TEST)
#include "cuda.h"
#include "test_hooks.h"

/* A pointer to nowhere, and an instruction that ends the kernel. */
static const char code[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
                           ".visible .entry stray()\n{\n.reg .b64 %rd<2>;\n.reg .b32 %r<2>;\n"
                           "mov.u64 %rd1, 16;\nmov.u32 %r1, 1;\nst.global.u32 [%rd1], %r1;\nret;\n}\n"
                           ".visible .entry trap()\n{\ntrap;\nret;\n}\n";

void rzc_fault(rzc_engine *e) {
    const char *name = rz_test_fails(RZ_TEST_TRAP) ? "trap" : rz_test_fails(RZ_TEST_STRAY) ? "stray" : NULL;
    void *module = NULL, *kernel = NULL;
    const rz_cu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}, .stream = e->stream};
    if (name == NULL || e->cu->module_load(&module, code) != 0) return;
    if (e->cu->module_function(&kernel, module, name) == 0) e->cu->launch(&config, kernel, NULL, NULL);
}
#endif
