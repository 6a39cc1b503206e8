/* weights_test.c - loading: from files and from memory, and everything that can go wrong with both. */
#include "core_fixture.h"

#define ROWS 200u
#define COLS 96u
#define MATRIX_BYTES (ROWS * COLS * 4u)
#define EXPERTS 3u
#define FILE_BYTES (100u + MATRIX_BYTES + EXPERTS * MATRIX_BYTES)

static char path[512];
static uint8_t file_bytes[FILE_BYTES];

static void write_file(size_t n) {
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(file_bytes, 1, n, f) == n && fclose(f) == 0);
}

/* Records of the same file, n times. */
static uint32_t put_paths(uint8_t *out, uint32_t n, uint64_t size, int64_t mtime_ns) {
    const uint32_t length = (uint32_t)strlen(path), record = (20 + length + 7) / 8 * 8;
    memset(out, 0, (size_t)record * n);
    for (uint32_t i = 0; i < n; i++, out += record) {
        memcpy(out, &size, 8);
        memcpy(out + 8, &mtime_ns, 8);
        memcpy(out + 16, &length, 4);
        memcpy(out + 20, path, length);
    }
    return record * n;
}

/* A matrix, experts, a vector: the third from memory. */
static void put_table(rz_weight t[3]) {
    t[0] = (rz_weight){.use = RZ_USE_MATMUL, .rows = ROWS, .cols = COLS, .n_experts = 1, .offset = 100,
                       .bytes = MATRIX_BYTES, .shard_n = 1};
    t[1] = (rz_weight){.use = RZ_USE_MOE, .rows = ROWS, .cols = COLS, .n_experts = EXPERTS, .file = 1,
                       .offset = 100 + MATRIX_BYTES, .bytes = EXPERTS * MATRIX_BYTES, .shard_n = 1};
    t[2] = (rz_weight){.use = RZ_USE_MOE, .rows = ROWS, .cols = COLS, .n_experts = EXPERTS, .file = RZ_FILE_NONE,
                       .bytes = EXPERTS * MATRIX_BYTES, .shard_n = 1};
}

static uint32_t engine;
static uint8_t paths[2048];

static int32_t load(uint32_t n_weights, uint64_t size, int64_t mtime_ns) {
    rz_weight t[3];
    put_table(t);
    const uint32_t n = put_paths(paths, 2, size, mtime_ns);
    return rz_weights_open(engine, paths, n, t, n_weights);
}

static int64_t file_mtime(void) {
    rz_file f;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    CHECK(rz_file_open(&f, path) == 0 && rz_file_stat(f, path, &size, &mtime_ns) == 0 && size == FILE_BYTES);
    rz_file_close(&f);
    return mtime_ns;
}

static void test_files(void) {
    static float rows[EXPERTS * ROWS * COLS];
    rz_progress progress;
    write_file(FILE_BYTES);
    const int32_t w = load(2, FILE_BYTES, file_mtime());
    CHECK(w > 0);
    CHECK(rz_weights_poll((uint32_t)w, WAIT_MS, &progress) == 1);
    CHECK(progress.state == 1 && progress.done_bytes == 4 * MATRIX_BYTES && progress.total_bytes == 4 * MATRIX_BYTES);
    CHECK(rz_weights_read((uint32_t)w, 1, 0, ROWS, rows, ROWS * COLS) == (int32_t)(ROWS * COLS));
    CHECK(memcmp(rows, file_bytes + 100, MATRIX_BYTES) == 0);
    CHECK(rz_weights_read((uint32_t)w, 2, 0, EXPERTS * ROWS, rows, EXPERTS * ROWS * COLS) == EXPERTS * ROWS * COLS);
    CHECK(memcmp(rows, file_bytes + 100 + MATRIX_BYTES, EXPERTS * MATRIX_BYTES) == 0);
    CHECK(rz_weights_read((uint32_t)w, 1, 199, 1, rows, COLS) == (int32_t)COLS);
    CHECK(rz_weights_read((uint32_t)w, 1, 199, 2, rows, 2 * COLS) == -RZ_E_ARG);
    CHECK(rz_weights_read((uint32_t)w, 1, 0, 1, rows, COLS - 1) == -RZ_E_ARG);
    CHECK(rz_weights_read((uint32_t)w, 0, 0, 1, rows, COLS) == -RZ_E_ARG);
    CHECK(rz_weights_read((uint32_t)w, 3, 0, 1, rows, COLS) == -RZ_E_ARG);
    CHECK(rz_weights_write((uint32_t)w, 1, 0, file_bytes, COLS * 4) == -RZ_E_ARG); /* it comes from a file */
    CHECK(rz_weights_close((uint32_t)w) == 0);
    const int32_t unchecked = load(2, FILE_BYTES, 0);
    CHECK(unchecked > 0 && rz_weights_poll((uint32_t)unchecked, WAIT_MS, &progress) == 1);
    CHECK(rz_weights_close((uint32_t)unchecked) == 0);
}

