/* weights_fuzz.c - any bytes as paths and as a table of weights: refused, or loaded to an end.
 *
 * Input: u8 number of weights (+ 128: the paths are one good record, of this program's own file, over which the
 * input's are laid), u16 bytes of paths, the paths, records of a table (80 bytes each; a short one is filled up from a
 * good weight). Both lie in memory of exactly their size. Weights from memory get one piece, whose place and size come
 * from the table too. */
#include "../native/core_fixture.h"

static uint32_t engine;
static uint8_t good_path[40]; /* a record */

static rz_weight good_weight(uint32_t i) {
    return (rz_weight){
        .use = i % 2 == 0 ? RZ_USE_MATMUL : RZ_USE_ROWS,
        .rows = 70,
        .cols = 4,
        .n_experts = 1,
        .file = i % 3 == 0 ? RZ_FILE_NONE : 0,
        .bytes = 70 * 4 * 4,
        .shard_n = 1,
    };
}

static void make_good_path(void) {
    static const char path[] = "/proc/self/exe";
    const uint32_t length = sizeof path - 1;
    rz_file file;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    if (rz_file_open(&file, path) != RZ_OK || rz_file_stat(file, path, &size, &mtime_ns) != RZ_OK) __builtin_trap();
    rz_file_close(&file);
    memcpy(good_path, &size, 8);
    memcpy(good_path + 16, &length, 4);
    memcpy(good_path + 20, path, length);
}

/* The paths of an input, from malloc. A path that it made up may be any file's: with a slash it is not tried. */
static uint8_t *chosen_paths(bool over_good, const uint8_t *data, uint32_t *n) {
    const uint32_t bytes = over_good ? sizeof good_path : *n;
    for (uint32_t i = 20; i < *n; i++) {
        if (data[i] == '/') return NULL;
    }
    uint8_t *paths = malloc(bytes > 0 ? bytes : 1);
    if (over_good) memcpy(paths, good_path, bytes);
    if (*n > 0) memcpy(paths, data, *n < bytes ? *n : bytes);
    *n = bytes;
    return paths;
}

static void write_piece(uint32_t weights, const rz_weight *w) {
    const uint32_t n = (uint32_t)(w->bytes < 1u << 16 ? w->bytes : 64);
    uint8_t *bytes = calloc(1, n > 0 ? n : 1);
    rz_weights_write(weights, 1, (double)w->offset, bytes, n);
    rz_weights_write(weights, 1, 0, bytes, n);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    if (engine == 0) {
        rz_engine_options options = fake_options();
        options.memory_max = 64 << 20;
        engine = (uint32_t)rz_engine_open(&options);
        make_good_path();
    }
    const uint32_t n = data[0] % 8u;
    const bool over_good = data[0] >= 128;
    uint32_t n_paths = data[1] | (uint32_t)data[2] << 8;
    data += 3, size -= 3;
    if (n_paths > size) n_paths = (uint32_t)size;
    const uint32_t n_read = n_paths;
    uint8_t *paths = chosen_paths(over_good, data, &n_paths);
    if (paths == NULL) return 0;
    data += n_read, size -= n_read;
    rz_weight *table = malloc(n > 0 ? n * sizeof *table : 1);
    for (uint32_t i = 0; i < n; i++) {
        const size_t take = size < sizeof *table ? size : sizeof *table;
        table[i] = good_weight(i);
        memcpy(&table[i], data, take);
        data += take, size -= take;
    }
    const int32_t weights = rz_weights_open(engine, paths, n_paths, table, n);
    if (weights > 0) {
        rz_progress progress;
        float row[64];
        if (n > 0 && table[0].file == RZ_FILE_NONE) write_piece((uint32_t)weights, &table[0]);
        rz_weights_poll((uint32_t)weights, 1, &progress);
        if (n > 0 && table[0].dtype == 0) rz_weights_read((uint32_t)weights, 1, table[0].rows - 1, 1, row, 64);
        if (rz_weights_close((uint32_t)weights) != 0) __builtin_trap();
    }
    free(paths);
    free(table);
    rz_engine_info info;
    if (rz_engine_info_read(engine, &info) != 0 || info.memory_used > 1 << 16) __builtin_trap();
    return 0;
}
