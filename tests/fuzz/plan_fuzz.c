/* plan_fuzz.c - what the verifier accepts can be lowered and run, whatever it is.
 *
 * Input: a byte that chooses the plan, 128 bytes of options, then patches of 9 bytes {u32 offset, u8 width, u32 value}
 * of a good plan, or (byte >= 3) the plan itself. Accepted plans of moderate size run a step of two sequences on the
 * reference executor, over weights and pages of exactly their size. */
#include "../native/program_fixture.h"

#define RUN_BYTES_MAX (4u << 20) /* larger plans are only lowered */

static uint8_t *chosen_plan(uint8_t which, const uint8_t *data, size_t size, uint32_t *n) {
    static builder b;
    if (which >= 3) {
        uint8_t *raw = malloc(size ? size : 1);
        if (size) memcpy(raw, data, size);
        *n = (uint32_t)size;
        return raw;
    }
    if (which == 2)
        build_zoo(&b);
    else
        build_llama(&b, which ? RZ_Q8_0 : RZ_F32);
    uint8_t *bytes = plan_bytes(&b, n);
    for (; size >= 9; data += 9, size -= 9) {
        uint32_t offset, value, width = data[4] % 4 + 1;
        memcpy(&offset, data, 4);
        memcpy(&value, data + 5, 4);
        offset %= *n;
        memcpy(bytes + offset, &value, width < *n - offset ? width : *n - offset);
    }
    return bytes;
}

static bool is_small(const rz_plan_ir *ir, const rz_plan_info *info) {
    uint64_t bytes = info->scratch_bytes;
    for (uint32_t i = 0; i < ir->header->n_weights; i++) bytes += ir->weights[i].bytes;
    for (uint32_t g = 0; g < ir->n_groups; g++) {
        const uint64_t cols = (uint64_t)ir->groups[g].k_cols + ir->groups[g].v_cols;
        bytes += cols * ir->groups[g].n_layers * 4 * 16 * FIXTURE_PAGES;
    }
    return ir->header->n_weights <= 64 && bytes <= RUN_BYTES_MAX;
}

static void run(const uint8_t *bytes, uint32_t n, const rz_plan_options *options) {
    static fixture f;
    static const int32_t zeros[4];
    random_state = 1;
    if (!fixture_open_bytes(&f, &rz_backend_ref, bytes, n)) return;
    fixture_program(&f, options);
    const part parts[] = {{0, 3, zeros, 1}, {14, 4, zeros, 4}};
    if (fixture_step(&f, parts, 2) != RZ_OK) __builtin_trap();
    uint8_t text[256];
    f.backend->program_listing(f.program, 0, text, sizeof text);
    fixture_close(&f);
    if (test_n_failed) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 + sizeof(rz_plan_options)) return 0;
    rz_plan_options options, read;
    memcpy(&options, data + 1, sizeof options);
    uint32_t n = 0;
    uint8_t *bytes = chosen_plan(data[0], data + 1 + sizeof options, size - 1 - sizeof options, &n);
    rz_plan_ir ir;
    rz_plan_info info = {0};
    void *engine = NULL, *none = NULL;
    const rz_engine_options usual_engine = {.size = sizeof usual_engine, .n_devices = 1};
    if (rz_backend_ref.engine_open(&usual_engine, NULL, &engine) != RZ_OK) __builtin_trap();
    if (rz_plan_read(bytes, n, NULL, &ir) == RZ_OK) {
        if (rz_plan_options_read(&ir, &options, &read) != RZ_OK) {
            const rz_plan_options usual = {.size = sizeof usual, .max_tokens = 32, .max_seqs = 2, .max_outs = 32};
            read = usual;
        }
        const bool lowered = rz_backend_ref.program_open(engine, &ir, NULL, &read, &info, &none) == RZ_OK;
        const bool fits = read.max_tokens >= 7 && read.max_seqs >= 2 && read.max_outs >= 7 &&
                          (read.max_rows == 0 || read.max_rows >= 7);
        const bool runs = lowered && fits && is_small(&ir, &info);
        rz_plan_free(&ir);
        if (runs) run(bytes, n, &read);
    }
    rz_backend_ref.engine_close(engine);
    free(bytes);
    return 0;
}