static void test_bad_files(void) {
    rz_weight t[3];
    put_table(t);
    write_file(FILE_BYTES);
    CHECK(load(2, FILE_BYTES + 1, 0) == -RZ_E_IO);
    CHECK(load(2, FILE_BYTES, 12345) == -RZ_E_IO);
    CHECK(load(2, FILE_BYTES - 1, 0) == -RZ_E_OFFSET); /* the table needs more than is promised */
    write_file(FILE_BYTES - 1);
    CHECK(load(2, FILE_BYTES, 0) == -RZ_E_IO);
    const uint32_t n = put_paths(paths, 1, FILE_BYTES, 0);
    t[0].file = 1;
    CHECK(rz_weights_open(engine, paths, n, t, 1) == -RZ_E_ARG); /* there is one path */
    CHECK(rz_weights_open(engine, paths, n - 8, t, 1) == -RZ_E_TRUNCATED);
    CHECK(rz_weights_open(engine, paths, 19, t, 1) == -RZ_E_TRUNCATED);
    paths[20] = 0;
    CHECK(rz_weights_open(engine, paths, n, t, 1) == -RZ_E_ARG);
    memset(paths + 16, 0, 4);
    CHECK(rz_weights_open(engine, paths, n, t, 1) == -RZ_E_TRUNCATED); /* an empty path */
    memset(paths + 16, 0xFF, 4);
    CHECK(rz_weights_open(engine, paths, n, t, 1) == -RZ_E_TRUNCATED);
    CHECK(rz_weights_open(engine, NULL, 8, t, 1) == -RZ_E_ARG);
    CHECK(rz_weights_open(engine, NULL, 0, NULL, 1) == -RZ_E_ARG);
    CHECK(rz_weights_open(engine, NULL, 0, t, (1u << 20) + 1) == -RZ_E_LIMIT);
    char kept[sizeof path];
    memcpy(kept, path, sizeof path);
    strcat(path, ".not_there");
    CHECK(load(2, FILE_BYTES, 0) == -RZ_E_IO);
    strcpy(path, "/dev"); /* not a file */
    CHECK(load(2, FILE_BYTES, 0) == -RZ_E_IO);
    memcpy(path, kept, sizeof path);
}

static void test_bad_table(void) {
    write_file(FILE_BYTES);
#define REFUSED(change, status)                                                                                      \
    do {                                                                                                             \
        rz_weight t[3];                                                                                              \
        put_table(t);                                                                                                \
        change;                                                                                                      \
        CHECK(rz_weights_open(engine, paths, put_paths(paths, 2, FILE_BYTES, 0), t, 2) == -(status));                 \
    } while (0)
    REFUSED(t[0].dtype = 99, RZ_E_TYPE);
    REFUSED(t[0].use = 0, RZ_E_TYPE);
    REFUSED(t[0].bytes -= 4, RZ_E_SHAPE);
    REFUSED(t[0].offset = FILE_BYTES, RZ_E_OFFSET);
    REFUSED(t[0].offset = UINT64_MAX - 10, RZ_E_OFFSET);
    REFUSED(t[1].file = 2, RZ_E_ARG);
    REFUSED(t[1].aux[0] = 1, RZ_E_UNSUPPORTED);
    REFUSED(t[1].shard_n = 2, RZ_E_UNSUPPORTED);
    REFUSED(t[1].reserved[0] = 2, RZ_E_ARG);
#undef REFUSED
}

