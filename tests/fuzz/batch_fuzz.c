/* batch_fuzz.c - any bytes as a batch: refused, or run, sampled and told without harm, and the next good step works.
 *
 * Input: a byte that chooses (0-2: a good batch with patches of 9 bytes {u32 offset, u8 width, u32 value}; 3: the bytes
 * are the batch), a byte for the room given to the result, then those. The batch and the result lie in memory of
 * exactly their size. */
#include "../native/core_fixture.h"

static rig r;

static uint8_t *chosen_batch(uint8_t which, const uint8_t *data, size_t size, uint32_t *n) {
    static batch b;
    if (which % 4 == 3) {
        uint8_t *raw = malloc(size > 0 ? size : 1);
        if (size > 0) memcpy(raw, data, size);
        *n = (uint32_t)size;
        return raw;
    }
    batch_begin(&b);
    batch_seq(&b, 0, 20, 3, 1, 10);
    batch_seq(&b, 3, 0, which % 4 == 0 ? 16 : 1, 5, which % 4 == 2 ? -1 : 30);
    batch_out(&b, 2, RZ_OUT_SAMPLE)->n_top = 2;
    batch_out(&b, 3, RZ_OUT_SAMPLE)->temperature = 0.7f;
    b.outs[1].repetition = 1.2f;
    if (which % 4 == 1) b.header.flags = RZ_BATCH_HOLD_SAMPLE, b.outs[0].mask = 1;
    if (which % 4 == 2) b.header.n_bias = b.outs[0].bias_n = 1;
    if (which % 4 == 2) b.copies[b.header.n_copies++] = (rz_batch_copy){0, 8, 9, 3};
    *n = batch_bytes(&b);
    uint8_t *bytes = malloc(*n);
    memcpy(bytes, b.bytes, *n);
    for (; size >= 9; data += 9, size -= 9) {
        uint32_t offset, value;
        const uint32_t width = data[4] % 4 + 1;
        memcpy(&offset, data, 4);
        memcpy(&value, data + 5, 4);
        offset %= *n;
        memcpy(bytes + offset, &value, width < *n - offset ? width : *n - offset);
    }
    return bytes;
}

/* Waits with little room first, then with enough. */
static void wait_twice(int32_t ticket, uint32_t cap) {
    uint8_t *small = malloc(cap > 0 ? cap : 1), *enough = malloc(r.info.result_bytes_max);
    int32_t n = rz_step_wait(r.engine, (uint32_t)ticket, WAIT_MS, small, cap);
    if (n == 0) __builtin_trap();
    if (n == -RZ_E_ARG) n = rz_step_wait(r.engine, (uint32_t)ticket, WAIT_MS, enough, r.info.result_bytes_max);
    if (n == 0 || n == -RZ_E_ARG) __builtin_trap();
    free(small);
    free(enough);
}

/* Reads what was told, or refuses to; nothing beyond the room. */
static void read_value(int32_t ticket, uint32_t value, uint32_t row, uint32_t n_rows, uint32_t cap) {
    float *out = malloc(cap > 0 ? cap * sizeof *out : 1);
    const int32_t n = rz_step_read(r.engine, (uint32_t)ticket, value, row, n_rows, out, cap);
    if (n > (int32_t)cap) __builtin_trap();
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint32_t masks[8 * ((FAKE_VOCAB + 31) / 32)] = {0xFF};
    if (size < 2) return 0;
    if (r.engine == 0 && rig_open(&r) != 0) __builtin_trap();
    uint32_t n = 0;
    uint8_t *bytes = chosen_batch(data[0], data + 2, size - 2, &n);
    const int32_t ticket = rz_step_submit(r.plan, r.cache, bytes, n);
    free(bytes); /* it was copied */
    if (ticket > 0) {
        rz_step_sample(r.engine, (uint32_t)ticket, masks, sizeof masks); /* refused unless the step is held */
        wait_twice(ticket, data[1] * 8u);
        read_value(ticket, r.info.logits_value + (data[0] >> 6), data[1] & 7, data[1] >> 3, data[size - 1] * 32u);
        read_value(ticket, data[size - 1], UINT32_MAX - data[1], data[0], 80);
    }
    const int32_t next = submit_decode(&r, 0, 0, 20, 0, 0);
    if (token_of(&r, next) != 21 || atomic_load(&fake_bad_tokens) > 0) __builtin_trap();
    return 0;
}