/* A read fails: the load fails with it, whichever read it is. */
static void test_failing_reads(void) {
    rz_progress progress;
    write_file(FILE_BYTES);
    for (uint32_t n = 1; n <= 5; n++) {
        rz_test_fail_after(1, n);
        const int32_t w = load(2, FILE_BYTES, 0);
        CHECK(w > 0);
        const int32_t status = rz_weights_poll((uint32_t)w, WAIT_MS, &progress);
        if (n <= 4) CHECK(status == -RZ_E_IO && progress.state == 2 && progress.status == RZ_E_IO);
        if (n <= 4) CHECK(rz_weights_poll((uint32_t)w, 0, &progress) == -RZ_E_IO); /* told as often as asked */
        if (n > 4) CHECK(status == 1); /* one piece for the matrix and for each expert */
        float x[COLS];
        CHECK(rz_weights_read((uint32_t)w, 1, 0, 1, x, COLS) == (n <= 4 ? -RZ_E_IO : (int32_t)COLS));
        CHECK(rz_weights_close((uint32_t)w) == 0);
    }
    rz_test_fail_after(1, 0);
}

/* A device that takes no weights: they don't become ready, wherever the bytes come from; and one that gives none. */
static void test_failing_stores(void) {
    rz_progress progress;
    float x[COLS];
    write_file(FILE_BYTES);
    for (int from_file = 0; from_file < 2; from_file++) {
        const int32_t w = load(from_file ? 2 : 3, FILE_BYTES, 0);
        if (from_file) CHECK(rz_weights_close((uint32_t)w) == 0);
        atomic_store(&fake_store_fails, true);
        const int32_t id = from_file ? load(2, FILE_BYTES, 0) : w;
        if (!from_file) {
            CHECK(rz_weights_write((uint32_t)id, 3, 0, file_bytes, EXPERTS * MATRIX_BYTES) == -RZ_E_DEVICE_LOST);
        }
        CHECK(rz_weights_poll((uint32_t)id, WAIT_MS, &progress) == -RZ_E_DEVICE_LOST && progress.state == 2);
        CHECK(rz_weights_read((uint32_t)id, 1, 0, 1, x, COLS) == -RZ_E_DEVICE_LOST);
        atomic_store(&fake_store_fails, false);
        CHECK(rz_weights_close((uint32_t)id) == 0);
    }
    const int32_t w = load(2, FILE_BYTES, 0);
    CHECK(rz_weights_poll((uint32_t)w, WAIT_MS, &progress) == 1);
    atomic_store(&fake_read_fails, true);
    CHECK(rz_weights_read((uint32_t)w, 1, 0, 1, x, COLS) == -RZ_E_DEVICE_LOST);
    atomic_store(&fake_read_fails, false);
    CHECK(rz_weights_read((uint32_t)w, 1, 0, 1, x, COLS) == (int32_t)COLS);
    CHECK(rz_weights_close((uint32_t)w) == 0);
}

static void test_failing_allocations(void) {
    int32_t w = 0;
    write_file(FILE_BYTES);
    rz_stats before, after;
    rz_library_stats(&before, sizeof before);
    for (uint32_t n = 1; n < 100 && w <= 0; n++) {
        rz_test_fail_after(0, n);
        w = load(3, FILE_BYTES, 0);
        rz_library_stats(&after, sizeof after);
        if (w > 0) break;
        CHECK(w == -RZ_E_OOM_HOST && after.total_bytes == before.total_bytes && after.n_threads == before.n_threads);
    }
    rz_test_fail_after(0, 0);
    CHECK(w > 0 && rz_weights_close((uint32_t)w) == 0); /* while it loads, perhaps */
}

static void test_memory(void) {
    rz_weight t[3];
    rz_progress progress;
    put_table(t);
    const uint8_t *bytes = file_bytes + 100 + MATRIX_BYTES;
    const int32_t w = rz_weights_open(engine, NULL, 0, t + 2, 1);
    const uint32_t id = (uint32_t)w, row = COLS * 4;
    CHECK(w > 0 && rz_weights_poll(id, 10, &progress) == 0 && progress.state == 0);
    float x[COLS];
    CHECK(rz_weights_read(id, 1, 0, 1, x, COLS) == -RZ_E_BUSY);
    CHECK(rz_plan_open(id, NULL, 0, &(rz_plan_options){.size = 128}) == -RZ_E_BUSY);
    CHECK(rz_weights_write(id, 1, 4, bytes, row) == -RZ_E_ARG);               /* not at a row */
    CHECK(rz_weights_write(id, 1, 0, bytes, row + 4) == -RZ_E_ARG);           /* not whole rows */
    CHECK(rz_weights_write(id, 1, 0, bytes, 63 * row) == -RZ_E_ARG);          /* ends within a block of rows */
    CHECK(rz_weights_write(id, 1, 8.0 * row, bytes, 64 * row) == -RZ_E_ARG);  /* begins within one */
    CHECK(rz_weights_write(id, 1, -row, bytes, 64 * row) == -RZ_E_ARG);
    CHECK(rz_weights_write(id, 1, NAN, bytes, 64 * row) == -RZ_E_ARG);
    CHECK(rz_weights_write(id, 1, 0.5, bytes, 64 * row) == -RZ_E_ARG);
    CHECK(rz_weights_write(id, 1, 1e300, bytes, 64 * row) == -RZ_E_ARG);
    CHECK(rz_weights_write(id, 1, 3.0 * MATRIX_BYTES - 8 * row, bytes, 64 * row) == -RZ_E_ARG); /* beyond the end */
    CHECK(rz_weights_write(id, 2, 0, bytes, 64 * row) == -RZ_E_ARG);
    CHECK(rz_weights_write(id, 1, 0, NULL, 0) == 0);
    CHECK(rz_weights_write(id, 1, 0, NULL, row * 64) == -RZ_E_ARG);
    /* out of order: the last expert and a half, the first half of the second, the first in two */
    CHECK(rz_weights_write(id, 1, MATRIX_BYTES + 64.0 * row, bytes + MATRIX_BYTES + 64 * row,
                           2 * MATRIX_BYTES - 64 * row) == 0);
    CHECK(rz_weights_write(id, 1, MATRIX_BYTES, bytes + MATRIX_BYTES, 64 * row) == 0);
    CHECK(rz_weights_write(id, 1, MATRIX_BYTES, bytes + MATRIX_BYTES, 64 * row) == -RZ_E_DUPLICATE);
    CHECK(rz_weights_write(id, 1, 128.0 * row, bytes + 128 * row, 72 * row) == 0); /* to the end of the expert */
    CHECK(rz_weights_write(id, 1, 64.0 * row, bytes + 64 * row, 128 * row) == -RZ_E_DUPLICATE); /* and marks nothing */
    CHECK(rz_weights_write(id, 1, 0, bytes, MATRIX_BYTES) == -RZ_E_DUPLICATE);
    CHECK(rz_weights_poll(id, 0, &progress) == 0 && progress.done_bytes == 3 * MATRIX_BYTES - 128 * row);
    CHECK(rz_weights_write(id, 1, 0, bytes, 128 * row) == 0);
    CHECK(rz_weights_poll(id, 0, &progress) == 1 && progress.done_bytes == 3 * MATRIX_BYTES);
    static float rows[EXPERTS * ROWS * COLS];
    CHECK(rz_weights_read(id, 1, 0, EXPERTS * ROWS, rows, EXPERTS * ROWS * COLS) == EXPERTS * ROWS * COLS);
    CHECK(memcmp(rows, bytes, EXPERTS * MATRIX_BYTES) == 0);
    CHECK(rz_weights_close(id) == 0);
    const int32_t none = rz_weights_open(engine, NULL, 0, NULL, 0); /* no weights: nothing to wait for */
    CHECK(none > 0 && rz_weights_poll((uint32_t)none, 0, &progress) == 1);
    CHECK(rz_weights_close((uint32_t)none) == 0);
}

/* Files and memory together: ready when both are there. */
static void test_both(void) {
    rz_progress progress;
    write_file(FILE_BYTES);
    const int32_t w = load(3, FILE_BYTES, file_mtime());
    CHECK(w > 0 && rz_weights_poll((uint32_t)w, 30, &progress) == 0);
    CHECK(rz_weights_write((uint32_t)w, 3, 0, file_bytes, EXPERTS * MATRIX_BYTES) == 0);
    CHECK(rz_weights_poll((uint32_t)w, WAIT_MS, &progress) == 1);
    CHECK(progress.done_bytes == progress.total_bytes && progress.total_bytes == 7 * MATRIX_BYTES);
    CHECK(rz_weights_close((uint32_t)w) == 0);
}

int main(void) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, 400, "%s/realizar_weights_test_%u", folder != NULL ? folder : "/tmp", rz_process_id());
    for (uint32_t i = 0; i < FILE_BYTES; i++) file_bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    const rz_engine_options options = fake_options();
    engine = (uint32_t)rz_engine_open(&options);
    test_files();
    test_bad_files();
    test_bad_table();
    test_failing_reads();
    test_failing_stores();
    test_failing_allocations();
    test_memory();
    test_both();
    CHECK(rz_engine_close(engine) == 0);
    remove(path);
    CHECK(nothing_is_left());
    return TEST_RESULT("weights");
}
